import { Construct } from 'constructs';
import { gatekeeper, ldapMounts, postfix, redisTunnel, rspamd, SHARED_GROUP, submissionAuth } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { ldapVolumes, publicTlsVolume, redisUserVolume, SASL, saslVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

/** Where people and bots hand in mail: Postfix, with Dovecot's auth service and a gatekeeper for who may, and rspamd for what. */
export class Submission extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = 'submission';
    const name = system.names.submission;
    addStatefulSet(this, system, {
      component,
      name,
      serviceName: name,
      replicas: system.spec.submission.replicas,
      sidecars: [
        redisTunnel(component),
        gatekeeper(component, ldapMounts(system)),
        submissionAuth(),
        rspamd('outbound'),
      ],
      containers: [postfix('submission', { ports: { submission: 587, submissions: 465 }, mounts: [SASL] })],
      fsGroup: SHARED_GROUP,
      volumes: [
        tlsVolume(system, 'submission'),
        redisUserVolume(system, 'submission'),
        publicTlsVolume(system),
        saslVolume(),
        ...ldapVolumes(system),
      ],
      claim: { name: 'queue', ...system.spec.queue },
      lowPorts: true,
      graceSeconds: 60,
    });
    addService(this, system, {
      name,
      component,
      kind: 'public',
      ports: { submission: [587, 'submission'], submissions: [465, 'submissions'] },
    });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, { name, component, allow: [{ ports: [587, 465], from: [] }] });
  }
}

import { Construct } from 'constructs';
import { postfix, SHARED_GROUP, submissionAuth } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { publicTlsVolume, SASL, saslVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

/** Where people and bots hand in mail: Postfix, with Dovecot's auth service for passwords. */
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
      sidecars: [submissionAuth()],
      containers: [postfix('submission', { ports: { submission: 587, submissions: 465 }, mounts: [SASL] })],
      fsGroup: SHARED_GROUP,
      volumes: [tlsVolume(system, 'submission'), publicTlsVolume(system), saslVolume()],
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

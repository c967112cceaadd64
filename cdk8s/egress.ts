import { Construct } from 'constructs';
import { postfix, redisTunnel, rspamd, SHARED_GROUP, unbound } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { peersVolume, redisUserVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

/** Where mail leaves: Postfix with rspamd as the signer. */
export class Egress extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = 'egress';
    const name = system.names.egress;
    addStatefulSet(this, system, {
      component,
      name,
      serviceName: name,
      replicas: system.spec.egress.replicas,
      sidecars: [unbound(component), redisTunnel(component), rspamd('signer')],
      containers: [postfix('egress', { ports: { internal: 10025, forwarded: 10026 } })],
      fsGroup: SHARED_GROUP,
      volumes: [tlsVolume(system, 'egress'), redisUserVolume(system, 'egress'), peersVolume(system)],
      claim: { name: 'queue', ...system.spec.queue },
      ownResolver: true,
      lowPorts: true,
      graceSeconds: 60,
    });
    addService(this, system, {
      name,
      component,
      kind: 'headless',
      ports: { internal: [10025, 'internal'], forwarded: [10026, 'forwarded'] },
    });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, {
      name,
      component,
      allow: [
        { ports: [10025], from: ['mx', 'submission', 'store'] },
        // Mail of strangers, which is not signed: images/postfix/config/egress/master.cf.
        { ports: [10026], from: ['forward'] },
      ],
    });
  }
}

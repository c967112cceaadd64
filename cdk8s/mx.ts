import { Construct } from 'constructs';
import { gatekeeper, mxTunnel, postfix, rspamd, SHARED_GROUP, unbound } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { peersVolume, publicTlsVolume, redisUserVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

/** Where mail comes in: Postfix with rspamd before its queue, and a gatekeeper that both ask. */
export class Mx extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = 'mx';
    const name = system.names.mx;
    addStatefulSet(this, system, {
      component,
      name,
      serviceName: system.names.mxInternal,
      replicas: system.spec.mx.replicas,
      sidecars: [unbound(component), mxTunnel(), gatekeeper(component), rspamd('filter')],
      containers: [postfix('mx', { ports: { smtp: 25, internal: 10025 } })],
      fsGroup: SHARED_GROUP,
      volumes: [tlsVolume(system, 'mx'), redisUserVolume(system, 'mx'), publicTlsVolume(system), peersVolume(system)],
      claim: { name: 'queue', ...system.spec.queue },
      ownResolver: true,
      lowPorts: true,
      graceSeconds: 60,
    });
    addService(this, system, { name, component, kind: 'public', ports: { smtp: [25, 'smtp'] } });
    addService(this, system, {
      name: system.names.mxInternal,
      component,
      kind: 'headless',
      ports: { internal: [10025, 'internal'], learn: [11335, 'learn'] },
    });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, {
      name,
      component,
      allow: [
        { ports: [25], from: [] },
        { ports: [10025], from: ['submission', 'egress'] },
        { ports: [11335], from: ['store'] },
      ],
    });
  }
}

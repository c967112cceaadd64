import { Construct } from 'constructs';
import { postfix, SHARED_GROUP } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { peersVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

/** Where forwarded mail gets its new recipients and a sender of ours: Postfix between the mx and egress. */
export class Forward extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = 'forward';
    const name = system.names.forward;
    addStatefulSet(this, system, {
      component,
      name,
      serviceName: name,
      replicas: system.spec.forward.replicas,
      containers: [postfix('forward', { ports: { internal: 10025 } })],
      fsGroup: SHARED_GROUP,
      volumes: [tlsVolume(system, component), peersVolume(system)],
      claim: { name: 'queue', ...system.spec.queue },
      lowPorts: true,
      graceSeconds: 60,
    });
    addService(this, system, { name, component, kind: 'headless', ports: { internal: [10025, 'internal'] } });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, { name, component, allow: [{ ports: [10025], from: ['mx'] }] });
  }
}

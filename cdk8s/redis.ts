import { Construct } from 'constructs';
import { redis, UID } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { redisUsersVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

/** The memory of rspamd and of the gatekeepers, and the cache of signing keys: TLS only, with a client certificate. */
export class Redis extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = 'redis';
    const name = system.names.redis;
    addStatefulSet(this, system, {
      component,
      name,
      serviceName: name,
      replicas: 1,
      containers: [redis()],
      fsGroup: UID.redis,
      volumes: [tlsVolume(system, 'redis'), redisUsersVolume(system)],
      claim: { name: 'data', ...system.spec.redis },
      graceSeconds: 30,
    });
    addService(this, system, { name, component, kind: 'internal', ports: { redis: [6379, 'redis'] } });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, {
      name,
      component,
      allow: [{ ports: [6379], from: ['mx', 'submission', 'egress', 'proxy', 'operator'] }],
    });
  }
}

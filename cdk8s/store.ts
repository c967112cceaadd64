import { Construct } from 'constructs';
import { AGENT_PORT, deposit, reaper, replicator, type Shard, storeDovecot, storeTunnel, UID } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { STORE_PASSWORD, storePasswordVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

const COMPONENT = 'store';

/**
 * Label that the operator sets on a shard's pods where there are several: `primary` or `replica`. Nothing selects by it but
 * the budgets of disruptions: who is the primary is the directory's to say.
 */
export const STORE_ROLE = 'posthorn.dev/store-role';

/**
 * One shard: in each pod Dovecot on loopback behind the tunnel that ends mutual TLS. With several copies also deposit and the
 * replicator, and each on a node of its own, strictly: volumes are often a node's, and two copies on one would stay there.
 */
export class StoreShard extends Construct {
  constructor(scope: Construct, id: string, system: System, shard: Shard) {
    super(scope, id);
    const name = system.names.store(shard.name);
    const labels = { 'posthorn.dev/shard': shard.name };
    const replicated = shard.replicas > 1;
    const mail = { volume: 'mail', path: '/srv/mail' };
    addStatefulSet(this, system, {
      component: COMPONENT,
      labels,
      name,
      serviceName: name,
      replicas: shard.replicas,
      sidecars: [storeTunnel(shard)],
      containers: [
        storeDovecot(shard, [mail, STORE_PASSWORD]),
        reaper(shard, [mail]),
        ...(replicated ? [deposit(shard), replicator(shard, [mail])] : []),
      ],
      apart: replicated,
      fsGroup: UID.vmail,
      volumes: [tlsVolume(system, 'store'), storePasswordVolume(system)],
      claim: { name: 'mail', size: system.spec.store.size, storageClassName: system.spec.store.storageClassName },
      graceSeconds: 60,
    });
    addService(this, system, {
      name,
      component: COMPONENT,
      labels,
      kind: 'headless',
      ports: { lmtp: [10024, 'lmtp'], imap: [10143, 'imap'], sieve: [14190, 'sieve'], agent: [AGENT_PORT, 'agent'] },
    });
    if (!replicated) {
      addDisruptionBudget(this, system, { name, component: COMPONENT, labels });
      return;
    }
    // A primary is never evicted: the operator has another copy take over first. Of two budgets that select one pod an
    // eviction would fail for good, so the other is for all but the primary; and a share of pods counts the StatefulSet's.
    addDisruptionBudget(this, system, {
      name,
      component: COMPONENT,
      labels,
      expressions: [{ key: STORE_ROLE, operator: 'NotIn', values: ['primary'] }],
      minAvailable: Math.max(0, shard.replicas - 2),
    });
    addDisruptionBudget(this, system, {
      name: `${name}-primary`,
      component: COMPONENT,
      labels,
      expressions: [{ key: STORE_ROLE, operator: 'In', values: ['primary'] }],
      maxUnavailable: 0,
    });
  }
}

/** Who may reach every shard: the mx delivers, the proxies read, the agents talk with each other. */
export class StorePolicy extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    addIngressPolicy(this, system, {
      name: `${system.name}-store`,
      component: COMPONENT,
      allow: [
        { ports: [10024], from: ['mx'] },
        { ports: [10143, 14190], from: ['proxy'] },
        { ports: [AGENT_PORT], from: ['store'] },
      ],
    });
  }
}

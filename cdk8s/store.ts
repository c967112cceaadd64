import { Construct } from 'constructs';
import { dovecot, reaper, storeTunnel, UID } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import { STORE_PASSWORD, storePasswordVolume, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

/** A shard of the store, as the MailSystem declares it. */
export type Shard = System['spec']['store']['shards'][number];

const COMPONENT = 'store';

/** One shard: Dovecot on loopback behind the tunnel that ends mutual TLS. */
export class StoreShard extends Construct {
  constructor(scope: Construct, id: string, system: System, shard: Shard) {
    super(scope, id);
    const name = system.names.store(shard.name);
    const labels = { 'posthorn.dev/shard': shard.name };
    const mail = { volume: 'mail', path: '/srv/mail' };
    addStatefulSet(this, system, {
      component: COMPONENT,
      labels,
      name,
      serviceName: name,
      replicas: shard.replicas,
      sidecars: [storeTunnel(shard.name)],
      containers: [dovecot('store', { shard: shard.name, mounts: [mail, STORE_PASSWORD] }), reaper(shard.name, [mail])],
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
      ports: { lmtp: [10024, 'lmtp'], imap: [10143, 'imap'], sieve: [14190, 'sieve'] },
    });
    addDisruptionBudget(this, system, { name, component: COMPONENT, labels });
  }
}

/** Who may reach every shard: the mx delivers, the proxies read. */
export class StorePolicy extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    addIngressPolicy(this, system, {
      name: `${system.name}-store`,
      component: COMPONENT,
      allow: [
        { ports: [10024], from: ['mx'] },
        { ports: [10143, 14190], from: ['proxy'] },
      ],
    });
  }
}

import { Construct } from 'constructs';
import { gatekeeper, ldapMounts, proxyDovecot, redisTunnel, UID } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import type { System } from './system.js';
import {
  ldapVolumes,
  publicTlsVolume,
  redisUserVolume,
  STORE_PASSWORD,
  storePasswordVolume,
  TLS_PUBLIC,
  tlsVolume,
} from './volumes.js';
import { addDeployment, addDisruptionBudget } from './workload.js';

/** What mail clients talk to: Dovecot, which asks its gatekeeper who it is and hands the session to the shard. */
export class ImapProxy extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = 'proxy';
    const name = system.names.proxy;
    addDeployment(this, system, {
      component,
      name,
      replicas: system.spec.proxy.replicas,
      sidecars: [redisTunnel(component), gatekeeper(component, ldapMounts(system))],
      containers: [proxyDovecot({ ports: { imaps: 10993, sieve: 14190 }, mounts: [TLS_PUBLIC, STORE_PASSWORD] })],
      fsGroup: UID.vmail,
      volumes: [
        tlsVolume(system, 'proxy'),
        redisUserVolume(system, 'proxy'),
        publicTlsVolume(system),
        storePasswordVolume(system),
        ...ldapVolumes(system),
      ],
      graceSeconds: 30,
    });
    addService(this, system, {
      name: system.names.imap,
      component,
      kind: 'public',
      ports: { imaps: [993, 'imaps'], sieve: [4190, 'sieve'] },
    });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, { name, component, allow: [{ ports: [10993, 14190], from: [] }] });
  }
}

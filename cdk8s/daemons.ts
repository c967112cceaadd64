import type { Config } from './config.js';
import type { Component } from './context.js';
import type { Daemon, Mount } from './pod.js';
import type { System } from './system.js';
import { EXTERNAL_DATABASE, LDAP, PEERS, REDIS_USER, SASL, SOCKET, TLS, TLS_PUBLIC } from './volumes.js';

/** Group of the pods in which daemons with different uids read the same Secrets. */
export const SHARED_GROUP = 5010;

/** Fixed uids (and gids) of the daemons, as the images make them. */
export const UID = {
  postfix: 0,
  vmail: 5000,
  rspamd: 5001,
  unbound: 5002,
  redis: 5003,
  tunnel: 5004,
  postgres: 5432,
  posthorn: 10001,
} as const;

/** For daemons that nobody asks for their readiness. */
const SLOW = { seconds: 30, failures: 2 };

const fieldOf = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });

/** What Postfix's master, running as root, needs to open the queue and to start daemons as `postfix`. */
const POSTFIX_CAPABILITIES = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'KILL', 'SETGID', 'SETUID'];

/** Roles of the Postfix image that strangers or people connect to. */
const PUBLIC_ROLES: readonly string[] = ['mx', 'submission'];

/** A role of the Postfix image; its queue is the pod's volume `queue`. */
export function postfix(
  role: 'mx' | 'submission' | 'egress' | 'forward',
  props: { readonly ports: Readonly<Record<string, number>>; readonly mounts?: readonly Mount[] },
): Daemon {
  return {
    name: 'postfix',
    image: 'postfix',
    role,
    uid: UID.postfix,
    capabilities: POSTFIX_CAPABILITIES,
    ports: props.ports,
    config: { image: 'postfix', role },
    mounts: [
      { volume: 'queue', path: '/var/spool/postfix' },
      TLS,
      ...(PUBLIC_ROLES.includes(role) ? [TLS_PUBLIC] : []),
      ...(role === 'submission' ? [] : [PEERS]),
      ...(props.mounts ?? []),
    ],
    writable: ['/etc/postfix', '/var/lib/postfix'],
    cpu: '40m',
    memory: '64Mi',
    memoryLimit: '512Mi',
  };
}

/**
 * rspamd as Postfix's milter at 127.0.0.1:11332: `filter` for what comes in, `outbound` for what people hand in, `signer`
 * for what goes out.
 */
export function rspamd(role: 'filter' | 'outbound' | 'signer'): Daemon {
  return {
    name: 'rspamd',
    image: 'rspamd',
    role,
    uid: UID.rspamd,
    config: { image: 'rspamd', role },
    mounts: [REDIS_USER],
    writable: ['/var/lib/rspamd'],
    cpu: { filter: '50m', outbound: '40m', signer: '20m' }[role],
    memory: role === 'signer' ? '128Mi' : '192Mi',
    memoryLimit: '1Gi',
  };
}

/**
 * Our own service beside a daemon, on loopback: Postfix's policy service at 10040, HTTP at 10041. It decides who may send
 * and receive; `LDAP` is mounted where passwords are checked and `spec.ldap` names Secrets.
 */
export function gatekeeper(component: 'mx' | 'submission' | 'proxy', mounts: readonly Mount[] = []): Daemon {
  return {
    name: 'gatekeeper',
    image: 'posthorn',
    role: 'gatekeeper',
    uid: UID.posthorn,
    env: [fieldOf('POD_NAME', 'metadata.name')],
    config: {
      image: 'posthorn',
      role: 'gatekeeper',
      configMap: `${component}-gatekeeper`,
      values: { ROLE: component },
    },
    mounts: [TLS, REDIS_USER, ...mounts],
    cpu: '20m',
    memory: '96Mi',
    memoryLimit: '256Mi',
  };
}

/** Where the gatekeeper of a system that logs people in by LDAP finds its Secrets. */
export function ldapMounts(system: System): readonly Mount[] {
  const ldap = system.spec.ldap;
  return ldap?.bindSecretRef || ldap?.caSecretRef ? [LDAP] : [];
}

/** Our own service that hands messages to webhooks and Jobs. */
export function courier(): Daemon {
  return {
    name: 'courier',
    image: 'posthorn',
    role: 'courier',
    uid: UID.posthorn,
    ports: { lmtp: 10024 },
    env: [fieldOf('POD_NAME', 'metadata.name'), fieldOf('POD_NAMESPACE', 'metadata.namespace')],
    config: { image: 'posthorn', role: 'courier' },
    mounts: [TLS],
    cpu: '20m',
    memory: '96Mi',
    memoryLimit: '512Mi',
  };
}

/** The pod's own validating resolver at 127.0.0.1:53. */
export function unbound(component: Component): Daemon {
  return {
    name: 'unbound',
    image: 'unbound',
    role: 'resolver',
    uid: UID.unbound,
    config: { image: 'unbound', role: 'resolver', configMap: `${component}-resolver` },
    cpu: '10m',
    memory: '48Mi',
    memoryLimit: '256Mi',
    ready: SLOW,
  };
}

/** haproxy from 127.0.0.1:6379 to Redis by mutual TLS: rspamd speaks Redis in the clear only. */
export function redisTunnel(component: Component): Daemon {
  return {
    name: 'tunnel',
    image: 'tunnel',
    role: 'redis',
    uid: UID.tunnel,
    config: { image: 'tunnel', role: 'redis', configMap: `${component}-redis-tunnel` },
    mounts: [TLS],
    cpu: '10m',
    memory: '32Mi',
    memoryLimit: '128Mi',
  };
}

/** haproxy beside the mx: to Redis as elsewhere, and the door by which stores teach rspamd what people call Junk. */
export function mxTunnel(): Daemon {
  return {
    ...redisTunnel('mx'),
    role: 'mx',
    ports: { learn: 11335 },
    config: { image: 'tunnel', role: 'mx', configMap: 'mx-tunnel' },
  };
}

/** A shard of the store, as the MailSystem declares it. */
export type Shard = System['spec']['store']['shards'][number];

/** Ports on the loopback interface of a store's pod: Dovecot's LMTP, and that of deposit. */
const LMTP = { dovecot: 24000, deposit: 24001 } as const;

/** The agents' own port, for the other copies of their shard and for moves between shards. */
export const AGENT_PORT = 10028;

/** Placeholders of a shard's configurations. */
function shardValues(shard: Shard) {
  const replicated = shard.replicas > 1;
  return {
    SHARD: shard.name,
    REPLICAS: String(shard.replicas),
    // A message is kept on a second copy before it is accepted, where there is one.
    LMTP_PORT: String(replicated ? LMTP.deposit : LMTP.dovecot),
    // Run before each session: nothing to do where nobody else can have given out UIDs.
    POST_LOGIN: replicated ? 'post-login' : '',
  };
}

/** haproxy in front of a shard's Dovecot: ends mutual TLS and lets in the roles that may come; and, the other way, to the mx's rspamd. */
export function storeTunnel(shard: Shard): Daemon {
  return {
    name: 'tunnel',
    image: 'tunnel',
    role: 'store',
    uid: UID.tunnel,
    ports: { lmtp: 10024, imap: 10143, sieve: 14190 },
    config: { image: 'tunnel', role: 'store', configMap: `tunnel-${shard.name}`, values: shardValues(shard) },
    mounts: [TLS],
    cpu: '20m',
    memory: '32Mi',
    memoryLimit: '256Mi',
  };
}

/** Dovecot for mail clients: leads them to their shard. */
export function proxyDovecot(props: {
  readonly ports: Readonly<Record<string, number>>;
  readonly mounts: readonly Mount[];
}): Daemon {
  return {
    name: 'dovecot',
    image: 'dovecot',
    role: 'proxy',
    uid: UID.vmail,
    ports: props.ports,
    config: { image: 'dovecot', role: 'proxy', live: true },
    mounts: [TLS, ...props.mounts],
    cpu: '40m',
    memory: '96Mi',
    memoryLimit: '1Gi',
  };
}

/** One copy of a shard's mailboxes: Dovecot, and the agent that starts it, as the primary or a replica, and ends it. */
export function storeDovecot(shard: Shard, mounts: readonly Mount[]): Daemon {
  return {
    name: 'dovecot',
    image: 'dovecot',
    role: 'store',
    uid: UID.vmail,
    ports: { agent: AGENT_PORT },
    env: [fieldOf('POD_NAME', 'metadata.name')],
    config: storeConfig(shard),
    mounts: [TLS, ...mounts],
    cpu: '50m',
    memory: '160Mi',
    memoryLimit: '1Gi',
  };
}

function storeConfig(shard: Shard): Config {
  return {
    image: 'dovecot',
    role: 'store',
    configMap: `store-${shard.name}`,
    values: shardValues(shard),
    live: true,
  };
}

/** Accepts a message when Dovecot and the journal of another copy have it. */
export function deposit(shard: Shard): Daemon {
  return {
    name: 'deposit',
    image: 'posthorn',
    role: 'deposit',
    uid: UID.vmail,
    env: [fieldOf('POD_NAME', 'metadata.name')],
    config: { image: 'posthorn', role: 'deposit', configMap: `deposit-${shard.name}`, values: shardValues(shard) },
    mounts: [TLS],
    cpu: '20m',
    memory: '96Mi',
    memoryLimit: '512Mi',
  };
}

/** Copies what changes in the primary's mailboxes to the other copies. */
export function replicator(shard: Shard, mounts: readonly Mount[]): Daemon {
  return {
    name: 'replicator',
    image: 'posthorn',
    role: 'replicator',
    uid: UID.vmail,
    env: [fieldOf('POD_NAME', 'metadata.name')],
    config: {
      image: 'posthorn',
      role: 'replicator',
      configMap: `replicator-${shard.name}`,
      values: shardValues(shard),
    },
    mounts: [TLS, ...mounts],
    cpu: '20m',
    memory: '96Mi',
    memoryLimit: '512Mi',
  };
}

/** Checks passwords for Postfix over a unix socket. */
export function submissionAuth(): Daemon {
  return {
    name: 'auth',
    image: 'dovecot',
    role: 'auth',
    uid: UID.vmail,
    config: { image: 'dovecot', role: 'auth', live: true },
    mounts: [TLS, SASL],
    cpu: '20m',
    memory: '48Mi',
    memoryLimit: '768Mi',
  };
}

/** Removes the mail of mailboxes that were deleted with `deletionPolicy: Delete` and whose grace has passed, and what has moved away. */
export function reaper(shard: Shard, mounts: readonly Mount[]): Daemon {
  return {
    name: 'reaper',
    image: 'dovecot',
    role: 'reaper',
    uid: UID.vmail,
    env: [fieldOf('POD_NAME', 'metadata.name')],
    config: storeConfig(shard),
    mounts: [TLS, ...mounts],
    cpu: '5m',
    memory: '16Mi',
    memoryLimit: '128Mi',
    ready: SLOW,
  };
}

/** Redis with TLS. */
export function redis(): Daemon {
  return {
    name: 'redis',
    image: 'redis',
    role: 'redis',
    uid: UID.redis,
    ports: { redis: 6379 },
    config: { image: 'redis', role: 'redis' },
    mounts: [TLS, { volume: 'users', path: '/users', readOnly: true }, { volume: 'data', path: '/var/lib/redis' }],
    cpu: '20m',
    memory: '48Mi',
    memoryLimit: '512Mi',
  };
}

/** PostgreSQL under Patroni. */
export function member(): Daemon {
  return {
    name: 'postgres',
    image: 'postgres',
    role: 'member',
    uid: UID.postgres,
    ports: { postgres: 5432, patroni: 8008 },
    env: [fieldOf('POD_NAME', 'metadata.name'), fieldOf('POD_IP', 'status.podIP')],
    config: { image: 'postgres', role: 'member', configMap: 'patroni' },
    mounts: [TLS, { volume: 'data', path: '/var/lib/postgresql' }, SOCKET],
    cpu: '60m',
    memory: '160Mi',
    memoryLimit: '1Gi',
    startSeconds: 600,
    // A dead leader leaves the leader's Service by this.
    ready: { seconds: 5, failures: 1 },
  };
}

/** The pooler of a database member: what daemons connect to. */
export function pgbouncer(): Daemon {
  return {
    name: 'pgbouncer',
    image: 'postgres',
    role: 'pgbouncer',
    uid: UID.postgres,
    ports: { pooler: 6432 },
    config: { image: 'postgres', role: 'pgbouncer', live: true },
    mounts: [TLS, SOCKET],
    cpu: '20m',
    memory: '16Mi',
    memoryLimit: '256Mi',
  };
}

/** Writes the time into the directory every second on the leader, so that replicas know how stale they are. */
export function heartbeat(): Daemon {
  return {
    name: 'heartbeat',
    image: 'postgres',
    role: 'heartbeat',
    uid: UID.postgres,
    mounts: [SOCKET],
    cpu: '5m',
    memory: '16Mi',
    memoryLimit: '64Mi',
    ready: SLOW,
  };
}

/** PgBouncer in front of a database that is not ours. */
export function externalPooler(): Daemon {
  return {
    name: 'pgbouncer',
    image: 'postgres',
    role: 'pooler',
    uid: UID.postgres,
    ports: { pooler: 6432 },
    config: { image: 'postgres', role: 'pooler' },
    mounts: [TLS, EXTERNAL_DATABASE],
    cpu: '20m',
    memory: '32Mi',
    memoryLimit: '256Mi',
  };
}

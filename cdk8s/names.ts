import type { MailSystemContext, TlsRole } from './context.js';

/** What a name of a child depends on. */
export interface SystemIdentity {
  readonly name: string;
  readonly namespace: string;
  readonly clusterDomain: string;
}

/** Names of a MailSystem's children. Selectors and names never change once released: they are written here by hand. */
export function names(system: string) {
  return {
    ca: `${system}-ca`,
    tls: (role: TlsRole) => `${system}-tls-${role}`,
    tlsPublic: `${system}-tls-public`,
    peers: `${system}-peers`,
    storePassword: `${system}-store-password`,
    redisUsers: `${system}-redis-users`,
    config: (role: string) => `${system}-${role}-config`,
    mx: `${system}-mx`,
    mxInternal: `${system}-mx-internal`,
    submission: `${system}-submission`,
    egress: `${system}-egress`,
    forward: `${system}-forward`,
    courier: `${system}-courier`,
    proxy: `${system}-proxy`,
    imap: `${system}-imap`,
    store: (shard: string) => `${system}-store-${shard}`,
    redis: `${system}-redis`,
    postgres: `${system}-postgres`,
    postgresMembers: `${system}-postgres-members`,
    pooler: `${system}-pooler`,
  };
}

/** Fully qualified name of a Service: `SERVICE.NAMESPACE.svc.CLUSTER_DOMAIN`. */
export function serviceHost(system: SystemIdentity, service: string): string {
  return `${service}.${system.namespace}.svc.${system.clusterDomain}`;
}

/** Fully qualified name of a pod behind a headless Service. */
export function podHost(system: SystemIdentity, service: string, pod: string): string {
  return `${pod}.${serviceHost(system, service)}`;
}

/** Database members' hosts when the database is ours, in ordinal order; the pooler's host when it isn't. */
export function directoryHosts(
  system: SystemIdentity,
  database: { readonly members: number; readonly external?: unknown },
): string[] {
  const n = names(system.name);
  if (database.external) return [serviceHost(system, n.pooler)];
  return Array.from({ length: database.members }, (_, i) => podHost(system, n.postgresMembers, `${n.postgres}-${i}`));
}

/** The host on which writes to the directory work. */
export function directoryLeader(system: SystemIdentity, database: { readonly external?: unknown }): string {
  const n = names(system.name);
  return serviceHost(system, database.external ? n.pooler : n.postgres);
}

/** Reference of a component's image: `PREFIX/COMPONENT:TAG`; `spec.images` wins over the operator's defaults. */
export function image(system: Pick<MailSystemContext, 'spec' | 'images'>, component: string): string {
  const prefix = system.spec.images.prefix ?? system.images.prefix;
  const tag = system.spec.images.tag ?? system.images.tag;
  return `${prefix.replace(/\/$/, '')}/${component}:${tag}`;
}

import type { TlsRole } from '../../cdk8s/context.js';
import { names, type SystemIdentity } from '../../cdk8s/names.js';
import type { CertificateRequest } from './ca.js';

/** Common name of the operator's own certificate: the directory's owner. */
export const OPERATOR_COMMON_NAME = 'posthorn';

/**
 * What a role's internal certificate says. The common name is its database role; the DNS names are its Services', with
 * and without the cluster's domain, and those of the pods behind them.
 */
export function roleCertificate(role: TlsRole, system: SystemIdentity, shards: readonly string[]): CertificateRequest {
  const dnsNames = services(role, system.name, shards).flatMap((service) => {
    const short = `${service}.${system.namespace}.svc`;
    return [short, `${short}.${system.clusterDomain}`, `*.${short}.${system.clusterDomain}`];
  });
  return { commonName: `posthorn_${role}`, dnsNames: [...dnsNames, 'localhost'] };
}

function services(role: TlsRole, system: string, shards: readonly string[]): string[] {
  const n = names(system);
  const of: Record<TlsRole, string[]> = {
    mx: [n.mx, n.mxInternal],
    submission: [n.submission],
    egress: [n.egress],
    forward: [n.forward],
    courier: [n.courier],
    proxy: [n.proxy, n.imap],
    store: shards.map(n.store),
    redis: [n.redis],
    postgres: [n.postgres, n.postgresMembers],
    pooler: [n.pooler],
  };
  return of[role];
}

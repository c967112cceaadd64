import type { MailSystemContext } from './context.js';
import { directoryHosts, directoryLeader, names, serviceHost } from './names.js';
import type { TemplateValues } from './template.js';

/** Port of the pooler in front of every directory member. */
export const DIRECTORY_PORT = 6432;

/** The placeholders that every template may use (docs: `images/README.md`). */
export function templateValues(context: MailSystemContext): TemplateValues {
  const { spec } = context;
  const n = names(context.name);
  const hosts = directoryHosts(context, spec.database);
  return {
    SYSTEM: context.name,
    NAMESPACE: context.namespace,
    CLUSTER_DOMAIN: context.clusterDomain,
    CLUSTER_DNS: context.clusterDns,
    HOSTNAME: spec.hostname,
    POSTMASTER: spec.postmaster ?? `postmaster@${spec.hostname}`,
    DIRECTORY_HOSTS: hosts.join(','),
    DIRECTORY_PORT: String(DIRECTORY_PORT),
    DIRECTORY_LEADER: directoryLeader(context, spec.database),
    DIRECTORY_URI_HOSTS: hosts.map((host) => `${host}:${DIRECTORY_PORT}`).join(','),
    MX_INTERNAL_HOST: serviceHost(context, n.mxInternal),
    EGRESS_HOST: serviceHost(context, n.egress),
    REDIS_HOST: serviceHost(context, n.redis),
    MESSAGE_SIZE_LIMIT: String(quantityBytes(spec.limits.messageSize)),
    REJECT_SCORE: String(spec.filter.rejectAbove),
    TAG_SCORE: String(spec.filter.tagAbove),
    GREYLIST_SCORE: String(spec.filter.greylistAbove),
    RESOLVER_CONFIG: resolverConfig(spec.resolver),
  };
}

const QUANTITY = /^(\d+(?:\.\d+)?)(|k|M|G|T|Ki|Mi|Gi|Ti)$/;
const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/**
 * Bytes of a Kubernetes quantity of at least one byte, rounded down.
 * @throws Error on anything else: milli-units and exponents mean nothing for a size.
 */
export function quantityBytes(quantity: string): number {
  const match = QUANTITY.exec(quantity);
  const bytes = match ? Math.floor(Number(match[1]) * (UNITS[match[2] as string] as number)) : 0;
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw new Error(`${JSON.stringify(quantity)} is not a size such as 50Mi`);
  }
  return bytes;
}

/** Lines of unbound.conf(5) for the forwarders, root servers and trust anchors of a spec. */
export function resolverConfig(resolver: MailSystemContext['spec']['resolver']): string {
  return '';
}

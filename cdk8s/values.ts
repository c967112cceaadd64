import type { MailSystemResolved } from '../crds/mailsystem.js';
import { parseQuantity } from '../crds/quantity.js';
import type { MailSystemContext } from './context.js';
import { directoryHosts, directoryLeader, image, names, serviceHost } from './names.js';
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
    SRS_DOMAIN: spec.srs.domain ?? spec.hostname,
    POSTMASTER: spec.postmaster ?? `postmaster@${spec.hostname}`,
    DIRECTORY_HOSTS: hosts.join(','),
    DIRECTORY_PORT: String(DIRECTORY_PORT),
    DIRECTORY_LEADER: directoryLeader(context, spec.database),
    DIRECTORY_URI_HOSTS: hosts.map((host) => `${host}:${DIRECTORY_PORT}`).join(','),
    // Strict: no commit is acknowledged that only one member has. One member alone could then never commit.
    DATABASE_STRICT: String(spec.database.members > 1),
    MX_INTERNAL_HOST: serviceHost(context, n.mxInternal),
    EGRESS_HOST: serviceHost(context, n.egress),
    FORWARD_HOST: serviceHost(context, n.forward),
    COURIER_HOST: serviceHost(context, n.courier),
    REDIS_HOST: serviceHost(context, n.redis),
    MESSAGE_SIZE_LIMIT: String(parseQuantity(spec.limits.messageSize)),
    REJECT_SCORE: String(spec.filter.rejectAbove),
    TAG_SCORE: String(spec.filter.tagAbove),
    GREYLIST_SCORE: String(spec.filter.greylistAbove),
    LDAP: JSON.stringify(spec.ldap ?? null),
    WEBHOOK_ALLOW_HOSTS: spec.webhooks.allowHosts.join(','),
    POSTHORN_IMAGE: image(context, 'posthorn'),
    IMAGE_PULL_POLICY: spec.images.pullPolicy ?? context.images.pullPolicy,
    RESOLVER_CONFIG: resolverConfig(spec.resolver),
  };
}

/** What the image brings of the Internet's root (package dns-root-data). */
const INTERNET = { hints: '/usr/share/dns/root.hints', anchor: '/usr/share/dns/root.key' };

/**
 * Clauses of unbound.conf(5) for the forwarders, root servers and trust anchors of a spec. What is given stands instead
 * of the Internet's, not beside it: unbound takes the first hints for a zone, and would want every anchor's algorithm.
 */
export function resolverConfig({ forwarders, rootServers, trustAnchors }: MailSystemResolved['resolver']): string {
  const roots = forwarders.length > 0 ? [] : rootServers;
  const anchors = trustAnchors.map((anchor) => `trust-anchor: "${plain(anchor)}"`);
  const isPrivate = forwarders.length > 0 || roots.length > 0;
  return [
    ...clause('server:', [
      // Whoever has resolvers of their own may have names for private addresses too.
      ...(isPrivate ? ['unblock-lan-zones: yes'] : []),
      ...(roots.length > 0 ? [] : [`root-hints: "${INTERNET.hints}"`]),
      ...(anchors.length > 0 ? anchors : [`trust-anchor-file: "${INTERNET.anchor}"`]),
    ]),
    ...clause(
      'forward-zone:',
      forwarders.map((address) => `forward-addr: ${plain(address)}`),
      'name: "."',
    ),
    ...clause(
      'stub-zone:',
      roots.map(({ address }) => `stub-addr: ${plain(address)}`),
      'name: "."',
      'stub-prime: no',
    ),
  ].join('\n');
}

function clause(head: string, lines: string[], ...first: string[]): string[] {
  return lines.length === 0 ? [] : [head, ...[...first, ...lines].map((line) => `    ${line}`)];
}

/** The API server's patterns allow nothing else; a quote or a line break here would be a directive of its own. */
function plain(text: string): string {
  if (/["\\#\r\n]/.test(text)) throw new Error(`${JSON.stringify(text)} can't stand in unbound.conf`);
  return text;
}

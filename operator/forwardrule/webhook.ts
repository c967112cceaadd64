import ipaddr from 'ipaddr.js';

/** Names that mean something inside a cluster or a host only (RFC 6761, RFC 8375; Kubernetes' own). */
const INSIDE = ['svc', 'cluster.local', 'localhost', 'local', 'internal', 'home.arpa'];

/**
 * Why a webhook may not be called; undefined when nothing in its URL speaks against it. Where its name leads to is looked at
 * again at every call, by the courier.
 *
 * @param allowHosts `spec.webhooks.allowHosts` of the MailSystem: as written in URLs
 * @param clusterDomain of this cluster, such as cluster.local
 */
export function webhookProblem(url: string, allowHosts: readonly string[], clusterDomain: string): string | undefined {
  if (!URL.canParse(url)) return `${url} is no URL: write it as https://bots.example.org/mail`;
  const parsed = new URL(url);
  const host = hostOf(parsed);
  if (allowHosts.some((allowed) => bare(allowed) === host)) return undefined;
  const permit = `use one that is reachable from outside, or have ${host} added to spec.webhooks.allowHosts of the MailSystem`;
  if (isInside(host, clusterDomain)) return `${url} leads into the cluster or to a private network: ${permit}`;
  if (parsed.protocol !== 'https:')
    return `${url} is not encrypted: use https, or have ${host} added to spec.webhooks.allowHosts of the MailSystem`;
  return undefined;
}

/** Lower case, without brackets and a dot at the end; URLs write 0x7f.1 as 127.0.0.1. */
function hostOf({ hostname }: URL): string {
  return bare(hostname.replace(/^\[|\]$/g, ''));
}

function bare(host: string): string {
  const name = host.toLowerCase().replace(/\.$/, '');
  return ipaddr.isValid(name) ? ipaddr.process(name).toString() : name;
}

function isInside(host: string, clusterDomain: string): boolean {
  if (ipaddr.isValid(host)) return ipaddr.process(host).range() !== 'unicast';
  if (!host.includes('.')) return true;
  return [...INSIDE, clusterDomain.toLowerCase()].some((zone) => host.endsWith(`.${zone}`));
}

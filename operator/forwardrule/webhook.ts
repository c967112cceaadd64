import ipaddr from 'ipaddr.js';
import { isAllowedHost } from '../../crds/webhookhost.js';
import { isInsideName } from './names.js';

/**
 * Why a webhook may not be called; undefined when nothing in its URL speaks against it. Where its name leads to is looked at
 * again at every call, by the courier.
 *
 * @param allowHosts `spec.webhooks.allowHosts` of the MailSystem; absent for rules that these entries are not for
 * @param clusterDomain of this cluster, such as cluster.local
 */
export function webhookProblem(
  url: string,
  allowHosts: readonly string[] | undefined,
  clusterDomain: string,
): string | undefined {
  if (!URL.canParse(url)) return `${url} is no URL: write it as https://bots.example.org/mail`;
  const parsed = new URL(url);
  if (allowHosts !== undefined && isAllowedHost(parsed, allowHosts)) return undefined;
  const permit =
    allowHosts === undefined
      ? ', or make the rule in the namespace of the MailSystem, which may allow it'
      : `, or have ${entryFor(parsed)} added to spec.webhooks.allowHosts of the MailSystem`;
  if (isInside(hostOf(parsed), clusterDomain))
    return `${url} leads into the cluster or to a private network: use one that is reachable from outside${permit}`;
  if (parsed.protocol !== 'https:') return `${url} is not encrypted: use https${permit}`;
  return undefined;
}

/** As it would stand in `allowHosts`. */
function entryFor({ protocol, host }: URL): string {
  return protocol === 'http:' ? `http://${host}` : host;
}

/** Lower case, without brackets and a dot at the end; URLs write 0x7f.1 as 127.0.0.1. */
function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
}

function isInside(host: string, clusterDomain: string): boolean {
  return ipaddr.isValid(host) ? ipaddr.process(host).range() !== 'unicast' : isInsideName(host, clusterDomain);
}

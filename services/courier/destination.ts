import { lookup, Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';
import { isAllowedHost } from '../../crds/webhookhost.js';

/** A webhook's address will not be asked; the message says why. */
export class DestinationRefused extends Error {
  override readonly name = 'DestinationRefused';
}

export interface Checked {
  address: string;
  family: 4 | 6;
}

export interface DestinationRules {
  /** Where requests may go though it is inside, as `spec.webhooks.allowHosts` names it. */
  readonly allowHosts: readonly string[];
  readonly clusterDomain: string;
  /** Networks (CIDR) that are refused besides the private ones: the cluster's own, where they are public. */
  readonly refusedNetworks: readonly string[];
}

/** Finds a host's addresses. Allowed hosts are found as any program in a pod finds them, with the search list; others by DNS alone. */
export type FindAddresses = (host: string, allowed: boolean) => Promise<string[]>;

/**
 * The addresses that a webhook may be sent to: connect to these and to nothing that another look-up says.
 *
 * @throws DestinationRefused when the URL or one of its addresses is not allowed; another error when DNS doesn't answer
 */
export async function checkDestination(url: URL, rules: DestinationRules, find = findAddresses): Promise<Checked[]> {
  const host = hostOf(url);
  const allowed = isAllowedHost(url, rules.allowHosts);
  if (url.protocol !== 'https:' && !allowed) {
    throw new DestinationRefused(`${url.protocol}// is not used: https only`);
  }
  if (!allowed) refuseClusterName(host, rules.clusterDomain);
  const found = isIP(host) === 0 ? await find(host, allowed) : [host];
  if (found.length === 0) throw new Error(`${host} has no address`);
  if (!allowed) for (const address of found) refuseAddress(host, address, rules.refusedNetworks);
  return found.map((address) => ({ address, family: isIP(address) === 6 ? 6 : 4 }));
}

/** The host of a URL: lower case, without the brackets of IPv6 and without a dot at the end. */
export function hostOf(url: URL): string {
  return url.hostname
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}

function refuseClusterName(host: string, clusterDomain: string): void {
  const inside = [clusterDomain, 'svc', 'local', 'localhost', 'internal'].some(
    (suffix) => host === suffix || host.endsWith(`.${suffix}`),
  );
  const single = !host.includes('.') && isIP(host) === 0;
  if (inside || single) throw new DestinationRefused(`${host} is a name inside the cluster`);
}

function refuseAddress(host: string, address: string, networks: readonly string[]): void {
  const parsed = ipaddr.process(address);
  // Everything that is not plainly on the Internet: private, loopback, link-local, shared, mapped, tunnelled, reserved.
  const range = parsed.range();
  if (range !== 'unicast') throw new DestinationRefused(`${host} has the address ${address} (${range})`);
  for (const network of networks) {
    const [base, bits] = ipaddr.parseCIDR(network);
    if (base.kind() === parsed.kind() && parsed.match(base, bits)) {
      throw new DestinationRefused(`${host} has the address ${address}, in the cluster's network ${network}`);
    }
  }
}

/** Networks that this pod itself is in. */
export function ownNetworks(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).flatMap(({ cidr }) => (cidr === null ? [] : [cidr])),
  );
}

const findAddresses: FindAddresses = async (host, allowed) => {
  if (allowed) return (await lookup(host, { all: true })).map(({ address }) => address);
  const resolver = new Resolver({ timeout: 3_000, tries: 2 });
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  const failure = answers.find((answer) => answer.status === 'rejected' && !isEmpty(answer.reason));
  // Half an answer could hide the address that would have been refused.
  if (failure?.status === 'rejected') throw failure.reason;
  return found;
};

function isEmpty(error: unknown): boolean {
  return ['ENODATA', 'ENOTFOUND'].includes((error as NodeJS.ErrnoException).code ?? '');
}

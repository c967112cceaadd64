/** Where a client comes from, as far as counting wrong passwords goes. Pure. */
import ipaddr from 'ipaddr.js';

export interface NetworkRules {
  /** Leading bits that name a network: neighbours share their fate. */
  readonly ipv4Prefix: number;
  readonly ipv6Prefix: number;
  /** Networks (CIDR) that are never limited, besides private ones. */
  readonly never: readonly string[];
}

/**
 * Nobody's in particular: addresses inside the cluster, behind a network address translation, of this host. To limit one
 * would be to lock out everybody behind it.
 */
const SHARED = new Set(['private', 'loopback', 'linkLocal', 'uniqueLocal', 'carrierGradeNat', 'unspecified']);

/** The client's network as text; undefined when it is not to be limited (or no address at all). */
export function clientNetwork(ip: string, rules: NetworkRules): string | undefined {
  if (!ipaddr.isValid(ip)) return undefined;
  const address = ipaddr.process(ip);
  if (SHARED.has(address.range())) return undefined;
  if (rules.never.some((network) => isIn(address, network))) return undefined;
  const bits = address.kind() === 'ipv4' ? rules.ipv4Prefix : rules.ipv6Prefix;
  const kind = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6;
  return `${kind.networkAddressFromCIDR(`${address.toString()}/${bits}`).toString()}/${bits}`;
}

function isIn(address: ipaddr.IPv4 | ipaddr.IPv6, network: string): boolean {
  const [base, bits] = ipaddr.parseCIDR(network);
  return address.kind() === base.kind() && address.match(base, bits);
}

/** Names that mean something inside a cluster or a host only (RFC 6761, RFC 8375; Kubernetes' own), or nothing at all. */
const INSIDE = ['svc', 'cluster.local', 'localhost', 'local', 'internal', 'home.arpa', 'invalid'];

/**
 * Whether a domain name leads nowhere outside. `invalid` counts too: the directory speaks to our own servers by names in it.
 *
 * @param name lower case, in A-labels, without a dot at the end
 * @param clusterDomain of this cluster, such as cluster.local
 */
export function isInsideName(name: string, clusterDomain: string): boolean {
  return !name.includes('.') || [...INSIDE, clusterDomain.toLowerCase()].some((zone) => name.endsWith(`.${zone}`));
}

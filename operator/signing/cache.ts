/**
 * The egress signers' cache of DKIM keys. Secrets hold the keys; Redis holds copies that the signers read.
 * Layout (also in images/rspamd/README.md): hash DKIM_KEYS `SELECTOR.DOMAIN` → PEM, hash DKIM_SELECTORS
 * `DOMAIN` → selector, string `posthorn:dkim:loaded` = "1". Without that string the signers defer everything, so that
 * an emptied cache never lets mail out unsigned.
 */

/** One domain's key. */
export interface SigningKey {
  domain: string;
  selector: string;
  /** PKCS #8 PEM. Undefined: it can't be had now, and the domain's mail has to wait. */
  privateKey: string | undefined;
}

/** What the cache holds. */
export interface CacheContent {
  /** `SELECTOR.DOMAIN` → PEM. */
  keys: Record<string, string>;
  /** Domain → selector. */
  selectors: Record<string, string>;
  loaded: boolean;
}

/** Writes that bring the cache to what it should be. */
export interface CacheChanges {
  setKeys: Record<string, string>;
  setSelectors: Record<string, string>;
  removeKeys: string[];
  removeSelectors: string[];
  markLoaded: boolean;
}

/** Where the cache is. All methods reject when it can't be reached. */
export interface SigningCache {
  read(): Promise<CacheContent>;
  /** In this order: keys, selectors, mark, then removals: at no moment is a selector without its key. */
  write(changes: CacheChanges): Promise<void>;
  close(): void;
}

/** What must be written for the cache to hold exactly `desired`; undefined when it does. Pure. */
export function cacheChanges(desired: readonly SigningKey[], current: CacheContent): CacheChanges | undefined {
  const keys = Object.fromEntries(
    desired.flatMap(({ domain, selector, privateKey }) =>
      privateKey === undefined ? [] : [[`${selector}.${domain}`, privateKey]],
    ),
  );
  // A selector without a key is what makes the signers defer: without it they would take the domain for a stranger's.
  const selectors = Object.fromEntries(desired.map((key) => [key.domain, key.selector]));
  const changes: CacheChanges = {
    setKeys: differing(keys, current.keys),
    setSelectors: differing(selectors, current.selectors),
    removeKeys: surplus(keys, current.keys),
    removeSelectors: surplus(selectors, current.selectors),
    markLoaded: !current.loaded,
  };
  const size =
    Object.keys(changes.setKeys).length +
    Object.keys(changes.setSelectors).length +
    changes.removeKeys.length +
    changes.removeSelectors.length;
  return size > 0 || changes.markLoaded ? changes : undefined;
}

/** Brings the cache to `desired`. @returns whether anything was written */
export async function syncSigningCache(cache: SigningCache, desired: readonly SigningKey[]): Promise<boolean> {
  const changes = cacheChanges(desired, await cache.read());
  if (changes === undefined) return false;
  await cache.write(changes);
  return true;
}

function differing(wanted: Record<string, string>, current: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(wanted).filter(([field, value]) => current[field] !== value));
}

function surplus(wanted: Record<string, string>, current: Record<string, string>): string[] {
  return Object.keys(current).filter((field) => wanted[field] === undefined);
}

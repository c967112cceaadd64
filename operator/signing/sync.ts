import { type MailDomain, resolveMailDomain } from '../../crds/maildomain.js';
import type { CacheReader } from '../runtime/cache.js';
import type { Log } from '../runtime/log.js';
import type { AttachedSystem } from '../systems.js';
import { type SigningKey, syncSigningCache } from './cache.js';
import { dkimSecretName, readDkimSecret, type Secret } from './secret.js';

/** Selector of a domain that doesn't choose one. */
export const DEFAULT_SELECTOR = 'posthorn';

export interface SigningDependencies {
  /** Secrets with the DKIM label. */
  secrets: CacheReader<Secret>;
  /** The MailDomains that a MailSystem hosts. */
  hosted: (systemKey: string) => readonly MailDomain[];
  log: Log;
}

/** Domain and selector of every key that a MailSystem signs with; its hostname signs the mx's own bounces. */
export function signingDomains(system: AttachedSystem, hosted: readonly MailDomain[]): Map<string, string> {
  const domains = new Map([[system.spec.hostname, DEFAULT_SELECTOR]]);
  for (const object of hosted) {
    const { domain, dkim } = resolveMailDomain(object.spec, object.metadata.name);
    domains.set(domain, dkim.selector ?? DEFAULT_SELECTOR);
  }
  return domains;
}

/**
 * Brings a MailSystem's signing cache up to date. A domain whose Secret is not there yet is left out until it is,
 * and until then it is not in the directory either, so nobody can send as it.
 *
 * @returns the domains that the cache now signs for
 * @throws when the cache can't be reached or written
 */
export async function syncSigning(deps: SigningDependencies, system: AttachedSystem): Promise<Set<string>> {
  const keys: SigningKey[] = [];
  for (const [domain, selector] of signingDomains(system, deps.hosted(system.key))) {
    const secret = deps.secrets.get(`${system.namespace}/${dkimSecretName(domain, selector)}`);
    if (secret === undefined) continue;
    const { privateKey } = readDkimSecret(secret);
    keys.push({ domain, selector, privateKey });
  }
  const written = await syncSigningCache(system.signing, keys);
  if (written) deps.log.info({ system: system.key, domains: keys.length }, 'filled the signing cache');
  return new Set(keys.map((key) => key.domain));
}

import { type MailDomain, resolveMailDomain } from '../../crds/maildomain.js';
import type { CacheReader } from '../runtime/cache.js';
import type { Log } from '../runtime/log.js';
import type { AttachedSystem } from '../systems.js';
import { syncSigningCache } from './cache.js';
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

/** Which key signs for a domain, and in which namespace its Secret is. */
export interface SigningDomain {
  selector: string;
  namespace: string;
}

/** Every domain that a MailSystem signs for; its hostname signs the mx's own bounces. A tenant's key is in the tenant's namespace. */
export function signingDomains(system: AttachedSystem, hosted: readonly MailDomain[]): Map<string, SigningDomain> {
  const domains = new Map([[system.spec.hostname, { selector: DEFAULT_SELECTOR, namespace: system.namespace }]]);
  for (const object of hosted) {
    const { domain, dkim } = resolveMailDomain(object.spec, object.metadata.name);
    const namespace = object.metadata.namespace ?? system.namespace;
    // The name of the mail servers themselves is nobody's to sign for but theirs.
    if (domain === system.spec.hostname && namespace !== system.namespace) continue;
    domains.set(domain, { selector: dkim.selector ?? DEFAULT_SELECTOR, namespace });
  }
  return domains;
}

/**
 * Brings a MailSystem's signing cache up to date. A hosted domain whose key can't be read is in it without a key: its
 * mail is deferred, that of the others goes on.
 *
 * @returns the domains that the cache can sign for
 * @throws when the cache can't be reached or written
 */
export async function syncSigning(deps: SigningDependencies, system: AttachedSystem): Promise<Set<string>> {
  const keys = [...signingDomains(system, deps.hosted(system.key))].map(([domain, { selector, namespace }]) => ({
    domain,
    selector,
    privateKey: privateKeyOf(deps, system, domain, { selector, namespace }),
  }));
  const written = await syncSigningCache(system.signing, keys);
  const usable = new Set(keys.filter((key) => key.privateKey !== undefined).map((key) => key.domain));
  if (written)
    deps.log.info({ system: system.key, domains: keys.length, keys: usable.size }, 'filled the signing cache');
  return usable;
}

function privateKeyOf(
  deps: SigningDependencies,
  system: AttachedSystem,
  domain: string,
  { selector, namespace }: SigningDomain,
): string | undefined {
  const secret = deps.secrets.get(`${namespace}/${dkimSecretName(domain, selector)}`);
  if (secret === undefined) return undefined;
  try {
    return readDkimSecret(secret).privateKey;
  } catch (error) {
    deps.log.warn({ system: system.key, domain, err: error }, 'the DKIM key can not be read; mail of the domain waits');
    return undefined;
  }
}

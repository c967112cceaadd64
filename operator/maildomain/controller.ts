import type { MailDomain } from '../../crds/maildomain.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import type { CacheReader } from '../runtime/cache.js';
import { domainOf, type Hosting, hostingOf, ownerOf } from './hosting.js';

/** Indexes that the cache of MailDomains needs. */
export const mailDomainIndexes = {
  /** `namespace/domain`. */
  domain: (object: MailDomain) => {
    const domain = domainOf(object);
    return domain === undefined ? [] : [`${object.metadata.namespace}/${domain}`];
  },
  namespace: (object: MailDomain) => [object.metadata.namespace ?? ''],
  uid: (object: MailDomain) => [object.metadata.uid ?? ''],
};

/** Indexes that the cache of MailSystems needs. */
export const mailSystemIndexes = { namespace: (object: MailSystem) => [object.metadata.namespace ?? ''] };

/** Answers, from the caches, who hosts what. */
export interface HostingView {
  of(object: MailDomain): Hosting;
  /** The MailDomain that hosts a domain for the objects of a namespace, and its MailSystem if it has one. */
  domain(namespace: string, domain: string): { name: string; system: string | undefined } | undefined;
  /** MailDomains that a MailSystem hosts. */
  hosted(systemKey: string): MailDomain[];
}

export function createHostingView(systems: CacheReader<MailSystem>, domains: CacheReader<MailDomain>): HostingView {
  const of = (object: MailDomain): Hosting => {
    const namespace = object.metadata.namespace ?? '';
    return hostingOf(object, {
      systems: systems.byIndex('namespace', namespace),
      claimants: (domain) => domains.byIndex('domain', `${namespace}/${domain}`),
    });
  };
  return {
    of,
    domain: (namespace, domain) => {
      const owner = ownerOf(domains.byIndex('domain', `${namespace}/${domain}`));
      if (owner === undefined) return undefined;
      const hosting = of(owner);
      return { name: owner.metadata.name, system: 'system' in hosting ? hosting.system : undefined };
    },
    hosted: (systemKey) => {
      const namespace = systemKey.slice(0, systemKey.indexOf('/'));
      return domains.byIndex('namespace', namespace).filter((object) => {
        const hosting = of(object);
        return 'system' in hosting && hosting.system === systemKey;
      });
    },
  };
}

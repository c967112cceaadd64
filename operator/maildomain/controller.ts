import type { MailDomain } from '../../crds/maildomain.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import type { CacheReader } from '../runtime/cache.js';
import { refKey } from '../runtime/object.js';
import { domainOf, type Hosting, type HostingContext, hostingOf, ownerOf, systemNamespaceOf } from './hosting.js';

/** Indexes that the cache of MailDomains needs. */
export const mailDomainIndexes = {
  /** `namespace/domain`. */
  domain: (object: MailDomain) => {
    const domain = domainOf(object);
    return domain === undefined ? [] : [`${object.metadata.namespace}/${domain}`];
  },
  /** The domain alone: several namespaces may claim it. */
  claim: (object: MailDomain) => {
    const domain = domainOf(object);
    return domain === undefined ? [] : [domain];
  },
  namespace: (object: MailDomain) => [object.metadata.namespace ?? ''],
  /** Namespace of the MailSystem that it asks for. */
  systemNamespace: (object: MailDomain) => [systemNamespaceOf(object)],
  uid: (object: MailDomain) => [object.metadata.uid ?? ''],
};

/** Indexes that the cache of MailSystems needs. */
export const mailSystemIndexes = { namespace: (object: MailSystem) => [object.metadata.namespace ?? ''] };

/** A MailDomain, and the MailSystem that serves it (`namespace/name`) or what it waits for. */
export interface DomainHost {
  name: string;
  system: string | undefined;
  waiting?: string;
}

/** Answers, from the caches, who hosts what. */
export interface HostingView {
  of(object: MailDomain): Hosting;
  /** The MailDomain that hosts a domain for the objects of a namespace. */
  domain(namespace: string, domain: string): DomainHost | undefined;
  /** MailDomains that a MailSystem hosts, in whatever namespace. */
  hosted(systemKey: string): MailDomain[];
  /** The MailDomain by which a MailSystem hosts a domain. */
  host(systemKey: string, domain: string): MailDomain | undefined;
  /** The MailSystem's own namespace, and those of the domains that it hosts. */
  namespacesOf(systemKey: string): ReadonlySet<string>;
}

export function createHostingView(systems: CacheReader<MailSystem>, domains: CacheReader<MailDomain>): HostingView {
  const context: HostingContext = {
    systems: (namespace) => systems.byIndex('namespace', namespace),
    claimants: (domain) => domains.byIndex('claim', domain),
  };
  const of = (object: MailDomain): Hosting => hostingOf(object, context);
  const isHostedBy = (systemKey: string) => (object: MailDomain) => {
    const hosting = of(object);
    return 'system' in hosting && hosting.system === systemKey;
  };
  const hosted = (systemKey: string): MailDomain[] =>
    domains.byIndex('systemNamespace', namespaceOf(systemKey)).filter(isHostedBy(systemKey));
  return {
    of,
    domain: (namespace, domain) => {
      const owner = ownerOf(domains.byIndex('domain', `${namespace}/${domain}`), context);
      if (owner === undefined) return undefined;
      const hosting = of(owner);
      const { name } = owner.metadata;
      return 'system' in hosting
        ? { name, system: hosting.system }
        : { name, system: undefined, waiting: hosting.message };
    },
    hosted,
    host: (systemKey, domain) => domains.byIndex('claim', domain).find(isHostedBy(systemKey)),
    namespacesOf: (systemKey) =>
      new Set([namespaceOf(systemKey), ...hosted(systemKey).map(({ metadata }) => metadata.namespace ?? '')]),
  };
}

/** Keys of the MailDomains that a change of a MailSystem, or of a rival, may concern. */
export function concerned(domains: CacheReader<MailDomain>, object: MailDomain): Set<string> {
  const domain = domainOf(object);
  return new Set([
    ...domains.keysByIndex('namespace', object.metadata.namespace ?? ''),
    ...(domain === undefined ? [] : domains.keysByIndex('claim', domain)),
    refKey(object.metadata),
  ]);
}

function namespaceOf(systemKey: string): string {
  return systemKey.slice(0, systemKey.indexOf('/'));
}

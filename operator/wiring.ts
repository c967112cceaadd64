import type { ForwardRule } from '../crds/forwardrule.js';
import type { Mailbox } from '../crds/mailbox.js';
import type { MailDomain } from '../crds/maildomain.js';
import type { MailSystem } from '../crds/mailsystem.js';
import { addressesOf, domainPart } from './forwardrule/landscape.js';
import { concerned } from './maildomain/controller.js';
import { domainOf, systemNamespaceOf } from './maildomain/hosting.js';
import type { Looks } from './mailsystem/looks.js';
import { systemOfChild } from './mailsystem/observe.js';
import { isDrift, isNewGeneration, isNews, isSame } from './news.js';
import type { Informer } from './runtime/informer.js';
import { type KubeObject, keyOf } from './runtime/object.js';
import type { Queue } from './runtime/queue.js';
import type { InformerEvent } from './runtime/store.js';
import type { Secret } from './signing/secret.js';
import type { Systems } from './systems.js';

/** Events of pods and workloads come in swarms: one reconciliation for all of this time. */
const SWARM_MS = 2_000;

export interface Wiring {
  mailSystems: Informer<MailSystem>;
  domains: Informer<MailDomain>;
  mailboxes: Informer<Mailbox>;
  rules: Informer<ForwardRule>;
  dkimSecrets: Informer<Secret>;
  queues: { system: Queue; domain: Queue; mailbox: Queue };
  systems: Systems;
  looks: Looks;
  onDomain: (namespace: string, domain: string) => void;
}

/** Which event makes which object be looked at again. */
export function wire({
  mailSystems,
  domains,
  mailboxes,
  rules,
  dkimSecrets,
  queues,
  systems,
  looks,
  onDomain,
}: Wiring): void {
  const addAll = (queue: Queue, keys: ReadonlySet<string>): void => {
    for (const key of keys) queue.add(key);
  };
  const domainsOf = (namespace = '') => addAll(queues.domain, domains.cache.keysByIndex('namespace', namespace));
  /** Those that the MailSystems of a namespace serve or are asked to serve. */
  const guestsOf = (namespace = '') => addAll(queues.domain, domains.cache.keysByIndex('systemNamespace', namespace));
  const systemsOf = (namespace = '') => {
    const keys = mailSystems.cache.keysByIndex('namespace', namespace);
    for (const key of keys) looks.invalidate(key);
    addAll(queues.system, keys);
  };

  mailSystems.onEvent((event) => {
    const { object, previous, initial } = event;
    if (!isNews(event)) return;
    queues.system.add(keyOf(object), { background: initial });
    if (isNewGeneration(object, previous)) guestsOf(object.metadata.namespace);
  });
  const onDomainNews = ({ type, object, previous, initial }: InformerEvent<MailDomain>): void => {
    queues.domain.add(keyOf(object), { background: initial });
    if (type === 'updated' && !isNewGeneration(object, previous)) return;
    const { namespace = '' } = object.metadata;
    // Rivals for the same domain, a MailSystem that waits to be deleted, and the mailboxes in the domain.
    addAll(queues.domain, concerned(domains.cache, object));
    if (type === 'deleted') systemsOf(systemNamespaceOf(object));
    if (!initial) onDomain(namespace, domainOf(object) ?? '');
  };
  domains.onEvent((event) => {
    if (isNews(event)) onDomainNews(event);
  });
  const onAddresses = (event: InformerEvent<Mailbox> | InformerEvent<ForwardRule>): void => {
    if (event.type === 'added' || !isNews(event)) return;
    // It may have been the last one that a MailDomain's deletion waits for.
    const before = event.previous ?? event.object;
    for (const domain of new Set(addressesOf(before).map(domainPart))) {
      addAll(queues.domain, domains.cache.keysByIndex('domain', `${before.metadata.namespace}/${domain}`));
    }
  };
  mailboxes.onEvent(onAddresses);
  rules.onEvent(onAddresses);
  dkimSecrets.onEvent(({ object, initial }) => {
    if (!initial) domainsOf(object.metadata.namespace);
  });
  systems.onAttach((system) => guestsOf(system.namespace));
}

/** Changes of children only make a status, mostly; some mean that a child is not as it was applied. */
export function wireChildren(children: readonly Informer<KubeObject>[], queue: Queue, looks: Looks): void {
  const onChild = (event: InformerEvent<KubeObject>): void => {
    if (event.initial || isSame(event.object, event.previous)) return;
    const drift = event.object.kind !== 'Pod' && isDrift(event);
    for (const key of systemOfChild(event.object)) {
      if (drift) looks.invalidate(key);
      queue.addAfter(key, SWARM_MS);
    }
  };
  for (const child of children) child.onEvent(onChild);
}

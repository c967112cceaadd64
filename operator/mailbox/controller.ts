import type { Mailbox } from '../../crds/mailbox.js';
import type { MailDomain } from '../../crds/maildomain.js';
import type { CacheReader } from '../runtime/cache.js';
import type { Client } from '../runtime/client.js';
import { type RunningController, runBatchController } from '../runtime/controller.js';
import type { EventRecorder } from '../runtime/events.js';
import type { Informer } from '../runtime/informer.js';
import type { Log } from '../runtime/log.js';
import type { Metrics } from '../runtime/metrics.js';
import { type KubeObject, keyOf, refKey } from '../runtime/object.js';
import type { Queue } from '../runtime/queue.js';
import type { Systems } from '../systems.js';
import { claimedAddresses, type HostingDomain, uuidOf } from './desired.js';
import { compareInventory, type Known } from './inventory.js';
import { createPasswordResolver, type PasswordResolver } from './password.js';
import { reconcileMailboxes } from './reconcile.js';

/** Indexes that the cache of Mailboxes needs. */
export const mailboxIndexes = {
  /** `namespace/address` is not enough: a MailSystem may serve several objects of a namespace, so by address alone. */
  address: (m: Mailbox) => claimedAddresses(m),
  /** `namespace/domain` of every claimed address. */
  domain: (m: Mailbox) => [
    ...new Set(claimedAddresses(m).map((a) => `${m.metadata.namespace}/${a.slice(a.lastIndexOf('@') + 1)}`)),
  ],
  /** `namespace/name` of the Secret with the password. */
  secret: (m: Mailbox) =>
    m.spec.passwordSecretRef ? [`${m.metadata.namespace}/${m.spec.passwordSecretRef.name}`] : [],
  uid: (m: Mailbox) => [m.metadata.uid ?? ''],
};

export interface MailboxDependencies {
  client: Client;
  mailboxes: Informer<Mailbox>;
  domains: CacheReader<MailDomain>;
  /** The MailDomain that hosts a domain for objects of a namespace. */
  hosting: (namespace: string, domain: string) => HostingDomain | undefined;
  systems: Systems;
  passwords: PasswordResolver;
  /** What is known to be in the directories, by uuid. */
  known: Known;
  /** Objects that are gone and whose mailboxes are still live, by key. */
  gone: Map<string, GoneMailbox[]>;
  queue: Queue;
  events: EventRecorder;
  log: Log;
  now: () => Date;
}

/** A deleted Mailbox object. */
export interface GoneMailbox {
  uuid: string;
  objectUid: string;
  /** Its canonical addresses, for others that wait for them. */
  addresses: string[];
  /** `namespace/name` of its MailSystem; undefined if it never had one. */
  system: string | undefined;
}

export interface MailboxControllerOptions
  extends Omit<MailboxDependencies, 'passwords' | 'known' | 'gone' | 'domains'> {
  domains: Informer<MailDomain>;
  secrets: Informer<KubeObject>;
  metrics: Metrics;
  workers?: number;
}

/** Wires events to the queue and runs the workers. */
export function runMailboxController(
  options: MailboxControllerOptions,
): RunningController & { deps: MailboxDependencies } {
  const { client, mailboxes, domains, secrets, systems, queue, log, metrics } = options;
  const deps: MailboxDependencies = {
    ...options,
    domains: domains.cache,
    passwords: createPasswordResolver(client, secrets.cache),
    known: new Map(),
    gone: new Map(),
  };
  mailboxes.onEvent(({ type, object, previous, initial }) => {
    if (type === 'deleted') rememberGone(deps, object);
    queue.add(keyOf(object), { background: initial });
    for (const address of claimedBefore(object, previous)) enqueueClaimants(deps, address);
  });
  secrets.onEvent(({ object, initial }) => {
    if (!initial) enqueueIndex(deps, 'secret', keyOf(object));
  });
  systems.onAttach((system) => {
    void compareInventory(deps, system).catch((err: unknown) =>
      log.warn(
        { system: system.key, err },
        'comparing the directory with the Mailboxes failed; it will be tried again',
      ),
    );
  });
  const running = runBatchController({
    name: 'mailbox',
    queue,
    workers: options.workers ?? 2,
    maxBatch: 500,
    lingerMs: 5,
    log,
    metrics,
    reconcileBatch: (keys) => reconcileMailboxes(deps, keys),
  });
  return { ...running, deps };
}

/** Every Mailbox with an address in this domain of this namespace is looked at again. */
export function enqueueDomain(
  deps: Pick<MailboxDependencies, 'mailboxes' | 'queue'>,
  namespace: string,
  domain: string,
): void {
  enqueueIndex(deps, 'domain', `${namespace}/${domain}`);
}

/** Every Mailbox that claims this address is looked at again. */
export function enqueueClaimants(deps: Pick<MailboxDependencies, 'mailboxes' | 'queue'>, address: string): void {
  enqueueIndex(deps, 'address', address);
}

function enqueueIndex(
  { mailboxes, queue }: Pick<MailboxDependencies, 'mailboxes' | 'queue'>,
  index: string,
  value: string,
): void {
  for (const key of mailboxes.cache.keysByIndex(index, value)) queue.add(key);
}

/** Addresses that an event may have set free or contested: those of the object before and after. */
function claimedBefore(object: Mailbox, previous: Mailbox | undefined): Set<string> {
  return new Set(
    previous === undefined
      ? []
      : [...claimedAddresses(previous), ...claimedAddresses(object)].filter(() => previous.spec !== object.spec),
  );
}

function rememberGone(deps: MailboxDependencies, object: Mailbox): void {
  const addresses = claimedAddresses(object);
  const domain = addresses[0]?.slice(addresses[0].lastIndexOf('@') + 1);
  const system = domain === undefined ? undefined : deps.hosting(object.metadata.namespace ?? '', domain)?.system;
  const key = refKey(object.metadata);
  const entry = { uuid: uuidOf(object), objectUid: object.metadata.uid ?? '', addresses, system };
  deps.gone.set(key, [...(deps.gone.get(key) ?? []), entry]);
}

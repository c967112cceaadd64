import type { Mailbox } from '../../crds/mailbox.js';
import type { MailDomain } from '../../crds/maildomain.js';
import { isNews } from '../news.js';
import { type RunningController, runBatchController, runController } from '../runtime/controller.js';
import type { Informer } from '../runtime/informer.js';
import type { Metrics } from '../runtime/metrics.js';
import { type KubeObject, keyOf, refKey } from '../runtime/object.js';
import { createQueue, type Queue } from '../runtime/queue.js';
import { enqueueClaimants, enqueueIndex, type MailboxDependencies } from './dependencies.js';
import { claimedAddresses, uuidOf } from './desired.js';
import { compareInventory, enqueueNamespace, learnInventory } from './inventory.js';
import { createPasswordResolver } from './password.js';
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

export interface MailboxControllerOptions
  extends Omit<MailboxDependencies, 'passwords' | 'known' | 'gone' | 'learned' | 'domainExists' | 'startedAt'> {
  domains: Informer<MailDomain>;
  secrets: Informer<KubeObject>;
  metrics: Metrics;
  workers?: number;
}

export interface MailboxController {
  deps: MailboxDependencies;
  /** Starts the workers. Not before every cache is complete: what isn't in one doesn't exist. */
  start(): RunningController;
}

/** A safety net for what no event tells: rows whose object vanished in a gap, a directory that was restored. */
const INVENTORY_MS = 10 * 60_000;
/** After a removal: what could only go after that. */
const INVENTORY_SOON_MS = 30_000;

/** Wires events to the queues. */
export function createMailboxController(options: MailboxControllerOptions): MailboxController {
  const { client, domains, mailboxes, secrets, systems, queue, metrics } = options;
  const deps: MailboxDependencies = {
    ...options,
    passwords: createPasswordResolver(client, secrets.cache),
    known: new Map(),
    gone: new Map(),
    learned: new WeakMap(),
    startedAt: options.now(),
    domainExists: (uid) => domains.cache.keysByIndex('uid', uid).size > 0,
  };
  mailboxes.onEvent((event) => {
    const { type, object, previous, initial } = event;
    if (type === 'deleted') rememberGone(deps, object);
    if (!isNews(event)) return;
    queue.add(keyOf(object), { background: initial });
    for (const address of touchedAddresses(object, previous)) enqueueClaimants(deps, address);
  });
  secrets.onEvent(({ object, initial }) => {
    if (!initial) enqueueIndex(deps, 'secret', keyOf(object));
  });
  const inventories = createQueue({ name: 'inventory', metrics });
  const attachedAnew = new Set<string>();
  systems.onAttach(({ key }) => {
    attachedAnew.add(key);
    inventories.add(key);
  });
  return { deps, start: () => startWorkers(options, deps, inventories, attachedAnew) };
}

function startWorkers(
  { queue, log, metrics, workers = 2 }: MailboxControllerOptions,
  deps: MailboxDependencies,
  inventories: Queue,
  attachedAnew: Set<string>,
): RunningController {
  const batches = runBatchController({
    name: 'mailbox',
    queue,
    workers,
    maxBatch: 500,
    lingerMs: 5,
    log,
    metrics,
    reconcileBatch: (keys) => reconcileMailboxes(deps, keys),
  });
  const comparisons = runController({
    name: 'inventory',
    queue: inventories,
    workers: 1,
    log,
    metrics,
    reconcile: async (key) => {
      const system = deps.systems.get(key);
      if (system === undefined) return {};
      if (!attachedAnew.has(key)) {
        const removed = await compareInventory(deps, system);
        return { requeueAfterMs: removed ? INVENTORY_SOON_MS : INVENTORY_MS };
      }
      await learnInventory(deps, system);
      attachedAnew.delete(key);
      enqueueNamespace(deps, system.namespace);
      return { requeueAfterMs: INVENTORY_SOON_MS };
    },
  });
  return {
    stop: async (graceMs) => {
      await Promise.all([comparisons.stop(graceMs), batches.stop(graceMs)]);
    },
  };
}

/** Addresses that an event may have set free or contested: those of the object before and after. */
function touchedAddresses(object: Mailbox, previous: Mailbox | undefined): Set<string> {
  return new Set(previous === undefined ? [] : [...claimedAddresses(previous), ...claimedAddresses(object)]);
}

function rememberGone(deps: MailboxDependencies, object: Mailbox): void {
  const key = refKey(object.metadata);
  const entry = { uuid: uuidOf(object), objectUid: object.metadata.uid ?? '', addresses: claimedAddresses(object) };
  deps.gone.set(key, [...(deps.gone.get(key) ?? []), entry]);
}

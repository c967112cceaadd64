import type { Mailbox } from '../../crds/mailbox.js';
import type { MailDomain } from '../../crds/maildomain.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import { isNews } from '../news.js';
import { type Result, type RunningController, runBatchController, runController } from '../runtime/controller.js';
import type { Informer } from '../runtime/informer.js';
import type { Metrics } from '../runtime/metrics.js';
import { type KubeObject, keyOf, refKey } from '../runtime/object.js';
import { createQueue, type Queue } from '../runtime/queue.js';
import { enqueueClaimants, enqueueIndex, type MailboxDependencies } from './dependencies.js';
import { claimedAddresses, uuidOf } from './desired.js';
import { compareInventory, enqueueNamespaces, learnInventory } from './inventory.js';
import { memberNames } from './members.js';
import { isPardon } from './pardon.js';
import { createPasswordResolver, secretNames } from './password.js';
import { reconcileMailboxes } from './reconcile.js';
import { createReportReader } from './reports.js';

/** Indexes that the cache of Mailboxes needs. */
export const mailboxIndexes = {
  /** `namespace/address` is not enough: a MailSystem may serve several objects of a namespace, so by address alone. */
  address: (m: Mailbox) => claimedAddresses(m),
  /** `namespace/domain` of every claimed address. */
  domain: (m: Mailbox) => [
    ...new Set(claimedAddresses(m).map((a) => `${m.metadata.namespace}/${a.slice(a.lastIndexOf('@') + 1)}`)),
  ],
  /** `namespace/name` of the Secrets with passwords. */
  secret: (m: Mailbox) => secretNames(m).map((name) => `${m.metadata.namespace}/${name}`),
  uid: (m: Mailbox) => [m.metadata.uid ?? ''],
  uuid: (m: Mailbox) => [uuidOf(m)],
  /** Where it is said to live. */
  shard: (m: Mailbox) => (m.status?.shard === undefined ? [] : [m.status.shard]),
  /** `namespace/name` of the members. */
  member: (m: Mailbox) => memberNames(m).map((name) => `${m.metadata.namespace}/${name}`),
};

export interface MailboxControllerOptions
  extends Omit<
    MailboxDependencies,
    'passwords' | 'known' | 'gone' | 'learned' | 'domainExists' | 'startedAt' | 'reports' | 'awaitResults'
  > {
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
/** How often it is asked what stores and gatekeepers say: one question for all mailboxes of a system, … */
const REPORTS_MS = 60_000;
/** … more often while a script waits to be compiled, … */
const REPORTS_PENDING_MS = 15_000;
/** … and first when the store must have seen it: it looks every 5 s. */
const REPORTS_FIRST_MS = 6_000;

/** Wires events to the queues. */
export function createMailboxController(options: MailboxControllerOptions): MailboxController {
  const { client, domains, mailboxes, secrets, systems, queue, metrics } = options;
  const inventories = createQueue({ name: 'inventory', metrics });
  const reading = createQueue({ name: 'reports', metrics });
  const deps: MailboxDependencies = {
    ...options,
    passwords: createPasswordResolver(client, secrets.cache),
    known: new Map(),
    gone: new Map(),
    learned: new WeakMap(),
    startedAt: options.now(),
    reports: createReportReader(),
    awaitResults: (systemKey) => reading.addAfter(systemKey, REPORTS_FIRST_MS),
    domainExists: (uid) => domains.cache.keysByIndex('uid', uid).size > 0,
  };
  mailboxes.onEvent((event) => {
    const { type, object, previous, initial } = event;
    if (type === 'deleted') rememberGone(deps, object);
    // Those that it is a member of say whether it is there, and where.
    if (type !== 'updated' || object.status?.shard !== previous?.status?.shard)
      enqueueIndex(deps, 'member', keyOf(object));
    if (!isNews(event) && !isPardon(object, previous)) return;
    queue.add(keyOf(object), { background: initial });
    for (const address of touchedAddresses(object, previous)) enqueueClaimants(deps, address);
  });
  secrets.onEvent(({ object, initial }) => {
    if (!initial) enqueueIndex(deps, 'secret', keyOf(object));
  });
  const attachedAnew = new Set<string>();
  systems.onAttach(({ key }) => {
    attachedAnew.add(key);
    inventories.add(key);
    reading.addAfter(key, REPORTS_MS);
  });
  return { deps, start: () => startWorkers(options, deps, { inventories, reading }, attachedAnew) };
}

function startWorkers(
  { queue, log, metrics, workers = 2 }: MailboxControllerOptions,
  deps: MailboxDependencies,
  { inventories, reading }: { inventories: Queue; reading: Queue },
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
      enqueueNamespaces(deps, key);
      return { requeueAfterMs: INVENTORY_SOON_MS };
    },
  });
  const readings = runController({
    name: 'reports',
    queue: reading,
    workers: 1,
    log,
    metrics,
    reconcile: (key) => readReports(deps, key),
  });
  return {
    stop: async (graceMs) => {
      await Promise.all([comparisons.stop(graceMs), readings.stop(graceMs), batches.stop(graceMs)]);
    },
  };
}

/** Lets those Mailboxes look again of which stores or gatekeepers say something new. */
async function readReports(deps: MailboxDependencies, key: string): Promise<Result> {
  const system = deps.systems.get(key);
  if (system === undefined) return {};
  // Before the first comparison nothing is written anyway, and it reads them too.
  if (deps.learned.has(system.directory)) {
    try {
      for (const uuid of await deps.reports.readNews(system)) enqueueIndex(deps, 'uuid', uuid);
    } catch (error) {
      // The MailSystem tells of a directory that is away.
      if (!(error instanceof DirectoryUnavailable)) throw error;
    }
  }
  return { requeueAfterMs: deps.reports.isAwaited(key) ? REPORTS_PENDING_MS : REPORTS_MS };
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

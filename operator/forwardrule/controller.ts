import type { ForwardRule } from '../../crds/forwardrule.js';
import type { Mailbox } from '../../crds/mailbox.js';
import { isNews } from '../news.js';
import { type RunningController, runBatchController, runController } from '../runtime/controller.js';
import type { Informer } from '../runtime/informer.js';
import type { Metrics } from '../runtime/metrics.js';
import { type KubeObject, keyOf, refKey } from '../runtime/object.js';
import { createQueue, type Queue } from '../runtime/queue.js';
import type { InformerEvent } from '../runtime/store.js';
import { enqueueHeld, enqueueIndex, enqueueInterested, type ForwardRuleDependencies } from './dependencies.js';
import { compareForwards, learnForwards } from './inventory.js';
import { addressesOf, baseOf, domainPart, resolved } from './landscape.js';
import { reconcileForwardRules } from './reconcile.js';

/** Indexes that the cache of ForwardRules needs. */
export const forwardRuleIndexes = {
  /** The canonical address, without a namespace: a MailSystem may serve several. */
  address: (rule: ForwardRule) => addressesOf(rule),
  /** `namespace/domain` of the address. */
  domain: (rule: ForwardRule) =>
    addressesOf(rule).map((address) => `${rule.metadata.namespace}/${domainPart(address)}`),
  /** Addresses that it forwards to, without details. */
  target: (rule: ForwardRule) => [...new Set(targetsOf(rule))],
  /** Their domains. */
  targetDomain: (rule: ForwardRule) => [...new Set(targetsOf(rule).map(domainPart))],
  /** `namespace/name` of the Mailboxes that it names. */
  mailbox: ({ metadata, spec }: ForwardRule) => [
    ...new Set(
      [spec.keepCopy?.mailbox, spec.sendAs?.mailbox].flatMap((name) =>
        name === undefined ? [] : [`${metadata.namespace}/${name}`],
      ),
    ),
  ],
  /** `namespace/name` of the Secrets that it names. */
  secret: ({ metadata, spec }: ForwardRule) =>
    [...(spec.webhooks ?? []), ...(spec.commands ?? [])].flatMap(({ secretRef }) =>
      secretRef === undefined ? [] : [`${metadata.namespace}/${secretRef.name}`],
    ),
  uid: (rule: ForwardRule) => [rule.metadata.uid ?? ''],
};

function targetsOf(rule: ForwardRule): string[] {
  const spec = resolved(rule);
  return 'value' in spec ? spec.value.to.map(baseOf) : [];
}

export interface ForwardRuleControllerOptions
  extends Omit<ForwardRuleDependencies, 'gone' | 'held' | 'learned' | 'startedAt'> {
  mailboxes: Informer<Mailbox>;
  secrets: Informer<KubeObject>;
  metrics: Metrics;
  workers?: number;
}

export interface ForwardRuleController {
  deps: ForwardRuleDependencies;
  /** Starts the workers. Not before every cache is complete: what isn't in one doesn't exist. */
  start(): RunningController;
}

/** A safety net for what no event tells: rows whose object vanished in a gap, a directory that was restored. */
const INVENTORY_MS = 10 * 60_000;

/** Wires events to the queues. */
export function createForwardRuleController(options: ForwardRuleControllerOptions): ForwardRuleController {
  const { rules, mailboxes, secrets, systems, queue, metrics } = options;
  const deps: ForwardRuleDependencies = {
    ...options,
    gone: new Map(),
    held: new Set(),
    learned: new WeakMap(),
    startedAt: options.now(),
  };
  rules.onEvent((event) => {
    const { type, object, initial } = event;
    if (type === 'deleted') rememberGone(deps, object);
    if (!isNews(event)) return;
    queue.add(keyOf(object), { background: initial });
    enqueueTouched(deps, event);
  });
  mailboxes.onEvent((event) => {
    if (!isNews(event) || event.initial) return;
    enqueueIndex(deps, 'mailbox', keyOf(event.object));
    enqueueTouched(deps, event);
  });
  secrets.onEvent(({ type, object, initial }) => {
    if (!initial && type !== 'updated') enqueueIndex(deps, 'secret', keyOf(object));
  });
  const inventories = createQueue({ name: 'forward-inventory', metrics });
  const attachedAnew = new Set<string>();
  systems.onAttach(({ key }) => {
    attachedAnew.add(key);
    inventories.add(key);
  });
  return { deps, start: () => startWorkers(options, deps, inventories, attachedAnew) };
}

/** Rules that the addresses of an object before and after matter to. At the start all of them are looked at anyway. */
function enqueueTouched(
  deps: ForwardRuleDependencies,
  { object, previous, initial }: InformerEvent<ForwardRule> | InformerEvent<Mailbox>,
): void {
  if (initial) return;
  const before = previous === undefined ? [] : addressesOf(previous);
  for (const address of new Set([...before, ...addressesOf(object)])) enqueueInterested(deps, address);
  enqueueHeld(deps);
}

function startWorkers(
  { queue, log, metrics, workers = 2 }: ForwardRuleControllerOptions,
  deps: ForwardRuleDependencies,
  inventories: Queue,
  attachedAnew: Set<string>,
): RunningController {
  const batches = runBatchController({
    name: 'forwardrule',
    queue,
    workers,
    maxBatch: 500,
    lingerMs: 5,
    log,
    metrics,
    reconcileBatch: (keys) => reconcileForwardRules(deps, keys),
  });
  const comparisons = runController({
    name: 'forward-inventory',
    queue: inventories,
    workers: 1,
    log,
    metrics,
    reconcile: async (key) => {
      const system = deps.systems.get(key);
      if (system === undefined) return {};
      if (!attachedAnew.has(key)) {
        await compareForwards(deps, system);
        return { requeueAfterMs: INVENTORY_MS };
      }
      await learnForwards(deps, system);
      // With a new connection or another spec everything is looked at; what is in order writes nothing.
      attachedAnew.delete(key);
      enqueueAll(deps, key);
      return { requeueAfterMs: INVENTORY_MS };
    },
  });
  return {
    stop: async (graceMs) => {
      await Promise.all([comparisons.stop(graceMs), batches.stop(graceMs)]);
    },
  };
}

/** Every rule of a system, and those that wait for one, is looked at again, after what people change meanwhile. */
function enqueueAll(deps: ForwardRuleDependencies, system: string): void {
  for (const rule of deps.rules.cache.values()) {
    const [address] = addressesOf(rule);
    const namespace = rule.metadata.namespace ?? '';
    const home = address === undefined ? undefined : deps.context.landscape.domain(namespace, domainPart(address));
    if (home?.system === system) deps.queue.add(keyOf(rule), { background: true });
  }
}

function rememberGone(deps: ForwardRuleDependencies, object: ForwardRule): void {
  const key = refKey(object.metadata);
  const entry = { uid: object.metadata.uid ?? '', addresses: addressesOf(object) };
  deps.gone.set(key, [...(deps.gone.get(key) ?? []), entry]);
}

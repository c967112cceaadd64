import type { Mailbox } from '../../crds/mailbox.js';
import { isPaused, type RunningController, runBatchController } from '../runtime/controller.js';
import type { Informer } from '../runtime/informer.js';
import type { Metrics } from '../runtime/metrics.js';
import { type KubeObject, keyOf, refKey } from '../runtime/object.js';
import { enqueueClaimants, enqueueIndex, type MailboxDependencies } from './dependencies.js';
import { claimedAddresses, uuidOf } from './desired.js';
import { compareInventory } from './inventory.js';
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

export interface MailboxControllerOptions extends Omit<MailboxDependencies, 'passwords' | 'known' | 'gone'> {
  secrets: Informer<KubeObject>;
  metrics: Metrics;
  workers?: number;
}

/** Wires events to the queue and runs the workers. */
export function runMailboxController(
  options: MailboxControllerOptions,
): RunningController & { deps: MailboxDependencies } {
  const { client, mailboxes, secrets, systems, queue, log, metrics } = options;
  const deps: MailboxDependencies = {
    ...options,
    passwords: createPasswordResolver(client, secrets.cache),
    known: new Map(),
    gone: new Map(),
  };
  mailboxes.onEvent(({ type, object, previous, initial }) => {
    if (type === 'deleted') rememberGone(deps, object);
    if (type === 'updated' && !isNews(object, previous)) return;
    queue.add(keyOf(object), { background: initial });
    for (const address of touchedAddresses(object, previous)) enqueueClaimants(deps, address);
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

/** Our own status comes back as an event; only what people change means to look again. */
function isNews(object: Mailbox, previous: Mailbox | undefined): boolean {
  const before = previous?.metadata;
  return (
    before?.generation !== object.metadata.generation ||
    isPaused(object) !== (previous !== undefined && isPaused(previous))
  );
}

/** Addresses that an event may have set free or contested: those of the object before and after. */
function touchedAddresses(object: Mailbox, previous: Mailbox | undefined): Set<string> {
  return new Set(previous === undefined ? [] : [...claimedAddresses(previous), ...claimedAddresses(object)]);
}

function rememberGone(deps: MailboxDependencies, object: Mailbox): void {
  const addresses = claimedAddresses(object);
  const domain = addresses[0]?.slice(addresses[0].lastIndexOf('@') + 1);
  const system = domain === undefined ? undefined : deps.hosting(object.metadata.namespace ?? '', domain)?.system;
  const key = refKey(object.metadata);
  const entry = { uuid: uuidOf(object), objectUid: object.metadata.uid ?? '', addresses, system };
  deps.gone.set(key, [...(deps.gone.get(key) ?? []), entry]);
}

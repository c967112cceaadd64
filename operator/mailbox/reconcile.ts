import { setTimeout as sleep } from 'node:timers/promises';
import type { Mailbox } from '../../crds/mailbox.js';
import type { Directory } from '../directory/directory.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import type { MailboxOutcome, MailboxRow } from '../directory/rows.js';
import { setConditions, writeStatus } from '../runtime/conditions.js';
import { isPaused, type Result } from '../runtime/controller.js';
import type { AttachedSystem } from '../systems.js';
import { mailboxType } from '../types.js';
import { enqueueClaimants, type GoneMailbox, type MailboxDependencies } from './controller.js';
import { claimedAddresses, type DesiredMailbox, desiredMailbox, type Problem, uuidOf } from './desired.js';
import type { PasswordPlan } from './password.js';
import { placeMailbox } from './placement.js';
import { type MailboxObservation, mailboxStatus } from './status.js';

/** How long a batch waits for the directory's replicas before it says that it waits. */
const REPLAY_WAIT_MS = 1_000;
const REPLAY_POLL_MS = 20;
const RETRY_MS = 1_000;
/** While a new MailSystem starts, its Mailboxes say nothing for so long. */
const QUIET_MS = 15_000;

interface Plan {
  key: string;
  object: Mailbox;
  desired?: DesiredMailbox | undefined;
  problems: readonly Problem[];
  password: PasswordPlan;
}

/** Brings many Mailboxes to their directories: one statement per MailSystem, then a status write for each that changed. */
export async function reconcileMailboxes(
  deps: MailboxDependencies,
  keys: readonly string[],
): Promise<Map<string, Result>> {
  const results = new Map<string, Result>();
  await tombstoneGone(deps, keys, results);
  const objects = keys.flatMap((key) => {
    const object = deps.mailboxes.cache.get(key);
    return object === undefined || isPaused(object) || results.has(key) ? [] : [{ key, object }];
  });
  const plans = await Promise.all(objects.map(({ key, object }) => planOf(deps, key, object)));
  const groups = groupBy(plans, (plan) => plan.desired?.system);
  await Promise.all([...groups].map(([system, group]) => reconcileGroup(deps, system, group, results)));
  return results;
}

async function planOf(deps: MailboxDependencies, key: string, object: Mailbox): Promise<Plan> {
  const namespace = object.metadata.namespace ?? '';
  const { mailbox, problems } = desiredMailbox(object, { domain: (domain) => deps.hosting(namespace, domain) });
  const password = await deps.passwords.plan(object, deps.known.get(uuidOf(object)));
  return { key, object, desired: mailbox, problems, password };
}

async function reconcileGroup(
  deps: MailboxDependencies,
  systemKey: string | undefined,
  plans: readonly Plan[],
  results: Map<string, Result>,
): Promise<void> {
  const system = systemKey === undefined ? undefined : deps.systems.get(systemKey);
  if (systemKey === undefined) return report(deps, plans, results, {});
  if (system === undefined) {
    const settled = plans.filter((plan) => isSettled(deps, plan.object));
    for (const plan of plans) results.set(plan.key, { requeueAfterMs: QUIET_MS });
    return report(deps, settled, results, {
      unavailable: `The directory of MailSystem ${systemKey} is not ready yet; its conditions tell why.`,
    });
  }
  try {
    const { outcomes, lagging } = await project(deps, system, plans);
    await report(deps, plans, results, {
      outcomes,
      lagging,
      adoptable: await adoptableOf(system.directory, plans, outcomes),
    });
  } catch (error) {
    if (!(error instanceof DirectoryUnavailable)) throw error;
    for (const plan of plans) results.set(plan.key, { error });
  }
}

/** Until a Mailbox has once been looked at, or is a while old, a system that starts is no news. */
function isSettled(deps: MailboxDependencies, object: Mailbox): boolean {
  const age = deps.now().getTime() - Date.parse(object.metadata.creationTimestamp ?? '');
  return object.status?.observedGeneration !== undefined
    ? object.status.observedGeneration !== object.metadata.generation
    : age > QUIET_MS;
}

async function project(
  deps: MailboxDependencies,
  system: AttachedSystem,
  plans: readonly Plan[],
): Promise<{ outcomes: Map<string, MailboxOutcome>; lagging: readonly string[] }> {
  const rows = plans.map((plan) => rowOf(plan, system));
  const { value, lsn } = await system.directory.projectMailboxes(rows);
  const outcomes = new Map(plans.map((plan, index) => [plan.key, value[index] as MailboxOutcome]));
  for (const plan of plans) learn(deps, plan, outcomes.get(plan.key));
  return { outcomes, lagging: await waitForReplicas(system.directory, lsn) };
}

function rowOf({ object, desired, password }: Plan, system: AttachedSystem): MailboxRow {
  if (desired === undefined) throw new Error(`Mailbox ${object.metadata.name}: nothing to project`);
  const { uid = '', namespace = '', name, creationTimestamp = '' } = object.metadata;
  const { address, aliases, uuid, quotaBytes, deletionPolicy } = desired;
  return {
    uuid,
    address,
    aliases,
    quotaBytes,
    deletionPolicy,
    shard: placeMailbox(
      uuid,
      system.spec.store.shards.map((shard) => shard.name),
    ),
    object: { uid, namespace, name },
    createdAt: creationTimestamp,
    adopt: object.spec.adopt !== undefined,
    password: passwordOf(password),
  };
}

function passwordOf(plan: PasswordPlan): MailboxRow['password'] {
  if (plan.kind === 'new') return plan.password;
  return plan.kind === 'none' ? null : undefined;
}

/** Remembers what the directory has now, and lets those look again whose claim this write may have touched. */
function learn(
  deps: MailboxDependencies,
  { object, desired, password }: Plan,
  outcome: MailboxOutcome | undefined,
): void {
  if (outcome === undefined || desired === undefined || outcome.result === 'refused') return;
  if (password.kind === 'new') deps.known.set(desired.uuid, password.password.source);
  if (password.kind === 'none') deps.known.set(desired.uuid, null);
  if (outcome.result !== 'written') return;
  for (const address of claimedAddresses(object)) {
    const others = [...deps.mailboxes.cache.keysByIndex('address', address)];
    if (others.length > 1) enqueueClaimants(deps, address);
  }
}

async function waitForReplicas(directory: Directory, lsn: string): Promise<readonly string[]> {
  const deadline = performance.now() + REPLAY_WAIT_MS;
  for (;;) {
    const { ok, lagging } = await directory.replayedEverywhere(lsn);
    if (ok || performance.now() > deadline) return lagging;
    await sleep(REPLAY_POLL_MS);
  }
}

/** For mailboxes that were made just now: is there kept mail of the same address? */
async function adoptableOf(
  directory: Directory,
  plans: readonly Plan[],
  outcomes: ReadonlyMap<string, MailboxOutcome>,
): Promise<Map<string, string[]>> {
  const fresh = plans.filter(
    ({ key, object }) =>
      outcomes.get(key)?.result === 'written' && object.spec.adopt === undefined && object.status?.uuid === undefined,
  );
  const found = new Map<string, string[]>();
  if (fresh.length > 20) return found;
  for (const { key, object, desired } of fresh) {
    const kept = await directory.adoptable(desired?.address ?? '', object.metadata.namespace ?? '');
    found.set(
      key,
      kept.map((mailbox) => mailbox.uuid),
    );
  }
  return found;
}

interface Findings {
  outcomes?: ReadonlyMap<string, MailboxOutcome>;
  lagging?: readonly string[];
  unavailable?: string;
  adoptable?: ReadonlyMap<string, string[]>;
}

async function report(
  deps: MailboxDependencies,
  plans: readonly Plan[],
  results: Map<string, Result>,
  findings: Findings,
): Promise<void> {
  await Promise.all(
    plans.map(async (plan) => {
      try {
        await writeOne(deps, plan, results, findings);
      } catch (error) {
        results.set(plan.key, { error });
      }
    }),
  );
}

async function writeOne(
  deps: MailboxDependencies,
  plan: Plan,
  results: Map<string, Result>,
  findings: Findings,
): Promise<void> {
  const { key, object, desired, problems } = plan;
  const outcome = findings.outcomes?.get(key);
  // A mailbox that was Ready and needed no write stays Ready, even if a replica is behind on something else.
  const lagging = outcome?.result === 'unchanged' && wasReady(object) ? [] : (findings.lagging ?? []);
  const observation: MailboxObservation = {
    problems,
    outcome,
    lagging,
    unavailable: findings.unavailable,
    password: passwordState(plan.password),
    adoptable: findings.adoptable?.get(key),
    address: desired?.address ?? object.spec.address,
    quota: object.spec.quota,
  };
  if (outcome?.result === 'refused' || lagging.length > 0) results.set(key, { requeueAfterMs: retryMs(outcome) });
  const { conditions, detail } = mailboxStatus(observation);
  const status = {
    ...object.status,
    observedGeneration: object.metadata.generation ?? 0,
    conditions: setConditions(object.status?.conditions, keepAdoptionNotice(object, outcome, conditions), {
      generation: object.metadata.generation,
      now: deps.now().toISOString(),
    }),
    ...(outcome !== undefined && outcome.result !== 'refused' && desired !== undefined
      ? { address: desired.address, uuid: desired.uuid, shard: outcome.shard }
      : {}),
    detail,
  };
  const written = await writeStatus({
    client: deps.client,
    type: mailboxType,
    object,
    status,
    fieldManager: 'posthorn-mailbox',
  });
  if (written) deps.mailboxes.observe(written as Mailbox);
  announce(deps, object, conditions[0]);
}

/** Said once, when the mailbox was made; it must not flip back and forth with every look. */
function keepAdoptionNotice<T extends { type: string; status: string; reason: string; message: string }>(
  object: Mailbox,
  outcome: MailboxOutcome | undefined,
  conditions: T[],
): T[] {
  const before = object.status?.conditions?.find((c) => c.type === 'Ready');
  if (outcome?.result !== 'unchanged' || before?.status !== 'True' || !before.message.includes('spec.adopt'))
    return conditions;
  return conditions.map((c) => (c.type === 'Ready' && c.status === 'True' ? { ...c, message: before.message } : c));
}

function announce(
  deps: MailboxDependencies,
  object: Mailbox,
  ready: { status: string; reason: string; message: string } | undefined,
): void {
  const before = object.status?.conditions?.find((c) => c.type === 'Ready');
  if (ready === undefined || ready.status === 'True' || ready.reason === 'WaitingForReplicas') return;
  if (before?.reason === ready.reason && before.message === ready.message) return;
  deps.events.emit(object, { type: 'Warning', reason: ready.reason, message: ready.message });
}

function wasReady(object: Mailbox): boolean {
  return (
    object.status?.observedGeneration === object.metadata.generation &&
    object.status?.conditions?.find((c) => c.type === 'Provisioned')?.status === 'True'
  );
}

function retryMs(outcome: MailboxOutcome | undefined): number {
  // A conflict or a wrong adopt ends with an event; the look every minute is only a safety net.
  return outcome?.reason === 'AddressConflict' || outcome?.reason === 'NotAdoptable' ? 60_000 : RETRY_MS;
}

function passwordState(plan: PasswordPlan): MailboxObservation['password'] {
  if (plan.kind === 'problem') return plan.problem;
  return plan.kind === 'none' ? 'none' : 'set';
}

async function tombstoneGone(
  deps: MailboxDependencies,
  keys: readonly string[],
  results: Map<string, Result>,
): Promise<void> {
  const gone = keys.flatMap((key) => (deps.gone.get(key) ?? []).map((entry) => ({ key, entry })));
  for (const [systemKey, group] of groupBy(gone, ({ entry }) => entry.system)) {
    const system = systemKey === undefined ? undefined : deps.systems.get(systemKey);
    if (systemKey === undefined) {
      for (const { key, entry } of group) forget(deps, key, entry);
      continue;
    }
    if (system === undefined) {
      for (const { key } of group) results.set(key, { requeueAfterMs: 5_000 });
      continue;
    }
    await system.directory.tombstoneMailboxes(
      group.map(({ entry }) => ({ uuid: entry.uuid, objectUid: entry.objectUid })),
    );
    for (const { key, entry } of group) forget(deps, key, entry);
  }
}

function forget(deps: MailboxDependencies, key: string, entry: GoneMailbox): void {
  const rest = (deps.gone.get(key) ?? []).filter((other) => other !== entry);
  if (rest.length === 0) deps.gone.delete(key);
  else deps.gone.set(key, rest);
  deps.known.delete(entry.uuid);
  for (const address of entry.addresses) enqueueClaimants(deps, address);
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

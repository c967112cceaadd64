import type { ForwardRule } from '../../crds/forwardrule.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import type { ForwardOutcome } from '../directory/rows.js';
import { groupBy, removeFromAll, waitForReplicas } from '../projecting.js';
import { isPaused, type Result } from '../runtime/controller.js';
import type { AttachedSystem } from '../systems.js';
import { enqueueHeld, enqueueInterested, type ForwardRuleDependencies, type GoneForward } from './dependencies.js';
import { desiredForward } from './desired.js';
import { learnForwards } from './inventory.js';
import { addressesOf } from './landscape.js';
import { type Plan, report } from './report.js';
import { rowOf } from './row.js';

/** While a new MailSystem starts, its rules say nothing for so long. */
const QUIET_MS = 15_000;

/** Brings many ForwardRules to their directories: one statement per MailSystem, then a status write for each that changed. */
export async function reconcileForwardRules(
  deps: ForwardRuleDependencies,
  keys: readonly string[],
): Promise<Map<string, Result>> {
  const results = new Map<string, Result>();
  await removeGone(deps, keys, results);
  const plans = keys.flatMap((key): Plan[] => {
    const object = deps.rules.cache.get(key);
    if (object === undefined || isPaused(object) || results.has(key)) return [];
    return [{ key, object, ...desiredForward(object, deps.context) }];
  });
  noteHeld(deps, keys, plans);
  const groups = groupBy(plans, ({ system }) => system);
  await Promise.all([...groups].map(([system, group]) => reconcileGroup(deps, system, group, results)));
  return results;
}

async function reconcileGroup(
  deps: ForwardRuleDependencies,
  systemKey: string | undefined,
  plans: readonly Plan[],
  results: Map<string, Result>,
): Promise<void> {
  if (systemKey === undefined) return report(deps, plans, results, {});
  const system = deps.systems.get(systemKey);
  if (system === undefined) return awaitSystem(deps, systemKey, plans, results);
  try {
    await learnForwards(deps, system);
    await report(deps, plans, results, await project(deps, system, plans));
  } catch (error) {
    if (error instanceof DirectoryUnavailable) {
      const settled = plans.filter(({ object }) => isSettled(deps, object));
      await report(deps, settled, results, { unavailable: error.message });
    }
    for (const { key } of plans) results.set(key, { error });
  }
}

/** A system that is not attached yet: its attaching makes all its rules be looked at again. */
async function awaitSystem(
  deps: ForwardRuleDependencies,
  systemKey: string,
  plans: readonly Plan[],
  results: Map<string, Result>,
): Promise<void> {
  for (const { key } of plans) results.set(key, { requeueAfterMs: QUIET_MS });
  // A restarted operator attaches its systems first: thousands of statuses would be written twice for nothing.
  if (deps.now().getTime() - deps.startedAt.getTime() < QUIET_MS) return;
  const unavailable = `The directory of MailSystem ${systemKey} is not ready yet; its conditions tell why.`;
  const settled = plans.filter(({ object }) => isSettled(deps, object));
  await report(deps, settled, results, { unavailable });
}

/** Until a rule has once been looked at, or is a while old, a system that starts is no news. */
function isSettled(deps: ForwardRuleDependencies, { metadata, status }: ForwardRule): boolean {
  const age = deps.now().getTime() - Date.parse(metadata.creationTimestamp ?? '');
  return status?.observedGeneration !== undefined ? status.observedGeneration !== metadata.generation : age > QUIET_MS;
}

async function project(
  deps: ForwardRuleDependencies,
  { key: system, directory }: AttachedSystem,
  plans: readonly Plan[],
): Promise<{ outcomes: Map<string, ForwardOutcome>; lagging: readonly string[] }> {
  const without = plans.filter(({ forward }) => forward === 'none');
  if (without.length > 0) await directory.tombstoneForwards(without.map(({ object }) => ({ uid: uidOf(object) })));
  for (const { key, object } of without) unlearn(deps, key, uidOf(object));
  const rows = plans.flatMap(({ object, forward }) => rowOf(object, forward));
  const outcomes = new Map<string, ForwardOutcome>();
  if (rows.length === 0) return { outcomes, lagging: [] };
  const { value, lsn } = await directory.projectForwards(rows);
  const byUid = new Map(value.map((outcome) => [outcome.uid, outcome]));
  for (const plan of plans) {
    const outcome = byUid.get(uidOf(plan.object));
    if (outcome === undefined) continue;
    outcomes.set(plan.key, outcome);
    learn(deps, system, plan, outcome);
  }
  return { outcomes, lagging: await waitForReplicas(directory, lsn) };
}

function uidOf(object: ForwardRule): string {
  return object.metadata.uid ?? '';
}

/** Remembers what the directory has now, and lets those look again whose claim this write may have touched. */
function learn(
  deps: ForwardRuleDependencies,
  system: string,
  { key, object, forward }: Plan,
  outcome: ForwardOutcome,
): void {
  const { live } = deps.context;
  if (outcome.result === 'refused' || forward === undefined || forward === 'none') {
    unlearn(deps, key, uidOf(object));
    return;
  }
  live.set(system, uidOf(object), forward);
  if (outcome.result !== 'written') return;
  tellRivals(deps, object);
  enqueueHeld(deps, key);
}

function unlearn({ context, held, queue }: ForwardRuleDependencies, key: string, uid: string): void {
  if (context.live.get(uid) === undefined) return;
  context.live.delete(uid);
  enqueueHeld({ held, queue }, key);
}

/** Rules in circles look again at every change of an address or of the directory: what is live of them is in no index. */
function noteHeld(deps: ForwardRuleDependencies, keys: readonly string[], plans: readonly Plan[]): void {
  for (const key of keys) deps.held.delete(key);
  for (const { key, problems } of plans) if (problems.some(({ reason }) => HELD.has(reason))) deps.held.add(key);
}

const HELD = new Set<string>(['LoopDetected', 'ChainTooLong']);

/** This write may have taken the address from somebody: let those look again. */
function tellRivals(deps: ForwardRuleDependencies, object: ForwardRule): void {
  for (const address of addressesOf(object)) {
    const rivals = deps.rules.cache.keysByIndex('address', address);
    if (rivals.size > 1) for (const key of rivals) deps.queue.add(key);
    deps.onAddress(address);
  }
}

/**
 * Objects that are gone: their addresses become free. Which directory they were in may be hard to say by now, so all are told;
 * one that is attached later finds out by comparison.
 */
async function removeGone(
  deps: ForwardRuleDependencies,
  keys: readonly string[],
  results: Map<string, Result>,
): Promise<void> {
  const gone = keys.flatMap((key) => (deps.gone.get(key) ?? []).map((entry) => ({ key, entry })));
  if (gone.length === 0) return;
  const uids = gone.map(({ entry }) => ({ uid: entry.uid }));
  try {
    await removeFromAll(deps.systems.all(), deps.isLeaving, (directory) => directory.tombstoneForwards(uids));
    for (const { key, entry } of gone) forget(deps, key, entry);
  } catch (error) {
    for (const { key } of gone) results.set(key, { error });
  }
}

function forget(deps: ForwardRuleDependencies, key: string, entry: GoneForward): void {
  const rest = (deps.gone.get(key) ?? []).filter((other) => other !== entry);
  if (rest.length === 0) deps.gone.delete(key);
  else deps.gone.set(key, rest);
  unlearn(deps, key, entry.uid);
  for (const address of entry.addresses) {
    enqueueInterested(deps, address);
    deps.onAddress(address);
  }
}

import { setImmediate } from 'node:timers/promises';
import type { ForwardRule } from '../../crds/forwardrule.js';
import { forwardHash } from '../directory/inventory.js';
import type { ForwardInventory } from '../directory/rows.js';
import { keyOf } from '../runtime/object.js';
import type { AttachedSystem } from '../systems.js';
import type { ForwardRuleDependencies } from './dependencies.js';
import { desiredForward } from './desired.js';
import { rowOf } from './row.js';

/** Objects that are compared before others get their turn. */
const YIELD_EVERY = 500;

/**
 * Compares a directory with the objects that exist: removes forwards whose object was deleted while nobody watched, and lets
 * those rules look again that the directory doesn't have as declared (after a restore).
 *
 * @returns whether anything was removed
 */
export async function compareForwards(deps: ForwardRuleDependencies, system: AttachedSystem): Promise<boolean> {
  const present = new Map<string, ForwardInventory>();
  for await (const page of system.directory.listForwards()) {
    for (const row of page) {
      present.set(row.object.uid, row);
      deps.context.live.set(system.key, row.object.uid, row.forward);
    }
  }
  const orphans = [...present.values()].filter(
    ({ object }) => deps.watches(object.namespace) && deps.rules.cache.keysByIndex('uid', object.uid).size === 0,
  );
  if (orphans.length > 0) {
    deps.log.info({ system: system.key, forwards: orphans.length }, 'removing forwards whose objects are gone');
    await system.directory.tombstoneForwards(orphans.map(({ object }) => ({ uid: object.uid })));
    for (const { object } of orphans) deps.context.live.delete(object.uid);
  }
  await enqueueDiffering(deps, system, present);
  return orphans.length > 0;
}

/** The first comparison with a directory; until it has succeeded, nobody writes there. */
export function learnForwards(deps: ForwardRuleDependencies, system: AttachedSystem): Promise<void> {
  const { directory } = system;
  const under = deps.learned.get(directory);
  if (under !== undefined) return under;
  const learning = compareForwards(deps, system).then(() => undefined);
  deps.learned.set(directory, learning);
  learning.catch(() => deps.learned.delete(directory));
  return learning;
}

async function enqueueDiffering(
  deps: ForwardRuleDependencies,
  system: AttachedSystem,
  present: ReadonlyMap<string, ForwardInventory>,
): Promise<void> {
  let count = 0;
  for (const object of [...deps.rules.cache.values()]) {
    count += 1;
    if (count % YIELD_EVERY === 0) await setImmediate();
    if (differs(deps, system, object, present)) deps.queue.add(keyOf(object), { background: true });
  }
}

function differs(
  deps: ForwardRuleDependencies,
  system: AttachedSystem,
  object: ForwardRule,
  present: ReadonlyMap<string, ForwardInventory>,
): boolean {
  const desired = desiredForward(object, deps.context);
  if (desired.system !== system.key) return false;
  const hash = present.get(object.metadata.uid ?? '')?.contentHash;
  if (desired.forward === 'none') return hash !== undefined;
  return rowOf(object, desired.forward).some((row) => forwardHash(row) !== hash);
}

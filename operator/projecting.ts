/** What the controllers share whose objects become rows of directories: batches by system, replicas, removals. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Directory } from './directory/directory.js';
import { DirectoryUnavailable } from './directory/errors.js';
import type { Lsn } from './directory/rows.js';
import type { AttachedSystem } from './systems.js';

/** Items by key, in the order that the keys come first. (`Map.groupBy` is younger than Node.js 20.) */
export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

/** How long a batch waits for the directory's replicas before it says that it waits. */
const REPLAY_WAIT_MS = 1_000;
const REPLAY_POLL_MS = 20;

/** Waits a moment for all members to show a write. Answers the names of those that don't yet. */
export async function waitForReplicas(directory: Directory, lsn: Lsn): Promise<readonly string[]> {
  const deadline = performance.now() + REPLAY_WAIT_MS;
  for (;;) {
    const { ok, lagging } = await directory.replayedEverywhere(lsn);
    if (ok || performance.now() > deadline) return lagging;
    await sleep(REPLAY_POLL_MS);
  }
}

/** Removes something from the directories of all these systems. One that goes with its MailSystem is not waited for. */
export async function removeFromAll(
  systems: Iterable<AttachedSystem>,
  isLeaving: (systemKey: string) => boolean,
  remove: (directory: Directory) => Promise<unknown>,
): Promise<void> {
  const removeFrom = async ({ key, directory }: AttachedSystem): Promise<void> => {
    try {
      await remove(directory);
    } catch (error) {
      if (!(error instanceof DirectoryUnavailable && isLeaving(key))) throw error;
    }
  };
  await Promise.all([...systems].map(removeFrom));
}

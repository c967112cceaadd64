/** All mailboxes against one peer: compared, repaired, and compared again; a blank peer is filled by it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../operator/runtime/log.js';
import { type Comparison, type CopyContext, compareMailbox, type Peer } from './copy.js';
import type { Locks } from './locks.js';

export interface SweepOptions {
  readonly context: CopyContext;
  readonly peer: Peer;
  readonly locks: Locks;
  readonly log: Log;
  /** Comparisons at once. */
  readonly workers: number;
  /** All mailboxes of the shard. */
  readonly list: () => Promise<readonly string[]>;
  readonly livesHere: (uuid: string) => Promise<boolean>;
  readonly onProgress: (remaining: number, total: number) => void;
  readonly onCompared: (comparison: Comparison['result']) => void;
  /** Between rounds over what has failed. Default 1 s. */
  readonly pauseMs?: number;
}

export interface SweepResult {
  readonly total: number;
  readonly repaired: number;
  readonly divergent: readonly string[];
  /** What could not be compared. */
  readonly failed: readonly string[];
}

const ROUNDS = 3;

/**
 * @throws PeerAway when the peer can't be reached, NotPrimary when this isn't the primary any more, DirectoryUnavailable when
 * the list can't be had: nothing is known then about those that are left.
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  const { context } = options;
  const all = await options.list();
  const divergent: string[] = [];
  let repaired = 0;
  let left = [...all];
  for (let round = 0; round < ROUNDS && left.length > 0; round++) {
    if (round > 0) await sleep(options.pauseMs ?? 1_000, undefined, { signal: context.signal });
    const failed: string[] = [];
    let remaining = left.length;
    options.onProgress(remaining, all.length);
    await inParallel(left, options.workers, async (uuid) => {
      const comparison = await attempt(options, uuid);
      if (comparison === undefined) failed.push(uuid);
      else if (comparison.result === 'divergent') divergent.push(uuid);
      else if (comparison.result === 'repaired') repaired++;
      options.onProgress(--remaining + failed.length, all.length);
    });
    left = failed;
  }
  options.onProgress(left.length, all.length);
  return { total: all.length, repaired, divergent, failed: left };
}

/** Undefined: it failed, and is to be tried again. */
async function attempt(options: SweepOptions, uuid: string): Promise<Comparison | Gone | undefined> {
  const { context, peer, locks, log } = options;
  const release = await locks.acquire(uuid, context.signal);
  try {
    const comparison = await compareMailbox(context, uuid, peer);
    options.onCompared(comparison.result);
    if (comparison.result === 'divergent') {
      log.error({ uuid, member: peer.member, differences: comparison.differences }, 'copies differ');
    }
    return comparison;
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'VerbFailed') throw error;
    // It was removed, or has moved away, since the list was made.
    if (!(await options.livesHere(uuid))) return { result: 'gone' };
    log.warn({ uuid, member: peer.member, err: error }, 'cannot compare a mailbox; it is tried again');
    return undefined;
  } finally {
    release();
  }
}

interface Gone {
  readonly result: 'gone';
}

/** The first error ends all. */
async function inParallel<T>(items: readonly T[], workers: number, work: (item: T) => Promise<void>): Promise<void> {
  let at = 0;
  let stopped = false;
  const worker = async (): Promise<void> => {
    while (at < items.length && !stopped) {
      try {
        await work(items[at++] as T);
      } catch (error) {
        stopped = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: workers }, worker));
  const failure = results.find((result) => result.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

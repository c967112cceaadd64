/** What is known of each peer's volume, and its comparisons, which go on as long as it is there. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../operator/runtime/log.js';
import type { Peer as KnownPeer, MemberState } from './agent.js';
import { type CopyContext, resetCopy } from './copy.js';
import type { Locks } from './locks.js';
import type { Memory } from './memory.js';
import type { ReplicatorMetrics } from './metrics.js';
import type { Names } from './names.js';
import type { Held } from './report.js';
import { type SweepResult, sweep } from './sweep.js';
import { outcomeOf } from './syncs.js';
import type { Verbs } from './verbs.js';

export interface PeerWork {
  peer: KnownPeer;
  /** All mailboxes were compared in this epoch, or nothing can be missing. */
  compared: boolean;
  /** Whether it counts as in sync. */
  held: Held;
  remaining: number;
  total: number;
  /** Ms since 1970; 0: never. */
  lastCompare: number;
  divergent: number;
  /** Mailboxes that could not be made equal, and by how many comparisons in a row; they are tried again by themselves. */
  readonly stubborn: Map<string, number>;
  /** When the last comparison of all began, ms since 1970. */
  allAt: number;
  readonly abort: AbortController;
}

export interface ComparisonsOptions {
  readonly verbs: Verbs;
  readonly memory: Memory;
  readonly names: Names;
  readonly locks: Locks;
  readonly metrics: ReplicatorMetrics;
  readonly log: Log;
  readonly compare: CompareTiming;
  readonly state: () => MemberState;
  readonly contextFor: (work: PeerWork) => CopyContext;
}

export interface CompareTiming {
  /** Mailboxes at once: with a peer that has everything, with one that is being filled. */
  readonly workers: number;
  readonly fillWorkers: number;
  readonly everyMs: number;
  /** After a comparison that could not be ended: first and longest pause. Default 2 s and 60 s. */
  readonly retryMs?: readonly [number, number];
}

export function newPeerWork(peer: KnownPeer, { promotion }: MemberState): PeerWork {
  return {
    peer,
    compared: promotion === 'planned' && peer.seeded,
    held: { value: peer.inSync, since: undefined },
    remaining: 0,
    total: 0,
    lastCompare: 0,
    divergent: 0,
    stubborn: new Map(),
    allAt: 0,
    abort: new AbortController(),
  };
}

/** Compares all mailboxes with the peer, again and again; until its volume is another's, or the epoch is over. */
export async function compareForever(options: ComparisonsOptions, work: PeerWork): Promise<void> {
  const { signal } = options.contextFor(work);
  // New, or rolled back to an earlier time.
  if (!work.peer.seeded) await options.memory.forget(work.peer.volume);
  const known = await options.memory.comparedIn(work.peer.volume);
  work.compared ||= known === options.state().epoch && work.peer.seeded;
  let failures = 0;
  while (!signal.aborted) {
    let pause = OPENING_MS;
    if (options.state().role === 'primary') {
      failures = (await compareAll(options, work)) ? 0 : failures + 1;
      pause = pauseAfter(options.compare, failures);
    }
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
}

const OPENING_MS = 300;

function pauseAfter({ everyMs, retryMs = [2_000, 60_000] }: CompareTiming, failures: number): number {
  const [least, most] = retryMs;
  return failures === 0 ? everyMs : Math.min(most, least * 2 ** Math.min(failures - 1, 10));
}

/** True when all mailboxes are equal now. */
async function compareAll(options: ComparisonsOptions, work: PeerWork): Promise<boolean> {
  const { log } = options;
  const { member } = work.peer;
  try {
    return await settle(options, work, await sweepOnce(options, work));
  } catch (error) {
    if (options.contextFor(work).signal.aborted) return false;
    const level = outcomeOf(error) === 'unreachable' ? 'info' : 'warn';
    log[level]({ err: error, member }, 'the comparison stopped; it is begun again');
    return false;
  }
}

async function sweepOnce(options: ComparisonsOptions, work: PeerWork): Promise<SweepResult> {
  const { names, locks, log, metrics, compare } = options;
  const { peer } = work;
  const context = options.contextFor(work);
  // Before the list of all mailboxes is made: the peer may be away for days.
  await options.verbs.probe(peer.member, context.signal);
  return sweep({
    context,
    peer,
    locks,
    log,
    workers: peer.seeded ? compare.workers : compare.fillWorkers,
    list: () => listFor(options, work),
    livesHere: names.livesHere,
    onProgress: (remaining, total) => {
      work.remaining = remaining;
      work.total = total;
    },
    onCompared: (how) => metrics.compared(peer.member, how),
    pauseMs: compare.retryMs?.[0] ?? 1_000,
  });
}

/** All, or after one of all only what that has left over, until it is time for all again. */
async function listFor({ names, compare }: ComparisonsOptions, work: PeerWork): Promise<readonly string[]> {
  if (work.stubborn.size > 0 && Date.now() - work.allAt < compare.everyMs) {
    return [...work.stubborn.keys()];
  }
  const all = await names.all();
  work.allAt = Date.now();
  return all;
}

async function settle(options: ComparisonsOptions, work: PeerWork, result: SweepResult): Promise<boolean> {
  const { member, volume, seeded } = work.peer;
  const { divergent, failed } = result;
  options.log.info({ member, ...result, divergent: divergent.length, failed: failed.length }, 'mailboxes compared');
  noteStubborn(work, [...divergent, ...failed]);
  for (const uuid of failed) await resetCopy(options.contextFor(work), uuid, work.peer);
  work.divergent = work.stubborn.size;
  // A few mailboxes that can't be copied must not keep all others from having a second copy that counts.
  if ([...work.stubborn.values()].some((times) => times < GIVEN_UP_AFTER)) return false;
  if (!work.compared || work.stubborn.size === 0) work.lastCompare = Date.now();
  if (!seeded) await options.verbs.seeded(member, volume, true);
  await options.memory.setCompared(volume, options.state().epoch);
  await forgetVolumes(options);
  work.compared = true;
  return work.stubborn.size === 0;
}

/** Comparisons in a row. */
const GIVEN_UP_AFTER = 3;

function noteStubborn(work: PeerWork, left: readonly string[]): void {
  const before = new Map(work.stubborn);
  work.stubborn.clear();
  for (const uuid of left) work.stubborn.set(uuid, (before.get(uuid) ?? 0) + 1);
}

async function forgetVolumes({ memory, state }: ComparisonsOptions): Promise<void> {
  const volumes = state().peers.map(({ volume }) => volume);
  if (!volumes.includes('')) await memory.forgetOthers(volumes);
}

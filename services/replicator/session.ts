/**
 * One epoch's work at the primary: notices in, syncs out, comparisons beside. It ends when its signal aborts; everything that
 * the next one, or another member, must know is on the volume or in the directory by then.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../operator/runtime/log.js';
import type { Peer as KnownPeer, MemberState } from './agent.js';
import { type CopyContext, syncMailbox } from './copy.js';
import type { DirtyLog } from './dirty-log.js';
import type { Locks } from './locks.js';
import type { Memory } from './memory.js';
import type { ReplicatorMetrics } from './metrics.js';
import type { Names } from './names.js';
import { type Pending, readPending, writePending } from './pending.js';
import { type Held, hold, isInSync, type MemberReport, type PeerFacts, reportOf } from './report.js';
import {
  changed,
  finished,
  hurry,
  isAway,
  lagOf,
  newSchedule,
  next,
  type Outcome,
  type Schedule,
  setPeers,
  type Task,
  type Timing,
  unsynced,
  wakeAt,
} from './schedule.js';
import { sweep } from './sweep.js';
import type { Verbs } from './verbs.js';

export interface SessionOptions {
  readonly verbs: Verbs;
  readonly memory: Memory;
  readonly names: Names;
  readonly dirty: DirtyLog;
  readonly locks: Locks;
  readonly metrics: ReplicatorMetrics;
  readonly log: Log;
  /** `/srv/mail`. */
  readonly volume: string;
  readonly timing: Timing;
  readonly compare: { readonly workers: number; readonly fillWorkers: number; readonly everyMs: number };
  /** Monotonic, ms. */
  readonly clock: () => number;
  /** Between looks at the log when no event comes. Default 1 s. */
  readonly lookMs?: number;
}

export interface Session {
  /** The agent says something new of the same epoch. */
  update(state: MemberState): void;
  /** Peers as they are now. */
  facts(): PeerFacts[];
  /** Syncs all that a member lacks at once; false when `withinMs` are over first. */
  flush(member: number, withinMs: number): Promise<{ ok: boolean; users: number }>;
  /** Resolves when nothing of it runs any more. */
  readonly ended: Promise<void>;
}

/** What is kept about a peer's volume. */
interface PeerWork {
  peer: KnownPeer;
  compared: boolean;
  held: Held;
  remaining: number;
  total: number;
  lastCompare: number;
  divergent: number;
  readonly abort: AbortController;
}

const REPORT_MS = 5_000;
const PERSIST_MS = 1_000;
const RETRY_SWEEP_MS = 30_000;
/** A mailbox that the directory doesn't know, this many times in a row, is no more. */
const UNKNOWN_TRIES = 6;

export function startSession(options: SessionOptions, first: MemberState, stop: AbortSignal): Session {
  const { clock, log, dirty, names } = options;
  const schedule = newSchedule(options.timing);
  const peers = new Map<string, PeerWork>();
  const unknown = new Map<string, number>();
  const running = new Set<Promise<void>>();
  const pendingPath = join(options.volume, 'dirty', 'pending');
  let state = first;
  let timer: NodeJS.Timeout | undefined;
  let looking = false;
  let lookAgain = false;
  let persistedAt = Number.NEGATIVE_INFINITY;
  let persisted = '';
  let removable: string[] = [];
  let reportedAt = Number.NEGATIVE_INFINITY;
  let reported = '';

  const track = (work: Promise<void>): void => {
    const done = work.catch((error: unknown) => {
      if (!stop.aborted) log.error({ err: error }, 'replicator');
    });
    running.add(done);
    void done.finally(() => running.delete(done));
  };
  const contextFor = (work: PeerWork): CopyContext => ({
    verbs: options.verbs,
    memory: options.memory,
    epoch: state.epoch,
    mailboxes: join(options.volume, 'mailboxes'),
    signal: AbortSignal.any([stop, work.abort.signal]),
  });

  // --- syncs

  const pump = (): void => {
    clearTimeout(timer);
    if (stop.aborted) return;
    for (let task = next(schedule, clock(), options.locks.isLocked); task !== undefined; ) {
      track(perform(task));
      task = next(schedule, clock(), options.locks.isLocked);
    }
    const at = wakeAt(schedule, clock());
    // What is due but locked has no time of its own.
    if (at !== undefined) timer = setTimeout(pump, Math.max(20, at - clock()));
  };

  const perform = async (task: Task): Promise<void> => {
    const release = options.locks.tryAcquire(task.uuid);
    const started = clock();
    const work = peers.get(task.volume);
    let outcome: Outcome = 'failed';
    try {
      if (release !== undefined && work !== undefined) outcome = await syncOne(task, work);
    } catch (error) {
      outcome = outcomeOf(error);
      if (!stop.aborted) {
        log.warn({ err: error, uuid: task.uuid, member: work?.peer.member, outcome }, 'a mailbox was not synced');
      }
    } finally {
      release?.();
      finished(schedule, task, clock(), outcome, clock() - started);
      if (work !== undefined) options.metrics.synced(work.peer.member, outcome, (clock() - started) / 1000);
      pump();
    }
  };

  const syncOne = async (task: Task, work: PeerWork): Promise<Outcome> => {
    const user = await names.userOf(task.uuid);
    if (user === undefined) {
      const tries = (unknown.get(task.uuid) ?? 0) + 1;
      unknown.set(task.uuid, tries);
      if (tries < UNKNOWN_TRIES) return 'failed';
      unknown.delete(task.uuid);
      log.info({ uuid: task.uuid }, 'a mailbox that has changed is not in the directory: it was removed');
      return 'gone';
    }
    unknown.delete(task.uuid);
    try {
      await syncMailbox(contextFor(work), { uuid: task.uuid, user }, work.peer);
    } catch (error) {
      names.forget(task.uuid);
      throw error;
    }
    return 'synced';
  };

  // --- notices

  const look = async (): Promise<void> => {
    if (looking) {
      lookAgain = true;
      return;
    }
    looking = true;
    try {
      const { notices, sieve, done } = await dirty.read();
      const now = clock();
      for (const { uuid, user } of notices) {
        if (user !== undefined) names.learn(uuid, user);
        changed(schedule, uuid, now);
      }
      for (const user of sieve) await sieveChanged(user);
      removable = [...new Set([...removable, ...done])];
      keep();
      if (schedule.busy.size === 0 && unsynced(schedule).size === 0) dirty.settle();
    } finally {
      looking = false;
      pump();
      if (lookAgain) {
        lookAgain = false;
        track(look());
      }
    }
  };

  const sieveChanged = async (user: string): Promise<void> => {
    try {
      const uuid = await names.uuidOf(user);
      if (uuid !== undefined) changed(schedule, uuid, clock());
    } catch (error) {
      log.warn({ err: error }, 'whose Sieve script has changed is not known; it is copied with the next change');
    }
  };

  /** The unsynced set to disk, when it differs and not too often; then what the log's old files say is safe. */
  const keep = (): void => {
    const now = clock();
    if (removable.length === 0 && now - persistedAt < PERSIST_MS) return;
    const entries = pendingOf(schedule, names);
    const text = entries.map(({ uuid, volumes }) => `${uuid} ${volumes.join(' ')}`).join('\n');
    if (text !== persisted || persistedAt === Number.NEGATIVE_INFINITY) writePending(pendingPath, entries);
    persisted = text;
    persistedAt = now;
    dirty.remove(removable);
    removable = [];
  };

  // --- peers

  const update = (now: MemberState): void => {
    state = now;
    const present = now.peers.filter(({ volume }) => volume !== '');
    for (const [volume, work] of peers) {
      if (present.some((peer) => peer.volume === volume)) continue;
      work.abort.abort(new Error('the member has another volume'));
      peers.delete(volume);
    }
    setPeers(
      schedule,
      present.map(({ volume }) => volume),
    );
    for (const peer of present) {
      const work = peers.get(peer.volume);
      if (work !== undefined) work.peer = peer;
      else meet(peer);
    }
  };

  const meet = (peer: KnownPeer): void => {
    const work: PeerWork = {
      peer,
      compared: state.promotion === 'planned' && peer.seeded,
      held: { value: peer.inSync, since: undefined },
      remaining: 0,
      total: 0,
      lastCompare: 0,
      divergent: 0,
      abort: new AbortController(),
    };
    peers.set(peer.volume, work);
    track(sweeps(work));
  };

  /** Compares, again and again. */
  const sweeps = async (work: PeerWork): Promise<void> => {
    const signal = AbortSignal.any([stop, work.abort.signal]);
    const compared = (await options.memory.comparedIn(work.peer.volume)) === state.epoch;
    work.compared ||= compared && work.peer.seeded;
    while (!signal.aborted) {
      const pause = state.role === 'primary' ? await oneSweep(work) : 500;
      await sleep(pause, undefined, { signal, ref: false }).catch(() => undefined);
    }
  };

  /** Milliseconds until the next. */
  const oneSweep = async (work: PeerWork): Promise<number> => {
    const { peer } = work;
    const { member, volume } = peer;
    try {
      await options.verbs.probe(member, contextFor(work).signal);
      const result = await sweep({
        context: contextFor(work),
        peer,
        locks: options.locks,
        log,
        workers: peer.seeded ? options.compare.workers : options.compare.fillWorkers,
        list: names.all,
        userOf: async (uuid) => {
          names.forget(uuid);
          return names.userOf(uuid);
        },
        onProgress: (remaining, total) => {
          work.remaining = remaining;
          work.total = total;
        },
        onCompared: (how) => options.metrics.compared(member, how),
      });
      const { divergent, failed } = result;
      log.info({ member, ...result, divergent: divergent.length, failed: failed.length }, 'all mailboxes compared');
      work.divergent = divergent.length;
      if (divergent.length + failed.length > 0) return RETRY_SWEEP_MS;
      work.lastCompare = Date.now();
      if (!peer.seeded) await options.verbs.seeded(member, volume, true);
      await options.memory.setCompared(volume, state.epoch);
      work.compared = true;
      return options.compare.everyMs;
    } catch (error) {
      if (!stop.aborted && !work.abort.signal.aborted) {
        log.warn({ err: error, member }, 'the comparison stopped; it is begun again');
      }
      return outcomeOf(error) === 'unreachable' ? 5_000 : RETRY_SWEEP_MS;
    }
  };

  // --- saying how it goes

  const facts = (): PeerFacts[] =>
    [...peers.values()].map(({ peer, compared, remaining, total, lastCompare, divergent }) => {
      const lag = lagOf(schedule, peer.volume, clock());
      const reachable = !isAway(schedule, peer.volume);
      const { member, seeded } = peer;
      return {
        member,
        seeded,
        reachable,
        compared,
        lagUsers: lag.users,
        lagMs: lag.ms,
        remaining,
        total,
        lastCompare,
        divergent,
      };
    });

  const report = async (): Promise<void> => {
    const now = clock();
    const members: MemberReport[] = [];
    for (const known of facts()) {
      const work = [...peers.values()].find(({ peer }) => peer.member === known.member);
      if (work === undefined) continue;
      work.held = hold(work.held, isInSync(known), now);
      members.push(reportOf(known, work.held.value));
    }
    const text = JSON.stringify(members);
    if (state.role !== 'primary' || text === reported || now - reportedAt < REPORT_MS) return;
    reportedAt = now;
    await options.verbs.report(members);
    reported = text;
  };

  const ticks = async (): Promise<void> => {
    const close = dirty.onAppend(() => track(look()));
    try {
      while (!stop.aborted) {
        await look();
        await report().catch((error: unknown) => {
          if (!stop.aborted) log.warn({ err: error }, 'the directory was not told how far the peers are');
        });
        await sleep(options.lookMs ?? 1_000, undefined, { signal: stop }).catch(() => undefined);
      }
    } finally {
      close();
      clearTimeout(timer);
    }
  };

  update(first);
  restore(schedule, names, readPending(pendingPath), clock());
  const main = ticks();
  return {
    update,
    facts,
    flush: async (member, withinMs) => {
      const end = clock() + withinMs;
      await look();
      for (;;) {
        const work = [...peers.values()].find(({ peer }) => peer.member === member);
        if (work === undefined || stop.aborted) return { ok: false, users: 0 };
        const { users } = lagOf(schedule, work.peer.volume, clock());
        if (users === 0) return { ok: true, users };
        if (clock() >= end) return { ok: false, users };
        hurry(schedule, work.peer.volume);
        pump();
        await sleep(20);
      }
    },
    ended: main.then(async () => {
      while (running.size > 0) await Promise.all(running);
    }),
  };
}

function outcomeOf(error: unknown): Outcome {
  const name = error instanceof Error ? error.name : '';
  // What isn't about the mailbox (no answer from the agent, from the directory) is treated like a peer that is away.
  return name === 'VerbFailed' ? 'failed' : 'unreachable';
}

function pendingOf(schedule: Schedule, names: Names): Pending[] {
  return [...unsynced(schedule)].map(([uuid, volumes]) => ({ uuid, user: names.peek(uuid), volumes }));
}

/** What another process has left unsynced. A volume that isn't a peer's any more needs nothing. */
function restore(schedule: Schedule, names: Names, entries: readonly Pending[], now: number): void {
  for (const { uuid, user, volumes } of entries) {
    if (user !== undefined) names.learn(uuid, user);
    for (const volume of volumes) changed(schedule, uuid, now, volume);
  }
}

/**
 * One epoch's work at the primary: notices in, syncs out, comparisons beside. It ends when its signal aborts; everything that
 * the next one, or another member, must know is on the volume or in the directory by then.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Peer as KnownPeer, MemberState } from './agent.js';
import type { CopyContext } from './copy.js';
import type { DirtyLog } from './dirty-log.js';
import { createIntake } from './intake.js';
import { type ComparisonsOptions, compareForever, newPeerWork, type PeerWork } from './peers.js';
import { hold, isInSync, type PeerFacts, reportOf } from './report.js';
import { hurry, isAway, lagOf, newSchedule, type Schedule, setPeers, type Timing } from './schedule.js';
import { createSyncs } from './syncs.js';

export interface SessionOptions extends Omit<ComparisonsOptions, 'state' | 'contextFor'> {
  readonly dirty: DirtyLog;
  /** `/srv/mail`. */
  readonly volume: string;
  readonly timing: Timing;
  /** Monotonic, ms. */
  readonly clock: () => number;
  /** Between looks at the log when no event comes. Default 1 s. */
  readonly lookMs?: number;
}

export interface Flushed {
  readonly ok: boolean;
  /** Mailboxes that the member still lacks. */
  readonly users: number;
}

export interface Session {
  /** The agent says something new of the same epoch. */
  update(state: MemberState): void;
  /** Peers as they are now. */
  facts(): PeerFacts[];
  /** Syncs all that a member lacks at once; not ok when `withinMs` are over first. */
  flush(member: number, withinMs: number): Promise<Flushed>;
  /** Resolves when nothing of it runs any more. */
  readonly ended: Promise<void>;
}

const REPORT_MS = 5_000;

export function startSession(options: SessionOptions, first: MemberState, stop: AbortSignal): Session {
  const { clock, log, dirty, names, locks, metrics } = options;
  const schedule = newSchedule(options.timing);
  const peers = new Map<string, PeerWork>();
  const comparing = new Set<Promise<void>>();
  let state = first;

  const contextFor = (work: PeerWork): CopyContext => ({
    verbs: options.verbs,
    memory: options.memory,
    epoch: state.epoch,
    mailboxes: join(options.volume, 'mailboxes'),
    signal: AbortSignal.any([stop, work.abort.signal]),
  });
  const comparisons: ComparisonsOptions = { ...options, state: () => state, contextFor };
  const intake = createIntake({
    dirty,
    names,
    schedule,
    log,
    clock,
    pending: join(options.volume, 'dirty', 'pending'),
  });
  const syncs = createSyncs({
    schedule,
    locks,
    names,
    metrics,
    log,
    clock,
    stop,
    peerOf: (volume) => {
      const work = peers.get(volume);
      return work === undefined ? undefined : { peer: work.peer, context: contextFor(work) };
    },
  });

  const look = async (): Promise<void> => {
    try {
      await intake.look();
    } catch (error) {
      log.error({ err: error }, 'the notices of changes cannot be read or kept; they stay where they are');
    }
    syncs.pump();
  };
  const leaveOthers = (present: ReadonlyMap<string, KnownPeer>): void => {
    for (const [volume, work] of peers) {
      if (goesOn(work, present.get(volume))) continue;
      work.abort.abort(new Error('the member has another volume'));
      peers.delete(volume);
    }
  };
  const meet = (peer: KnownPeer): void => {
    const work = newPeerWork(peer, state);
    peers.set(peer.volume, work);
    const done = compareForever(comparisons, work).finally(() => comparing.delete(done));
    comparing.add(done);
  };
  const update = (now: MemberState): void => {
    state = now;
    const present = new Map(now.peers.filter(({ volume }) => volume !== '').map((peer) => [peer.volume, peer]));
    leaveOthers(present);
    setPeers(schedule, [...present.keys()]);
    for (const peer of present.values()) {
      const known = peers.get(peer.volume);
      if (known === undefined) meet(peer);
      else known.peer = peer;
    }
  };
  const facts = (): PeerFacts[] => [...peers.values()].map((work) => factsOf(schedule, work, clock()));
  const report = createReports(options, () => state, peers, schedule);

  const main = async (): Promise<void> => {
    const close = dirty.onAppend(() => void look());
    while (!stop.aborted) {
      await look();
      await report();
      await sleep(options.lookMs ?? 1_000, undefined, { signal: stop }).catch(() => undefined);
    }
    close();
    await syncs.end();
    while (comparing.size > 0) await Promise.all(comparing);
  };

  update(first);
  intake.restore();
  return {
    update,
    facts,
    ended: main(),
    flush: async (member, withinMs) => {
      const end = clock() + withinMs;
      await look();
      for (;;) {
        const work = [...peers.values()].find(({ peer }) => peer.member === member);
        if (work === undefined || stop.aborted) return { ok: false, users: 0 };
        const { users } = lagOf(schedule, work.peer.volume, clock());
        if (users === 0 || clock() >= end) return { ok: users === 0, users };
        hurry(schedule, work.peer.volume);
        syncs.pump();
        await sleep(20);
      }
    },
  };
}

/** One that was seeded and no longer is has been rolled back: it is met like a new one. */
function goesOn(work: PeerWork, peer: KnownPeer | undefined): boolean {
  return peer !== undefined && (peer.seeded || !work.peer.seeded);
}

function factsOf(schedule: Schedule, work: PeerWork, now: number): PeerFacts {
  const { peer, compared, remaining, total, lastCompare, divergent } = work;
  const { users, ms, stuck } = lagOf(schedule, peer.volume, now);
  return {
    member: peer.member,
    seeded: peer.seeded,
    reachable: !isAway(schedule, peer.volume),
    compared,
    lagUsers: users,
    lagMs: ms,
    remaining,
    total,
    lastCompare,
    divergent,
    stuck,
  };
}

/** Tells the directory when it would read something else, not more than once in `REPORT_MS`. */
function createReports(
  { verbs, clock, log }: SessionOptions,
  state: () => MemberState,
  peers: ReadonlyMap<string, PeerWork>,
  schedule: Schedule,
): () => Promise<void> {
  let at = Number.NEGATIVE_INFINITY;
  let told = '';
  return async () => {
    const now = clock();
    const members = [...peers.values()].map((work) => {
      const facts = factsOf(schedule, work, now);
      work.held = hold(work.held, isInSync(facts), now);
      return reportOf(facts, work.held.value);
    });
    const text = JSON.stringify(members);
    if (state().role !== 'primary' || text === told || now - at < REPORT_MS) return;
    at = now;
    try {
      await verbs.report(members);
      told = text;
    } catch (error) {
      log.warn({ err: error }, 'the directory was not told how far the peers are; it is told again');
    }
  };
}

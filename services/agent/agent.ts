/**
 * The agent's engine: feeds the lease's state machine with time and answers, and does what it says with the directory, the
 * peers, the volume and Dovecot.
 */
import type { Log } from '../../operator/runtime/log.js';
import { monotonic } from './clock.js';
import type { LeaseDirectory, LeaseView } from './directory.js';
import { isFinished, newLease, promise, step, wanted } from './lease.js';
import { successor } from './lease-rules.js';
import type { Lease, LeaseCommand, LeaseEvent, LeaseTimes, Term } from './lease-state.js';
import type { AgentMetrics } from './metrics.js';
import type { AgentState, Mail, Peer, PromiseRequest } from './ports.js';
import { stateOf } from './state.js';
import type { Supervisor } from './supervise.js';
import type { Volume } from './volume.js';

export interface AgentOptions {
  readonly shard: string;
  readonly member: number;
  /** UUID of this process. */
  readonly process: string;
  /** Holders of this pod's former agents, whose Dovecot has been killed. */
  readonly dead: readonly string[];
  readonly times: LeaseTimes;
  readonly lmtpPort: number;
  readonly directory: LeaseDirectory;
  readonly volume: Volume;
  readonly metrics: AgentMetrics;
  readonly log: Log;
  /** Called with the state after each change, before anybody else hears of it. */
  readonly onState: (state: AgentState) => void;
  /** A holder of this pod, before it takes the lease: the next agent of the pod can know that it is dead. */
  readonly remember: (holder: string) => void;
  /** The last syncs of a planned handover; whether all of them went well. */
  readonly flush: (to: Peer, signal: AbortSignal) => Promise<boolean>;
}

export interface Agent {
  /** Begins; what the agent needs and what needs the agent. */
  start(parts: { readonly mail: Mail; readonly supervisor: Supervisor }): void;
  state(): AgentState;
  lease(): Lease;
  promise(request: PromiseRequest): boolean;
  released(): void;
  sawEpoch(epoch: number): void;
  settled(epoch: number): void;
  /** Aborts when Dovecot's mode or epoch changes. */
  modeSignal(): AbortSignal;
  /** Something about Dovecot has changed. */
  changed(): void;
  unfit(reason: string): void;
  /** Whether a planned switch can be made: what the last failover left is dealt with. */
  isSettled(): boolean;
  /** Hands over; the member that will be primary, or why not. */
  handover(to: number | undefined): { readonly to: number } | { readonly refused: string };
  /** To be called before the directory is told that a member is seeded. Resolves when the volume says so too. */
  seeding(member: number, volume: string): Promise<void>;
  /** What the directory wants to see from a primary; undefined when this isn't one. */
  holding(): Term | undefined;
  /** Before a Dovecot that takes mail is started. */
  prepare(epoch: number): Promise<void>;
  /** Lets go in order. Resolves when nothing is left to do. */
  stop(): Promise<void>;
}

const TICK_MS = 100;
const UNFIT_MS = 30_000;
const REPLAY_AGAIN_MS = 1_000;
const LOG_EVERY_MS = 10_000;

/** Nothing happens before `start`. */
export function createAgent(options: AgentOptions): Agent {
  const { times, directory, volume, log, metrics } = options;
  const { uuid, epoch: seen, sole } = volume.record();
  const started = { me: options.member, volume: uuid, process: options.process, dead: options.dead, epoch: seen, sole };
  let lease = newLease(started, monotonic());
  let view: LeaseView | undefined;
  let parts: { readonly mail: Mail; readonly supervisor: Supervisor } | undefined;
  let mode = new AbortController();
  let modeName = '';
  let openedAt = 0;
  let replaying: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let complainedAt = 0;
  let markFinished = (): void => undefined;
  const finished = new Promise<void>((resolve) => {
    markFinished = resolve;
  });
  /** Whether Dovecot has been told that there are others to whom changes have to be noted. */
  let replicated: boolean | undefined;

  const dispatch = (event: LeaseEvent): void => {
    const before = lease;
    const next = step(lease, monotonic(), event, times);
    lease = next.lease;
    open();
    tell(before);
    follow();
    for (const command of next.commands) perform(command);
    if (isFinished(lease)) markFinished();
  };

  /** What doesn't come after a failover has nothing to replay first. */
  const open = (): void => {
    const { term } = lease;
    if (term?.phase === 'opening' && promotionOf(term) !== 'failover') {
      lease = step(lease, monotonic(), { type: 'opened', epoch: term.epoch }, times).lease;
    }
  };

  const promotionOf = (term: Term): Term['promotion'] =>
    term.promotion === 'restart' && !volume.record().settled && !lease.sole ? 'failover' : term.promotion;

  /** Dovecot, and everybody who looks at the state. */
  const follow = (): void => {
    if (parts === undefined) return;
    const target = wanted(lease);
    const name = `${target.mode} ${target.epoch}`;
    if (name !== modeName) {
      modeName = name;
      mode.abort();
      mode = new AbortController();
    }
    const isReplicated = (view?.replicas ?? 1) > 1;
    if (replicated !== undefined && replicated !== isReplicated) parts.supervisor.restart();
    replicated = isReplicated;
    parts.supervisor.set(target, lease.term?.phase === 'closing');
    publish();
  };

  const publish = (): void => {
    const state = current();
    if (state.role !== 'primary') openedAt = 0;
    else if (openedAt === 0) openedAt = Date.now();
    options.onState({ ...state, openedAt });
  };

  const current = (): AgentState => {
    const dovecot = parts?.supervisor.current() ?? { mode: 'stopped' as const, epoch: 0, up: false };
    const promotion = lease.term === undefined ? 'none' : promotionOf(lease.term);
    const { shard, lmtpPort: lmtp } = options;
    return stateOf({ shard, lmtp, lease, view, dovecot, openedAt, promotion });
  };

  const tell = (before: Lease): void => {
    const { term } = lease;
    if (before.term?.holder !== term?.holder || before.term?.phase !== term?.phase) {
      log.info({ epoch: lease.known, phase: term?.phase ?? 'follower', promotion: term?.promotion }, 'lease');
      count(before.term, term);
    }
    if (lease.sole !== volume.record().sole) note({ sole: lease.sole });
    if (term === undefined && lease.known > volume.record().epoch) note({ epoch: lease.known });
  };

  const count = (before: Term | undefined, term: Term | undefined): void => {
    if (before === undefined && term?.leased) metrics.promoted(promotionOf(term));
    if (before === undefined || term !== undefined || before.phase === 'releasing') return;
    metrics.lost();
    log.warn({ epoch: before.epoch, phase: before.phase }, 'the lease is lost: Dovecot is killed');
  };

  const note = (change: Parameters<Volume['update']>[0]): void => {
    volume.update(change).catch((error: unknown) => complain(error, 'the volume can not be written'));
  };

  /** The directory away is said once in a while, not twice a second. */
  const complain = (error: unknown, message: string): void => {
    if (monotonic() - complainedAt < LOG_EVERY_MS) return;
    complainedAt = monotonic();
    log.warn({ err: error }, message);
  };

  const perform = (command: LeaseCommand): void => {
    void performers[command.type](command as never).catch((error: unknown) => log.error({ err: error }, command.type));
  };

  type Of<T extends LeaseCommand['type']> = Extract<LeaseCommand, { type: T }>;

  const performers: { [T in LeaseCommand['type']]: (command: Of<T>) => Promise<void> } = {
    read: async ({ sentAt }) => {
      const row = await attempt(directory.lease(), 'the lease can not be read');
      if (row !== undefined) view = row;
      dispatch(row === undefined ? { type: 'readFailed', sentAt } : { type: 'read', sentAt, row });
    },
    renew: async ({ sentAt, holder, epoch }) => {
      const row = await attempt(directory.renew({ holder, epoch }), 'the lease can not be renewed');
      metrics.renewed(row === undefined ? 'unanswered' : row === null ? 'refused' : 'renewed', monotonic() - sentAt);
      if (row) view = row;
      dispatch(row === undefined ? { type: 'renewFailed', sentAt, holder } : { type: 'renewed', sentAt, holder, row });
    },
    take: async ({ sentAt, holder, epoch, renewals }) => {
      options.remember(holder);
      const taken = await attempt(directory.take(holder, epoch, renewals), 'the lease can not be taken');
      if (taken === null) log.info({ epoch }, 'the lease was not ours to take');
      dispatch(
        taken === undefined ? { type: 'takeFailed', sentAt, holder } : { type: 'took', sentAt, holder, epoch: taken },
      );
    },
    ask: async ({ round, holder, epoch, askers }) => {
      const answered = (member: number, yes: boolean) => dispatch({ type: 'promised', round, holder, member, yes });
      const asked = askers.map(async ({ member, volume: known }) => {
        const peer = current().peers.find((other) => other.member === member);
        const request = { shard: options.shard, epoch, holder, volume: known, ttl: times.ttl };
        const yes = peer && (await parts?.mail.askPromise(peer, request, times.requestTimeout));
        metrics.asked(yes);
        if (yes !== undefined) answered(member, yes);
      });
      answered(lease.me, volume.isOurs());
      await Promise.all(asked);
    },
    release: async ({ holder, epoch, reservedFor }) => {
      await attempt(directory.release({ holder, epoch }, reservedFor), 'the lease can not be released');
      const peer = current().peers.find(({ member }) => member === reservedFor);
      if (peer) void parts?.mail.tellReleased(peer);
      dispatch({ type: 'released', holder });
    },
    flush: async ({ to }) => {
      // Dovecot has to be there again first, without anybody's sessions.
      const peer = current().peers.find(({ member }) => member === to);
      const complete = peer ? await options.flush(peer, mode.signal) : false;
      dispatch({ type: 'flushed', complete });
    },
    register: async () => {
      await attempt(directory.register(lease.known), 'the volume can not be registered');
    },
  };

  const attempt = async <T>(asked: Promise<T>, message: string): Promise<T | undefined> => {
    try {
      return await asked;
    } catch (error) {
      complain(error, message);
      return undefined;
    }
  };

  const tick = (): void => {
    parts?.supervisor.tick();
    dispatch({ type: 'tick' });
    changed();
    metrics.update(current(), lease, monotonic());
  };

  const changed = (): void => {
    const dovecot = parts?.supervisor.current();
    if (dovecot === undefined || parts === undefined) return;
    if (parts.supervisor.isDown() && (lease.dying !== undefined || lease.term?.phase === 'closing')) {
      dispatch({ type: 'down' });
    }
    publish();
    const { term } = lease;
    if (term !== undefined && dovecot.up && dovecot.epoch === term.epoch) replay(term);
  };

  /** Before it opens after a failover, behind people's backs otherwise: what is there to replay, a sync has brought as well. */
  const replay = ({ epoch, phase, holder }: Term): void => {
    if ((phase !== 'opening' && phase !== 'primary') || replaying === holder || parts === undefined) return;
    replaying = holder;
    const { signal } = mode;
    parts.mail.replay(epoch, phase === 'opening' ? signal : new AbortController().signal).then(
      () => dispatch({ type: 'opened', epoch }),
      (error: unknown) => {
        if (!signal.aborted) log.error({ err: error, epoch }, 'the journal can not be replayed; trying again');
        setTimeout(() => {
          if (replaying === holder) replaying = undefined;
        }, REPLAY_AGAIN_MS);
      },
    );
  };

  return {
    start: (given) => {
      parts = given;
      timer = setInterval(tick, TICK_MS);
      tick();
    },
    state: () => ({ ...current(), openedAt }),
    lease: () => lease,
    modeSignal: () => mode.signal,
    changed,
    promise: (request) => {
      if (request.shard !== options.shard || !volume.isOurs()) return false;
      const ttl = Math.min(request.ttl, 10 * times.ttl);
      const answer = promise(lease, monotonic(), { epoch: request.epoch, volume: request.volume, ttl }, times);
      lease = answer.lease;
      metrics.gave(answer.granted);
      return answer.granted;
    },
    released: () => {
      lease = { ...lease, nextRead: monotonic() };
      dispatch({ type: 'tick' });
    },
    sawEpoch: (epoch) => dispatch({ type: 'sawEpoch', epoch }),
    settled: (epoch) => {
      if (lease.term?.epoch === epoch && volume.record().epoch === epoch) note({ settled: true });
    },
    unfit: (reason) => {
      log.error({ reason }, 'this member can not be a primary now');
      metrics.unfit();
      dispatch({ type: 'unfit', until: monotonic() + UNFIT_MS });
    },
    handover: (to) => {
      const target = successor(lease, to);
      if (current().role !== 'primary') return { refused: 'this member is not the primary' };
      if (!volume.record().settled) return { refused: 'what the last failover left is not dealt with yet' };
      if (target === undefined) return { refused: 'no other member is in sync' };
      dispatch({ type: 'handover', to: target });
      return lease.term?.phase === 'leaving' ? { to: target } : { refused: 'a handover has just failed' };
    },
    isSettled: () => volume.record().settled,
    seeding: async (member, other) => {
      dispatch({ type: 'seeding', member, volume: other });
      await volume.update({ sole: false });
    },
    holding: () => (lease.term?.leased && lease.term.phase !== 'adopting' ? lease.term : undefined),
    prepare: async (epoch) => {
      const { term } = lease;
      const failover = term !== undefined && promotionOf(term) === 'failover';
      await volume.update({ epoch, ...(failover ? { settled: false } : {}) });
    },
    stop: async () => {
      dispatch({ type: 'stop', planned: volume.record().settled });
      await finished;
      clearInterval(timer);
    },
  };
}

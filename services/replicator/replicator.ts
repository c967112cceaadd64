/** Follows the agent: works while this member is the primary, and keeps still otherwise. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AgentClient, type MemberState, readState } from './agent.js';
import type { PeerFacts } from './report.js';
import { type Flushed, type Session, type SessionOptions, startSession } from './session.js';

export interface ReplicatorOptions extends SessionOptions {
  readonly agent: AgentClient;
  /** Longest wait for news of the agent, ms. Default 2 s: peers come and go without a change of the epoch. */
  readonly waitMs?: number;
}

export interface Replicator {
  /** Peers; empty where this isn't the primary. */
  facts(): PeerFacts[];
  flush(member: number, withinMs: number): Promise<Flushed>;
  /** The agent has answered not long ago. */
  isReady(): boolean;
  /** Runs until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface Running {
  readonly session: Session;
  readonly epoch: number;
  readonly abort: AbortController;
}

const works = ({ role }: MemberState): boolean => role === 'primary' || role === 'opening';

export function createReplicator(options: ReplicatorOptions): Replicator {
  const { agent, log, dirty } = options;
  let current: Running | undefined;
  let answeredAt = Number.NEGATIVE_INFINITY;

  const end = async (): Promise<void> => {
    const ending = current;
    if (ending === undefined) return;
    current = undefined;
    ending.abort.abort(new Error('this member is no longer the primary of that epoch'));
    await ending.session.ended;
  };
  const begin = (state: MemberState, signal: AbortSignal): void => {
    const abort = new AbortController();
    const session = startSession(options, state, AbortSignal.any([signal, abort.signal]));
    current = { session, epoch: state.epoch, abort };
    log.info({ epoch: state.epoch, peers: state.peers.length }, 'this member is the primary: replicating');
  };
  const follow = async (state: MemberState, signal: AbortSignal): Promise<void> => {
    if (!works(state) || state.epoch !== current?.epoch) await end();
    if (works(state)) {
      if (current === undefined) begin(state, signal);
      else current.session.update(state);
    } else if (state.role === 'replica') {
      // Whoever is the primary compares everything with this volume. Its own notices have no meaning any more.
      dirty.clear();
      rmSync(join(options.volume, 'dirty', 'pending'), { force: true });
    }
  };

  return {
    facts: () => current?.session.facts() ?? [],
    flush: async (member, withinMs) => (await current?.session.flush(member, withinMs)) ?? { ok: false, users: 0 },
    isReady: () => options.clock() - answeredAt < 30_000,
    run: async (signal) => {
      let known: MemberState | undefined;
      while (!signal.aborted) {
        try {
          known = await readState(agent, known, options.waitMs ?? 2_000, signal);
          answeredAt = options.clock();
          await follow(known, signal);
        } catch (error) {
          if (signal.aborted) break;
          log.warn({ err: error }, 'the agent does not answer; syncs stop until it does');
          known = undefined;
          await sleep(1_000, undefined, { signal }).catch(() => undefined);
        }
      }
      await end();
    },
  };
}

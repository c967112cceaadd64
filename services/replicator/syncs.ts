/** Does what the schedule says, with as many syncs at once as it allows. */
import type { Log } from '../../operator/runtime/log.js';
import { type CopyContext, type Peer, syncMailbox } from './copy.js';
import type { Locks } from './locks.js';
import type { ReplicatorMetrics } from './metrics.js';
import type { Names } from './names.js';
import { finished, next, type Outcome, type Schedule, type Task, wakeAt } from './schedule.js';

export interface SyncsOptions {
  readonly schedule: Schedule;
  readonly locks: Locks;
  readonly names: Names;
  readonly metrics: ReplicatorMetrics;
  readonly log: Log;
  readonly clock: () => number;
  readonly stop: AbortSignal;
  /** The peer with this volume, and the context of work for it; undefined when it has gone. */
  readonly peerOf: (volume: string) => { readonly peer: Peer; readonly context: CopyContext } | undefined;
}

export interface Syncs {
  /** Starts what is due, and comes back when more is. To be called after each change of the schedule. */
  pump(): void;
  /** Starts nothing more; resolves when nothing runs. */
  end(): Promise<void>;
}

/** A mailbox that the directory doesn't know, this many times in a row, is no more. */
const UNKNOWN_TRIES = 6;
const FRESH_AFTER = 4;
const ELSEWHERE_AFTER = 5;
/** What is due but locked by somebody else has no time of its own. */
const LEAST_WAIT_MS = 20;

export function createSyncs(options: SyncsOptions): Syncs {
  const { schedule, clock, stop, locks } = options;
  const running = new Set<Promise<void>>();
  const unknown = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;

  const pump = (): void => {
    clearTimeout(timer);
    if (stop.aborted) return;
    for (;;) {
      const task = next(schedule, clock(), locks.isLocked);
      if (task === undefined) break;
      const work = perform(task).finally(() => running.delete(work));
      running.add(work);
    }
    const at = wakeAt(schedule, clock());
    if (at !== undefined) timer = setTimeout(pump, Math.max(LEAST_WAIT_MS, at - clock()));
  };
  const perform = async (task: Task): Promise<void> => {
    const release = locks.tryAcquire(task.uuid);
    const started = clock();
    const outcome = release === undefined ? 'failed' : await attempt(options, unknown, task);
    release?.();
    finished(schedule, task, clock(), outcome, clock() - started);
    const member = options.peerOf(task.volume)?.peer.member;
    if (member !== undefined) options.metrics.synced(member, outcome, (clock() - started) / 1000);
    pump();
  };
  return {
    pump,
    end: async () => {
      clearTimeout(timer);
      while (running.size > 0) await Promise.all(running);
    },
  };
}

async function attempt(options: SyncsOptions, unknown: Map<string, number>, task: Task): Promise<Outcome> {
  const work = options.peerOf(task.volume);
  if (work === undefined) return 'failed';
  try {
    const user = await options.names.userOf(task.uuid);
    if (user === undefined) return notKnown(options, unknown, task.uuid);
    unknown.delete(task.uuid);
    // What fails again and again may be the state's fault.
    await syncMailbox(work.context, { uuid: task.uuid, user }, work.peer, task.failures >= FRESH_AFTER);
    return 'synced';
  } catch (error) {
    options.names.forget(task.uuid);
    const { uuid } = task;
    const outcome = (await isElsewhere(options, task, error)) ? 'gone' : outcomeOf(error);
    if (!work.context.signal.aborted) {
      options.log.warn({ err: error, uuid, member: work.peer.member, outcome }, 'a mailbox was not synced');
    }
    return outcome;
  }
}

/** It fails because it is another shard's by now: the end of a move, of one that was given up, or it was deleted. */
async function isElsewhere({ names }: SyncsOptions, { uuid, failures }: Task, error: unknown): Promise<boolean> {
  if (outcomeOf(error) !== 'failed' || failures < ELSEWHERE_AFTER) return false;
  return !(await names.livesHere(uuid).catch(() => true));
}

function notKnown({ log }: SyncsOptions, unknown: Map<string, number>, uuid: string): Outcome {
  const tries = (unknown.get(uuid) ?? 0) + 1;
  unknown.set(uuid, tries);
  if (tries < UNKNOWN_TRIES) return 'failed';
  unknown.delete(uuid);
  log.info({ uuid }, 'a mailbox that has changed is not in the directory any more');
  return 'gone';
}

/** What isn't about the mailbox (no answer from the agent, or the directory) is treated like a peer that is away. */
export function outcomeOf(error: unknown): Outcome {
  return error instanceof Error && error.name === 'VerbFailed' ? 'failed' : 'unreachable';
}

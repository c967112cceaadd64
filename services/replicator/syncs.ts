/** Does what the schedule says, with as many syncs at once as it allows. */
import type { Log } from '../../operator/runtime/log.js';
import { type CopyContext, type Peer, resetCopy, syncMailbox } from './copy.js';
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

/** Failures in a row after which dsync's state is suspected, or it is asked whether the mailbox is still here. */
const RESET_EACH = 4;
const FRESH_AFTER = 4;
const ELSEWHERE_AFTER = 5;
/** What is due but locked by somebody else has no time of its own. */
const LEAST_WAIT_MS = 20;

export function createSyncs(options: SyncsOptions): Syncs {
  const { schedule, clock, stop, locks } = options;
  const running = new Set<Promise<void>>();
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
    const outcome = release === undefined ? 'failed' : await attempt(options, task);
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

async function attempt(options: SyncsOptions, task: Task): Promise<Outcome> {
  const work = options.peerOf(task.volume);
  if (work === undefined) return 'failed';
  try {
    // What fails again and again may be the peer's copy's fault, or the state's.
    if (task.failures % RESET_EACH === RESET_EACH - 1) await resetCopy(work.context, task.uuid, work.peer);
    await syncMailbox(work.context, task.uuid, work.peer, task.failures >= FRESH_AFTER);
    return 'synced';
  } catch (error) {
    const { uuid } = task;
    const outcome = (await isElsewhere(options, task, error)) ? 'gone' : outcomeOf(error);
    if (!work.context.signal.aborted) {
      options.log.warn({ err: error, uuid, member: work.peer.member, outcome }, 'a mailbox was not synced');
    }
    return outcome;
  }
}

/** It fails because it is another shard's by now: the end of a move, of one that was given up, or it was deleted. */
async function isElsewhere({ names, log }: SyncsOptions, { uuid, failures }: Task, error: unknown): Promise<boolean> {
  if (outcomeOf(error) !== 'failed' || failures < ELSEWHERE_AFTER) return false;
  if (await names.livesHere(uuid).catch(() => true)) return false;
  log.info({ uuid }, 'a mailbox that has changed is not of this shard any more');
  return true;
}

/** What isn't about the mailbox (no answer from the agent, or the directory) is treated like a peer that is away. */
export function outcomeOf(error: unknown): Outcome {
  return error instanceof Error && error.name === 'VerbFailed' ? 'failed' : 'unreachable';
}

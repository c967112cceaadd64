import type { Attempts } from './attempts.js';
import { bounced, type Delivery, deferred, type Outcome } from './delivery.js';
import type { Room } from './room.js';
import type { Target } from './target.js';

export interface DispatchOptions {
  /** The target of a token; undefined when there is none any more. Rejects when the directory can't tell. */
  readonly find: (token: string) => Promise<Target | undefined>;
  /** Does it, and never rejects. */
  readonly perform: (delivery: Delivery, target: Target, attempt: number) => Promise<Outcome>;
  readonly attempts: Attempts;
  readonly room: (token: string) => Room;
  /** Told of every end. */
  readonly onEnd?:
    | ((delivery: Delivery, target: Target | undefined, outcome: Outcome, attempt: number) => void)
    | undefined;
  /** How long an answer is waited for, ms; what takes longer goes on, and is found by the next attempt. Default 50 s. */
  readonly answerMs?: number | undefined;
  /** The time, ms since 1970; for tests. */
  readonly now?: (() => number) | undefined;
  /** How long the end of such a delivery is remembered, ms. Default 2 h: longer than the forward role waits. */
  readonly rememberMs?: number | undefined;
}

export interface Dispatcher {
  /** What to answer now. Never rejects. */
  dispatch(delivery: Delivery): Promise<Outcome>;
  /** Deliveries under way. */
  running(): number;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

const STILL_RUNNING = deferred('4.3.2', 'the delivery is under way; ask again');

/** Ends that are remembered. */
const REMEMBERED = 20_000;

/**
 * One delivery at a time for each id. A message that comes again while its delivery is under way joins it; one that comes
 * again after its end (nobody waited for it, or the answer was lost) is told the end, instead of being delivered again.
 */
export function createDispatcher(options: DispatchOptions): Dispatcher {
  const { answerMs = 50_000, rememberMs = 2 * 3_600_000 } = options;
  const running = new Map<string, Promise<Outcome>>();
  const ends = new Map<string, Outcome>();

  const remember = (id: string, outcome: Outcome): void => {
    ends.set(id, outcome);
    setTimeout(() => ends.delete(id), rememberMs).unref();
    const [oldest] = ends.keys();
    if (ends.size > REMEMBERED && oldest !== undefined) ends.delete(oldest);
  };
  const start = async (delivery: Delivery): Promise<Outcome> => {
    const outcome = await deliver(delivery, options);
    running.delete(delivery.id);
    if (outcome.result !== 'deferred') remember(delivery.id, outcome);
    return outcome;
  };

  return {
    dispatch: (delivery) => {
      const end = ends.get(delivery.id);
      if (end !== undefined) return Promise.resolve(end);
      const task = running.get(delivery.id) ?? start(delivery);
      running.set(delivery.id, task);
      return within(answerMs, task);
    },
    running: () => running.size,
    idle: async () => void (await Promise.allSettled(running.values())),
  };
}

async function deliver(delivery: Delivery, options: DispatchOptions): Promise<Outcome> {
  let target: Target | undefined;
  let attempt = 0;
  const attemptNow = async (): Promise<Outcome> => {
    target = await options.find(delivery.token);
    if (target === undefined) return targetGone(delivery, options.now?.() ?? Date.now());
    const leave = await options.room(delivery.token).enter();
    if (leave === undefined) return deferred('4.3.2', 'too many deliveries to this target are under way');
    attempt = options.attempts.next(delivery);
    options.attempts.begun(delivery);
    let stuck = false;
    try {
      const outcome = await options.perform(delivery, target, attempt);
      stuck = outcome.stuck ?? false;
      return outcome;
    } finally {
      leave(stuck);
    }
  };
  const outcome = await attemptNow().catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    return deferred('4.3.0', 'the delivery can not be made now', { problem: { reason: 'DeliveryFailed', message } });
  });
  options.onEnd?.(delivery, target, outcome, attempt);
  return outcome;
}

/**
 * For a target that is gone today's directory raises, so that its mail waits for as long as the queue keeps it. One that says
 * NULL instead gets an hour: a rule that is made anew has another UID, and whoever removes a target may see their mistake.
 */
const GONE_MS = 3_600_000;

function targetGone({ queuedAt }: Delivery, now: number): Outcome {
  const old = queuedAt !== undefined && now - queuedAt.getTime() > GONE_MS;
  const text = 'this address forwards to nothing any more';
  return old ? bounced('5.1.1', text) : deferred('4.1.1', text);
}

async function within(ms: number, task: Promise<Outcome>): Promise<Outcome> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Outcome>((resolve) => {
    timer = setTimeout(() => resolve(STILL_RUNNING), ms);
  });
  try {
    return await Promise.race([task, late]);
  } finally {
    clearTimeout(timer);
  }
}

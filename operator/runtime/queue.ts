/**
 * A keyed work queue. A key waits at most once; a key that is added while a worker has it is given out again afterwards,
 * so no two workers ever have the same key, and the last change is always seen.
 */
import { type Backoff, backoffMs, type Clock, systemClock } from './clock.js';
import type { Metrics } from './metrics.js';

export interface AddOptions {
  /** Behind all keys added without it: for the initial list and periodic work, so that a person's change overtakes them. */
  background?: boolean | undefined;
}

export interface Queue {
  readonly name: string;
  add(key: string, options?: AddOptions): void;
  /** Adds the key after `ms`. Of several such wishes for one key the earliest counts. */
  addAfter(key: string, ms: number): void;
  /** Counts a failure of the key and adds it after its back-off. */
  addRateLimited(key: string): void;
  /** Forgets the key's failures: it succeeded. */
  forget(key: string): void;
  failures(key: string): number;
  /** The next key, as soon as there is one; undefined once the queue is closed. Call `done` with it afterwards. */
  take(): Promise<string | undefined>;
  /**
   * Up to `max` keys, as soon as there is one, or after `lingerMs` more for others to join it; empty once the queue is closed.
   * Call `done` with each of them afterwards.
   */
  takeBatch(max: number, lingerMs?: number): Promise<string[]>;
  done(key: string): void;
  /** Keys that could be taken now. */
  readonly depth: number;
  /** Keys that workers have. */
  readonly processing: number;
  /** Hands out nothing more; resolves when every key that was taken is done. Keys that wait are dropped: state is in the API. */
  close(): Promise<void>;
}

export interface QueueOptions {
  name: string;
  /** Between failures of one key; default 100 ms doubling to 5 minutes. */
  backoff?: Backoff | undefined;
  metrics?: Metrics | undefined;
  clock?: Clock | undefined;
  random?: (() => number) | undefined;
}

interface Delayed {
  at: number;
  cancel: () => void;
}

export function createQueue(options: QueueOptions): Queue {
  const {
    name,
    backoff = { baseMs: 100, maxMs: 300_000 },
    metrics,
    clock = systemClock,
    random = Math.random,
  } = options;
  /** Key → since when it waits. Maps keep the order of insertion. */
  const urgent = new Map<string, number>();
  const background = new Map<string, number>();
  const processing = new Set<string>();
  /** Added while being processed; true: in the background. */
  const again = new Map<string, boolean>();
  const delayed = new Map<string, Delayed>();
  const failures = new Map<string, number>();
  const waiting: (() => void)[] = [];
  const drained: (() => void)[] = [];
  let closed = false;
  metrics?.queueDepth(name, () => urgent.size + background.size);

  const enqueue = (key: string, inBackground: boolean): void => {
    if (urgent.has(key) || (inBackground && background.has(key))) return;
    const since = background.get(key) ?? clock.now();
    if (!background.delete(key)) metrics?.queueAdd(name);
    (inBackground ? background : urgent).set(key, since);
    waiting.shift()?.();
  };

  const add = (key: string, { background: inBackground = false }: AddOptions = {}): void => {
    if (closed) return;
    cancelDelayed(delayed, key);
    if (processing.has(key)) again.set(key, inBackground && again.get(key) !== false);
    else enqueue(key, inBackground);
  };

  const addAfter = (key: string, ms: number): void => {
    const at = clock.now() + ms;
    const existing = delayed.get(key);
    if (closed || (existing !== undefined && existing.at <= at)) return;
    cancelDelayed(delayed, key);
    delayed.set(key, { at, cancel: clock.after(ms, () => add(key)) });
  };

  const pick = (): string | undefined => {
    const lane = urgent.size > 0 ? urgent : background;
    for (const [key, since] of lane) {
      lane.delete(key);
      processing.add(key);
      metrics?.queueWait(name, (clock.now() - since) / 1000);
      return key;
    }
    return undefined;
  };

  const readyOrClosed = async (): Promise<void> => {
    while (!closed && urgent.size + background.size === 0) await new Promise<void>((resolve) => waiting.push(resolve));
  };

  return {
    name,
    add,
    addAfter,
    addRateLimited: (key) => {
      const count = (failures.get(key) ?? 0) + 1;
      failures.set(key, count);
      metrics?.queueRetry(name);
      addAfter(key, backoffMs(backoff, count, random));
    },
    forget: (key) => void failures.delete(key),
    failures: (key) => failures.get(key) ?? 0,
    take: async () => {
      await readyOrClosed();
      return closed ? undefined : pick();
    },
    takeBatch: async (max, lingerMs = 0) => {
      let keys: string[] = [];
      while (!closed && keys.length === 0) {
        await readyOrClosed();
        const lingers = !closed && lingerMs > 0 && urgent.size + background.size < max;
        if (lingers) await new Promise<void>((resolve) => void clock.after(lingerMs, resolve));
        if (!closed) keys = pickBatch(pick, max);
      }
      return keys;
    },
    done: (key) => {
      processing.delete(key);
      const inBackground = again.get(key);
      if (again.delete(key) && !closed) enqueue(key, inBackground === true);
      if (processing.size === 0) for (const resolve of drained.splice(0)) resolve();
    },
    get depth() {
      return urgent.size + background.size;
    },
    get processing() {
      return processing.size;
    },
    close: () => {
      closed = true;
      for (const key of [...delayed.keys()]) cancelDelayed(delayed, key);
      for (const resolve of waiting.splice(0)) resolve();
      return processing.size === 0 ? Promise.resolve() : new Promise((resolve) => drained.push(resolve));
    },
  };
}

function cancelDelayed(delayed: Map<string, Delayed>, key: string): void {
  delayed.get(key)?.cancel();
  delayed.delete(key);
}

function pickBatch(pick: () => string | undefined, max: number): string[] {
  const keys: string[] = [];
  while (keys.length < max) {
    const key = pick();
    if (key === undefined) break;
    keys.push(key);
  }
  return keys;
}

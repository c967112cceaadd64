/** Workers over a queue. A reconciliation that throws is retried with back-off; it never ends the process. */
import { ApiError, isConflict } from './errors.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import type { KubeObject } from './object.js';
import type { Queue } from './queue.js';

/** Carries `"true"` on objects that must be left alone for now. */
export const pausedAnnotation = 'posthorn.dev/paused';

/** Whether a person has asked that this object be left alone. */
export function isPaused(object: KubeObject): boolean {
  return object.metadata.annotations?.[pausedAnnotation] === 'true';
}

/** What became of a key. Without an error it is done until the next change, or for `requeueAfterMs`. */
export interface Result {
  requeueAfterMs?: number | undefined;
  /** Tried again with back-off. Anything but undefined counts. */
  error?: unknown;
}

export interface ReconcileContext {
  /** Aborts when the reconciliation has taken longer than its limit, or when the controller's grace at stopping is over. */
  signal: AbortSignal;
  /** Failures of this key in a row before this attempt. */
  failures: number;
}

interface CommonOptions {
  name: string;
  queue: Queue;
  /** Reconciliations at the same time, default 2. */
  workers?: number | undefined;
  /** When to warn and abort the signal, in milliseconds; default 2 minutes. */
  limitMs?: number | undefined;
  log: Log;
  metrics?: Metrics | undefined;
}

export interface ControllerOptions extends CommonOptions {
  // biome-ignore lint/suspicious/noConfusingVoidType: a reconcile function may just return
  reconcile: (key: string, context: ReconcileContext) => Promise<Result | void>;
}

export interface BatchControllerOptions extends CommonOptions {
  /** Most keys in one call, default 500. */
  maxBatch?: number | undefined;
  /** How long the first key of a batch waits for others, in milliseconds; default 0. */
  lingerMs?: number | undefined;
  /** A key without an entry in the answer is done. Throwing fails every key of the batch. */
  reconcileBatch: (keys: readonly string[], context: { signal: AbortSignal }) => Promise<ReadonlyMap<string, Result>>;
}

export interface RunningController {
  /** Takes no more keys; resolves when those under way are finished. After `graceMs` (default 10 s) their signals abort. */
  stop(graceMs?: number): Promise<void>;
}

/** Reconciles one key at a time per worker. */
export function runController(options: ControllerOptions): RunningController {
  const { queue, reconcile } = options;
  return runWorkers(options, async (signal) => {
    const key = await queue.take();
    if (key === undefined) return undefined;
    return {
      keys: [key],
      run: async () =>
        new Map([[key, (await reconcile(key, { signal: signal(), failures: queue.failures(key) })) ?? {}]]),
    };
  });
}

/** Reconciles many keys in one call: for what is cheaper together, like statements to a database. */
export function runBatchController(options: BatchControllerOptions): RunningController {
  const { queue, reconcileBatch, maxBatch = 500, lingerMs = 0 } = options;
  return runWorkers(options, async (signal) => {
    const keys = await queue.takeBatch(maxBatch, lingerMs);
    return keys.length === 0 ? undefined : { keys, run: () => reconcileBatch(keys, { signal: signal() }) };
  });
}

interface Job {
  keys: string[];
  run: () => Promise<ReadonlyMap<string, Result>>;
}

type NextJob = (signal: () => AbortSignal) => Promise<Job | undefined>;

function runWorkers(options: CommonOptions, next: NextJob): RunningController {
  const { name, queue, workers = 2, metrics } = options;
  const underWay = new Set<AbortController>();
  metrics?.reconcilesRunning(name, () => queue.processing);

  const work = async (): Promise<void> => {
    for (;;) {
      const abort = new AbortController();
      const job = await next(() => abort.signal);
      if (job === undefined) return;
      underWay.add(abort);
      await perform(options, job, abort);
      underWay.delete(abort);
    }
  };

  const all = Promise.all(Array.from({ length: workers }, work));
  return {
    stop: async (graceMs = 10_000) => {
      const timer = setTimeout(() => {
        for (const abort of underWay) abort.abort(new Error('the controller is stopping'));
      }, graceMs);
      await queue.close();
      await all;
      clearTimeout(timer);
    },
  };
}

async function perform(options: CommonOptions, { keys, run }: Job, abort: AbortController): Promise<void> {
  const { name, limitMs = 120_000, log } = options;
  const started = performance.now();
  const timer = setTimeout(() => {
    log.warn({ controller: name, keys: keys.slice(0, 10), limitMs }, 'a reconciliation takes longer than its limit');
    abort.abort(new Error(`longer than ${limitMs} ms`));
  }, limitMs);
  const results = await outcomes(keys, run);
  clearTimeout(timer);
  settle(options, keys, results, (performance.now() - started) / 1000);
}

/** Runs the job; whatever it throws becomes the result of all its keys. */
async function outcomes(keys: readonly string[], run: Job['run']): Promise<ReadonlyMap<string, Result>> {
  try {
    return await run();
  } catch (thrown) {
    const error = thrown ?? new Error('something undefined was thrown');
    return new Map(keys.map((key) => [key, { error }]));
  }
}

function settle(
  options: CommonOptions,
  keys: readonly string[],
  results: ReadonlyMap<string, Result>,
  seconds: number,
): void {
  const counts = { success: 0, error: 0, conflict: 0 };
  for (const key of keys) {
    counts[settleKey(options, key, results.get(key) ?? {})] += 1;
    options.queue.done(key);
  }
  for (const result of ['success', 'error', 'conflict'] as const) {
    if (counts[result] > 0) options.metrics?.reconcile(options.name, result, seconds, counts[result]);
  }
}

function settleKey(
  { name, queue, log }: CommonOptions,
  key: string,
  { requeueAfterMs, error }: Result,
): 'success' | 'error' | 'conflict' {
  if (error === undefined) {
    queue.forget(key);
    if (requeueAfterMs !== undefined) queue.addAfter(key, requeueAfterMs);
    return 'success';
  }
  queue.addRateLimited(key);
  if (isConflict(error)) {
    log.debug({ controller: name, key, err: error }, 'the object changed in the meantime; trying again');
    return 'conflict';
  }
  const hint = error instanceof ApiError && error.reason === 'NotLeader' ? 'debug' : 'error';
  log[hint](
    { controller: name, key, failures: queue.failures(key), err: error },
    'reconciliation failed; it will be tried again',
  );
  return 'error';
}

import { afterEach, describe, expect, it } from 'vitest';
import { isPaused, type RunningController, runBatchController, runController } from './controller.js';
import { ApiError } from './errors.js';
import { createLog, type Log, silentLog } from './log.js';
import { createMetrics } from './metrics.js';
import { createQueue, type Queue } from './queue.js';
import { eventually } from './testing/shared.js';

const running: RunningController[] = [];
afterEach(async () => void (await Promise.all(running.splice(0).map((controller) => controller.stop(0)))));

const quick = { baseMs: 5, maxMs: 20 };
const newQueue = (): Queue => createQueue({ name: 'test', backoff: quick });

function start(options: Omit<Parameters<typeof runController>[0], 'name' | 'log'> & { log?: Log }): RunningController {
  const controller = runController({ name: 'test', log: silentLog, ...options });
  running.push(controller);
  return controller;
}

function startBatch(options: Omit<Parameters<typeof runBatchController>[0], 'name' | 'log'>): RunningController {
  const controller = runBatchController({ name: 'test', log: silentLog, ...options });
  running.push(controller);
  return controller;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a controller', () => {
  it('tries again what throws, in whatever way, until it succeeds', async () => {
    const queue = newQueue();
    const attempts: number[] = [];
    const failures = [
      () => Promise.reject(new Error('rejected')),
      () => {
        throw new Error('thrown at once');
      },
      () => Promise.reject(undefined),
      () => Promise.reject('a string'),
      () => Promise.resolve(),
    ];
    start({
      queue,
      reconcile: (_key, context) => {
        attempts.push(context.failures);
        return failures[attempts.length - 1]?.() ?? Promise.resolve();
      },
    });
    queue.add('a');
    await eventually(() => expect(attempts).toEqual([0, 1, 2, 3, 4]));
    await eventually(() => expect(queue.failures('a')).toBe(0));
  });

  it('comes back to a key when it asked for that', async () => {
    const queue = newQueue();
    let calls = 0;
    start({
      queue,
      reconcile: async () => {
        calls += 1;
        return calls < 3 ? { requeueAfterMs: 5 } : {};
      },
    });
    queue.add('a');
    await eventually(() => expect(calls).toBe(3));
    await pause(30);
    expect(calls).toBe(3);
  });

  it('works on several keys at a time, never on one key twice', async () => {
    const queue = newQueue();
    const busy = new Set<string>();
    let most = 0;
    let calls = 0;
    start({
      queue,
      workers: 3,
      reconcile: async (key) => {
        expect(busy.has(key)).toBe(false);
        busy.add(key);
        most = Math.max(most, busy.size);
        await pause(5);
        busy.delete(key);
        calls += 1;
      },
    });
    for (let round = 0; round < 5; round += 1) {
      for (const key of ['a', 'b', 'c', 'd']) queue.add(key);
      await pause(3);
    }
    await eventually(() => expect(queue.depth + queue.processing).toBe(0));
    expect(most).toBe(3);
    expect(calls).toBeGreaterThanOrEqual(8);
  });

  it('counts by result, and takes a conflict lightly', async () => {
    const queue = newQueue();
    const metrics = createMetrics();
    const lines: { level: string }[] = [];
    const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
    const outcomes = [
      new ApiError({ status: 409, reason: 'Conflict', message: 'changed', verb: 'update', object: 'Widget a' }),
      new Error('broken'),
    ];
    start({
      queue,
      metrics,
      log: createLog({ destination }),
      reconcile: async () => {
        const error = outcomes.shift();
        if (error !== undefined) throw error;
      },
    });
    queue.add('a');
    await eventually(async () => {
      const text = await metrics.registry.getSingleMetricAsString('posthorn_reconciles_total');
      for (const result of ['conflict', 'error', 'success'])
        expect(text).toContain(`{controller="test",result="${result}"} 1`);
    });
    expect(lines.map(({ level }) => level)).toEqual(['error']);
  });

  it('aborts the signal of what takes too long, and keeps its hands off the key until it is done', async () => {
    const queue = newQueue();
    let aborted = false;
    start({
      queue,
      limitMs: 20,
      reconcile: async (_key, { signal }) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        expect(queue.processing).toBe(1);
        aborted = true;
      },
    });
    queue.add('a');
    await eventually(() => expect(aborted).toBe(true));
  });

  it('finishes what it has begun when stopped, and begins nothing more', async () => {
    const queue = newQueue();
    const log: string[] = [];
    let finish = (): void => {};
    const gate = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const controller = start({
      queue,
      workers: 1,
      reconcile: async (key) => {
        log.push(`begin ${key}`);
        await gate;
        log.push(`end ${key}`);
      },
    });
    queue.add('a');
    queue.add('b');
    await eventually(() => expect(log).toEqual(['begin a']));
    const stopped = controller.stop();
    finish();
    await stopped;
    expect(log).toEqual(['begin a', 'end a']);
  });
});

describe('a batch controller', () => {
  it('takes many keys at once, and treats each by its own result', async () => {
    const queue = newQueue();
    for (const key of ['good', 'bad', 'again']) queue.add(key);
    const batches: string[][] = [];
    startBatch({
      queue,
      workers: 1,
      reconcileBatch: async (keys) => {
        batches.push([...keys]);
        if (batches.length > 1) return new Map();
        return new Map([
          ['bad', { error: new Error('this one only') }],
          ['again', { requeueAfterMs: 10 }],
        ]);
      },
    });
    await eventually(() => expect(batches.flat().sort()).toEqual(['again', 'again', 'bad', 'bad', 'good']));
    expect(batches[0]).toEqual(['good', 'bad', 'again']);
  });

  it('tries the whole batch again when the call throws', async () => {
    const queue = newQueue();
    for (const key of ['a', 'b']) queue.add(key);
    const done: string[] = [];
    let calls = 0;
    startBatch({
      queue,
      reconcileBatch: async (keys) => {
        calls += 1;
        if (calls === 1) throw new Error('the database is away');
        done.push(...keys);
        return new Map();
      },
    });
    await eventually(() => expect(done.sort()).toEqual(['a', 'b']));
  });

  it('splits 1,000 keys by its limit, among workers that outlive an idle time', async () => {
    const queue = newQueue();
    const sizes: number[] = [];
    const reconcileBatch = async (keys: readonly string[]) => {
      sizes.push(keys.length);
      await pause(1);
      return new Map();
    };
    startBatch({ queue, workers: 2, maxBatch: 300, lingerMs: 5, reconcileBatch });
    for (let round = 1; round <= 2; round += 1) {
      for (let at = 0; at < 1_000; at += 1) queue.add(`k-${at}`);
      await eventually(() => expect(sizes.reduce((a, b) => a + b, 0)).toBe(1_000 * round));
      await pause(20);
    }
    expect(Math.max(...sizes)).toBe(300);
  });
});

it('an object is paused by its annotation only', () => {
  const paused = (annotations?: Record<string, string>) =>
    isPaused({ apiVersion: 'v1', kind: 'X', metadata: { name: 'x', annotations } });
  expect([paused({ 'posthorn.dev/paused': 'true' }), paused({ 'posthorn.dev/paused': 'false' }), paused()]).toEqual([
    true,
    false,
    false,
  ]);
});

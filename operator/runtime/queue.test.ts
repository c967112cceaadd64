import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createQueue, type Queue } from './queue.js';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

const backoff = { baseMs: 100, maxMs: 1_000 };
const queueOf = (): Queue => createQueue({ name: 'test', backoff, random: () => 1 });

/** What can be taken now. */
async function takeAll(queue: Queue): Promise<string[]> {
  const keys: string[] = [];
  while (queue.depth > 0) keys.push((await queue.take()) ?? '');
  return keys;
}

describe('keys', () => {
  it('wait once, in the order in which they came', async () => {
    const queue = queueOf();
    for (const key of ['a', 'b', 'a', 'c', 'b']) queue.add(key);
    expect(queue.depth).toBe(3);
    expect(await takeAll(queue)).toEqual(['a', 'b', 'c']);
  });

  it('that are added while being processed are given out again, once, after they are done', async () => {
    const queue = queueOf();
    queue.add('a');
    await queue.take();
    queue.add('a');
    queue.add('a');
    expect([queue.depth, queue.processing]).toEqual([0, 1]);
    queue.done('a');
    expect(await takeAll(queue)).toEqual(['a']);
    queue.done('a');
    expect([queue.depth, queue.processing]).toEqual([0, 0]);
  });

  it('of the background wait behind the others, unless somebody asks for them', async () => {
    const queue = queueOf();
    for (const key of ['old-1', 'old-2', 'old-3']) queue.add(key, { background: true });
    queue.add('new');
    queue.add('old-3');
    queue.add('new', { background: true });
    expect(await takeAll(queue)).toEqual(['new', 'old-3', 'old-1', 'old-2']);
  });

  it('are handed to workers that wait already, one each', async () => {
    const queue = queueOf();
    const waiting = [queue.take(), queue.take(), queue.take()];
    for (const key of ['a', 'b', 'c']) queue.add(key);
    expect((await Promise.all(waiting)).sort()).toEqual(['a', 'b', 'c']);
  });

  it('never are with two workers, and their last change is always seen', async () => {
    vi.useRealTimers();
    const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const changes = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(2)), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(changes, fc.integer({ min: 1, max: 4 }), async (list, workers) => {
        const queue = createQueue({ name: 'property' });
        const wanted = new Map<string, number>();
        const seen = new Map<string, number>();
        const busy = new Set<string>();
        const work = async (): Promise<void> => {
          for (let key = await queue.take(); key !== undefined; key = await queue.take()) {
            expect(busy.has(key)).toBe(false);
            busy.add(key);
            const version = wanted.get(key) ?? 0;
            await pause(1);
            seen.set(key, version);
            busy.delete(key);
            queue.done(key);
          }
        };
        const running = Promise.all(Array.from({ length: workers }, work));
        for (const [at, [key, ms]] of list.entries()) {
          wanted.set(key, at + 1);
          queue.add(key);
          if (ms > 0) await pause(ms);
        }
        while (queue.depth + queue.processing > 0) await pause(1);
        await queue.close();
        await running;
        expect(seen).toEqual(wanted);
      }),
      { numRuns: 30 },
    );
  });
});

describe('later', () => {
  it('the earliest of several wishes counts, and an immediate one replaces them', async () => {
    const queue = queueOf();
    queue.addAfter('a', 500);
    queue.addAfter('a', 200);
    queue.addAfter('a', 900);
    vi.advanceTimersByTime(199);
    expect(queue.depth).toBe(0);
    vi.advanceTimersByTime(1);
    expect(await takeAll(queue)).toEqual(['a']);
    queue.done('a');
    vi.advanceTimersByTime(2_000);
    expect(queue.depth).toBe(0);
    queue.addAfter('b', 500);
    queue.add('b');
    expect(await takeAll(queue)).toEqual(['b']);
    queue.done('b');
    vi.advanceTimersByTime(2_000);
    expect(queue.depth).toBe(0);
  });

  it('failures double the wait up to a cap, for each key apart, until it succeeds', async () => {
    const queue = queueOf();
    const waits: number[] = [];
    for (let failure = 1; failure <= 6; failure += 1) {
      const start = performance.now();
      queue.addRateLimited('a');
      while (queue.depth === 0) vi.advanceTimersByTime(10);
      waits.push(performance.now() - start);
      await queue.take();
      queue.done('a');
    }
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    expect([queue.failures('a'), queue.failures('b')]).toEqual([6, 0]);
    queue.forget('a');
    expect(queue.failures('a')).toBe(0);
  });
});

describe('batches', () => {
  it('hold what there is, up to a limit', async () => {
    const queue = queueOf();
    for (const key of ['a', 'b', 'c', 'd', 'e']) queue.add(key);
    expect(await queue.takeBatch(3)).toEqual(['a', 'b', 'c']);
    expect(await queue.takeBatch(3)).toEqual(['d', 'e']);
  });

  it('wait a moment for more, but not when they are full', async () => {
    const queue = queueOf();
    const batch = queue.takeBatch(3, 50);
    queue.add('a');
    await vi.advanceTimersByTimeAsync(40);
    queue.add('b');
    await vi.advanceTimersByTimeAsync(10);
    expect(await batch).toEqual(['a', 'b']);
    for (const key of ['c', 'd', 'e']) queue.add(key);
    expect(await queue.takeBatch(3, 50)).toEqual(['c', 'd', 'e']);
  });

  it('are never empty while the queue is open, though another worker took the keys', async () => {
    const queue = queueOf();
    const batches = [queue.takeBatch(10, 20), queue.takeBatch(10, 20)];
    queue.add('a');
    queue.add('b');
    await vi.advanceTimersByTimeAsync(30);
    expect(await Promise.race(batches)).toEqual(['a', 'b']);
    queue.add('c');
    await vi.advanceTimersByTimeAsync(30);
    expect((await Promise.all(batches)).flat().sort()).toEqual(['a', 'b', 'c']);
  });
});

describe('closing', () => {
  it('waits for what was taken, drops what waits, and sends the workers home', async () => {
    const queue = queueOf();
    queue.add('a');
    await queue.take();
    const idle = [queue.take(), queue.takeBatch(5)];
    queue.addAfter('later', 100);
    let closed = false;
    const closing = queue.close().then(() => {
      closed = true;
    });
    expect(await Promise.all(idle)).toEqual([undefined, []]);
    expect(closed).toBe(false);
    queue.add('a');
    queue.done('a');
    await closing;
    vi.advanceTimersByTime(200);
    expect([queue.depth, queue.processing]).toEqual([0, 0]);
    expect(await queue.take()).toBeUndefined();
  });
});

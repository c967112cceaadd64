import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLog } from '../../../operator/runtime/log.js';
import { startRedis, type TestRedis } from '../testing/redis.js';
import { withFallback } from './fallback.js';
import { processStore } from './process.js';
import { redisStore } from './redis.js';
import type { Store } from './store.js';
import type { Count } from './window.js';

let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis({ host: '127.0.0.1', port: server.port, commandTimeout: 10_000 });
  redis.on('error', () => undefined);
});

afterAll(async () => {
  redis?.disconnect();
  await server?.stop();
});

const MINUTE = 60_000;
const hour = (key: string, amount: number, limit: number | null = 10): Count => ({
  key,
  amount,
  limit,
  windowMs: 60 * MINUTE,
  bucketMs: 5 * MINUTE,
});

/** A round time, so that buckets begin with it. */
const START = Date.UTC(2026, 0, 1);

const stores: Record<string, () => Store> = {
  'in the process': () => processStore(),
  'in Redis': () => redisStore(redis),
};

describe.each(Object.entries(stores))('memory %s', (name, make) => {
  const key = (what: string) => `${name}/${what}`;

  it('counts up to the limit, and says when there is room again', async () => {
    const store = make();
    expect(await store.reserve([hour(key('a'), 4)], START, true)).toEqual({ ok: true, totals: [4] });
    expect(await store.reserve([hour(key('a'), 6)], START + 10 * MINUTE, true)).toEqual({ ok: true, totals: [10] });
    const full = { ok: false, index: 0, total: 10 };
    // The first bucket (four) leaves at 65 minutes, the second at 75.
    expect(await store.reserve([hour(key('a'), 3)], START + 20 * MINUTE, true)).toEqual({
      ...full,
      waitMs: 45 * MINUTE,
    });
    expect(await store.reserve([hour(key('a'), 5)], START + 20 * MINUTE, true)).toEqual({
      ...full,
      waitMs: 55 * MINUTE,
    });
    expect(await store.reserve([hour(key('a'), 11)], START + 20 * MINUTE, true)).toEqual({ ...full, waitMs: null });
    expect(await store.reserve([hour(key('a'), 3)], START + 65 * MINUTE, true)).toEqual({ ok: true, totals: [9] });
  });

  it('counts all or nothing', async () => {
    const store = make();
    const counts = [hour(key('b'), 6), hour(key('c'), 6, 5)];
    expect(await store.reserve(counts, START, true)).toMatchObject({ ok: false, index: 1, total: 0 });
    expect(await store.reserve([hour(key('b'), 0)], START, false)).toEqual({ ok: true, totals: [0] });
  });

  it('tells without counting', async () => {
    const store = make();
    expect(await store.reserve([hour(key('d'), 6)], START, false)).toEqual({ ok: true, totals: [6] });
    expect(await store.reserve([hour(key('d'), 6)], START, false)).toEqual({ ok: true, totals: [6] });
  });

  it('knows no limit where there is none', async () => {
    const store = make();
    expect(await store.reserve([hour(key('e'), 1_000_000, null)], START, true)).toEqual({
      ok: true,
      totals: [1_000_000],
    });
    expect([...(await store.buckets(hour(key('e'), 0), START))]).toEqual([[START / (5 * MINUTE), 1_000_000]]);
  });

  it('notes each thing once, and forgets it', async () => {
    const store = make();
    const now = Date.now();
    await store.note(key('f'), 'x', MINUTE, now);
    await store.note(key('f'), 'x', MINUTE, now + 10);
    await store.note(key('f'), 'y', MINUTE, now + 20);
    expect(await store.noted([key('f'), key('none')], MINUTE, now + 30)).toEqual([
      { count: 2, oldest: now },
      { count: 0, oldest: now + 30 },
    ]);
    expect(await store.noted([key('f')], MINUTE, now + MINUTE + 5)).toEqual([{ count: 1, oldest: now + 20 }]);
  });

  it('keeps the last verdicts', async () => {
    const store = make();
    for (const spam of [true, true, false]) await store.verdict(key('g'), spam, 3);
    expect(await store.verdict(key('g'), false, 3)).toEqual({ spam: 1, of: 3 });
    await store.remove(key('g'));
    expect(await store.verdict(key('g'), false, 3)).toEqual({ spam: 0, of: 1 });
  });

  it('keeps values for their time', async () => {
    const store = make();
    await store.set(key('h'), 'v', 60);
    expect(await store.get([key('h'), key('none')])).toEqual(['v', null]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await store.get([key('h')])).toEqual([null]);
  });

  it('never lets concurrent messages pass the limit together', async () => {
    const store = make();
    const results = await Promise.all(
      Array.from({ length: 50 }, () => store.reserve([hour(key('i'), 1)], START, true)),
    );
    expect(results.filter(({ ok }) => ok)).toHaveLength(10);
  });
});

it('Redis counts exactly as the process does', async () => {
  const step = fc.record({
    key: fc.constantFrom('a', 'b'),
    amount: fc.integer({ min: 0, max: 7 }),
    limit: fc.option(fc.integer({ min: 0, max: 12 })),
    later: fc.integer({ min: 0, max: 20 * MINUTE }),
    commit: fc.boolean(),
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      run += 1;
      const [own, shared] = [processStore(), redisStore(redis)];
      let now = START;
      for (const { key, amount, limit, later, commit } of steps) {
        now += later;
        const counts = [hour(`${run}/${key}`, amount, limit), { ...hour(`${run}/c`, amount, 40), bucketMs: MINUTE }];
        expect(await shared.reserve(counts, now, commit)).toEqual(await own.reserve(counts, now, commit));
      }
    }),
    { numRuns: 100 },
  );
});

it('without Redis each pod counts for itself, and asks it again later', async () => {
  const own = await startRedis();
  const client = new Redis({
    host: '127.0.0.1',
    port: own.port,
    commandTimeout: 1_000,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    retryStrategy: () => 100,
  });
  client.on('error', () => undefined);
  await new Promise((resolve) => client.once('ready', resolve));
  const changes: boolean[] = [];
  let now = START;
  const store = withFallback(redisStore(client), processStore(), {
    log: silentLog,
    onChange: (shared) => changes.push(shared),
    clock: () => now,
  });
  const take = () => store.reserve([hour('x', 6)], START, true);
  expect(await take()).toMatchObject({ ok: true });
  expect(await take()).toMatchObject({ ok: false });
  await own.freeze();
  expect(await take()).toMatchObject({ ok: true, totals: [6] });
  expect(await take()).toMatchObject({ ok: false });
  own.thaw();
  now += 5_000;
  expect(await take()).toMatchObject({ ok: false, total: 6 });
  expect(changes).toEqual([false, true]);
  client.disconnect();
  await own.stop();
});

it('a Redis that was restarted, and has forgotten its scripts, is asked again', async () => {
  let own = await startRedis();
  const client = new Redis({
    host: '127.0.0.1',
    port: own.port,
    commandTimeout: 10_000,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    retryStrategy: () => 50,
  });
  client.on('error', () => undefined);
  await new Promise((resolve) => client.once('ready', resolve));
  const store = redisStore(client);
  expect(await store.reserve([hour('x', 1)], START, true)).toMatchObject({ totals: [1] });
  const ready = new Promise((resolve) => client.once('close', () => client.once('ready', resolve)));
  await own.stop();
  own = await startRedis(own.port);
  await ready;
  expect(await store.reserve([hour('x', 1)], START, true)).toMatchObject({ totals: [1] });
  const [a, b] = await Promise.all([store.reserve([hour('x', 1)], START, true), store.get(['none'])]);
  expect([a, b]).toEqual([{ ok: true, totals: [2] }, [null]]);
  client.disconnect();
  await own.stop();
});

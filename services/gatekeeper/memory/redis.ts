import type { Redis } from 'ioredis';
import { type Store, VERDICTS_TTL_MS } from './store.js';
import type { Reservation } from './window.js';

/**
 * `waitFor` and counting of window.ts for several keys at once, all or nothing. A key is a hash: bucket number → count.
 * ARGV: now, commit (0 or 1), then amount, limit (-1: none), window, bucket (ms) for each key.
 * Answers 1 and the totals; or 0, the index, the total and the wait (-1: never).
 */
const RESERVE = `
local now, commit = tonumber(ARGV[1]), ARGV[2] == '1'
local totals = {}
for i, key in ipairs(KEYS) do
  local at = 4 * i - 2
  local amount, limit = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local window, size = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local oldest = math.floor((now - window) / size)
  local held, buckets, stale = 0, {}, {}
  local all = redis.call('HGETALL', key)
  for f = 1, #all, 2 do
    local bucket, count = tonumber(all[f]), tonumber(all[f + 1])
    if bucket >= oldest then
      held = held + count
      buckets[#buckets + 1] = { bucket, count }
    else
      stale[#stale + 1] = all[f]
    end
  end
  if #stale > 0 then redis.call('HDEL', key, unpack(stale)) end
  if limit >= 0 and held + amount > limit then
    local wait = -1
    if amount <= limit then
      table.sort(buckets, function(a, b) return a[1] < b[1] end)
      local left = held + amount - limit
      for _, bucket in ipairs(buckets) do
        left = left - bucket[2]
        if left <= 0 then
          wait = (bucket[1] + 1) * size + window - now
          break
        end
      end
    end
    return { 0, i - 1, held, wait }
  end
  totals[i] = held + amount
end
if commit then
  for i, key in ipairs(KEYS) do
    local at = 4 * i - 2
    local window, size = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    redis.call('HINCRBY', key, string.format('%d', math.floor(now / size)), ARGV[at + 1])
    redis.call('PEXPIRE', key, window + 2 * size)
  end
end
return { 1, unpack(totals) }
`;

/** ioredis knows a script by the name that it is defined under. */
interface WithScripts {
  gatekeeperReserve(keys: number, ...rest: (string | number)[]): Promise<number[]>;
}

/** All keys of ours begin so. */
const PREFIX = 'posthorn:gatekeeper:';

/** The memory that all gatekeepers share. Every method fails when Redis does. */
export function redisStore(redis: Redis): Store {
  redis.defineCommand('gatekeeperReserve', { lua: RESERVE });
  const scripts = redis as unknown as WithScripts;
  const named = (key: string): string => PREFIX + key;

  return {
    reserve: async (counts, now, commit) => {
      if (counts.length === 0) return { ok: true, totals: [] };
      const keys = counts.map(({ key }) => named(key));
      const limits = counts.flatMap((count) => [count.amount, count.limit ?? -1, count.windowMs, count.bucketMs]);
      return reservation(await scripts.gatekeeperReserve(keys.length, ...keys, now, commit ? 1 : 0, ...limits));
    },
    buckets: async (count, now) => {
      const oldest = Math.floor((now - count.windowMs) / count.bucketMs);
      const all = Object.entries(await redis.hgetall(named(count.key)));
      return new Map(all.map(([k, v]) => [Number(k), Number(v)] as const).filter(([k]) => k >= oldest));
    },
    note: async (key, what, windowMs, now) => {
      const name = named(key);
      await all(redis.multi().zadd(name, 'NX', now, what).pexpire(name, windowMs).exec());
    },
    noted: async (keys, windowMs, now) => {
      const pipeline = redis.multi();
      for (const name of keys.map(named)) {
        pipeline
          .zremrangebyscore(name, '-inf', now - windowMs)
          .zcard(name)
          .zrange(name, '0', '0', 'WITHSCORES');
      }
      const results = await all(pipeline.exec());
      return keys.map((_, index) => {
        const [, count, first] = results.slice(3 * index) as [unknown, number, string[]];
        return { count, oldest: Number(first[1] ?? now) };
      });
    },
    verdict: async (key, spam, keep) => {
      const name = named(key);
      const pipeline = redis
        .multi()
        .lpush(name, spam ? '1' : '0')
        .ltrim(name, 0, keep - 1);
      const results = await all(pipeline.pexpire(name, VERDICTS_TTL_MS).lrange(name, 0, -1).exec());
      const last = results[3] as string[];
      return { spam: last.filter((verdict) => verdict === '1').length, of: last.length };
    },
    set: async (key, value, ttlMs) => void (await redis.set(named(key), value, 'PX', Math.ceil(ttlMs))),
    get: (keys) => redis.mget(keys.map(named)),
    remove: async (key) => void (await redis.del(named(key))),
  };
}

function reservation([ok, ...rest]: number[]): Reservation {
  if (ok === 1) return { ok: true, totals: rest };
  const [index = 0, total = 0, wait = -1] = rest;
  return { ok: false, index, total, waitMs: wait < 0 ? null : wait };
}

/** Results of a transaction; the first error among them is thrown. */
async function all(transaction: Promise<[Error | null, unknown][] | null>): Promise<unknown[]> {
  const results = (await transaction) ?? [];
  const failed = results.find(([error]) => error !== null)?.[0];
  if (failed) throw failed;
  return results.map(([, value]) => value);
}

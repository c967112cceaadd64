import { Redis } from 'ioredis';
import type { CacheChanges, SigningCache } from './cache.js';

const KEYS = 'DKIM_KEYS';
const SELECTORS = 'DKIM_SELECTORS';
const LOADED = 'posthorn:dkim:loaded';

/** Who somebody is at Redis. */
export interface RedisUser {
  username: string;
  password: string;
}

/** How the operator reaches a MailSystem's Redis: mutual TLS, names checked, and who it is there. */
export interface RedisConnection extends RedisUser {
  host: string;
  port: number;
  tls: { ca: string; cert: string; key: string };
}

/** The signing cache in Redis. One connection, made at the first call; each call fails after 5 s. */
export function redisSigningCache({ host, port, tls, username, password }: RedisConnection): SigningCache {
  const redis = new Redis({
    host,
    port,
    tls: { ...tls, servername: host },
    username,
    password,
    lazyConnect: true,
    connectTimeout: 3_000,
    commandTimeout: 5_000,
    maxRetriesPerRequest: 1,
    retryStrategy: (times) => Math.min(times * 500, 5_000),
  });
  // Failures reach the caller through the commands; without a listener they would also be printed.
  redis.on('error', () => undefined);
  return {
    read: async () => {
      const [keys, selectors, loaded] = await Promise.all([
        redis.hgetall(KEYS),
        redis.hgetall(SELECTORS),
        redis.get(LOADED),
      ]);
      return { keys, selectors, loaded: loaded === '1' };
    },
    write: (changes) => write(redis, changes),
    close: () => redis.disconnect(),
  };
}

async function write(redis: Redis, changes: CacheChanges): Promise<void> {
  const transaction = redis.multi();
  if (Object.keys(changes.setKeys).length > 0) transaction.hset(KEYS, changes.setKeys);
  if (Object.keys(changes.setSelectors).length > 0) transaction.hset(SELECTORS, changes.setSelectors);
  if (changes.markLoaded) transaction.set(LOADED, '1');
  if (changes.removeSelectors.length > 0) transaction.hdel(SELECTORS, ...changes.removeSelectors);
  if (changes.removeKeys.length > 0) transaction.hdel(KEYS, ...changes.removeKeys);
  const results = (await transaction.exec()) ?? [];
  const failed = results.find(([error]) => error !== null)?.[0];
  if (failed) throw new Error(`write DKIM keys to Redis: ${failed.message}`);
}

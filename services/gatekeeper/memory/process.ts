import type { Store } from './store.js';
import { type Buckets, type Count, current, total, waitFor } from './window.js';

/** Most keys of each sort: some ten megabytes. The one that was used longest ago goes first. */
const MOST_KEYS = 50_000;

/** A map that forgets what was used longest ago. */
class Recent<V> {
  readonly #map = new Map<string, V>();

  get(key: string): V | undefined {
    const value = this.#map.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }

  set(key: string, value: V): void {
    this.#map.delete(key);
    this.#map.set(key, value);
    if (this.#map.size > MOST_KEYS) this.#map.delete(this.#map.keys().next().value as string);
  }

  delete(key: string): void {
    this.#map.delete(key);
  }
}

/** The memory of this process alone: for when Redis is away. */
export function processStore(clock: () => number = Date.now): Store {
  const windows = new Recent<Buckets>();
  const notes = new Recent<Map<string, number>>();
  const verdicts = new Recent<boolean[]>();
  const values = new Recent<{ value: string; until: number }>();
  const fresh = (key: string, windowMs: number, now: number) =>
    new Map([...(notes.get(key) ?? [])].filter(([, at]) => at > now - windowMs));
  const held = (count: Count, now: number) => current(windows.get(count.key) ?? new Map(), count, now);

  return {
    reserve: async (counts, now, commit) => {
      const held_ = counts.map((count) => held(count, now));
      const waits = counts.map((count, index) => waitFor(held_[index] as Buckets, count, now));
      const index = waits.findIndex((wait) => wait !== 0);
      if (index !== -1) {
        return { ok: false, index, total: total(held_[index] as Buckets), waitMs: waits[index] as number | null };
      }
      const totals = counts.map((count, at) => {
        const buckets = held_[at] as Map<number, number>;
        const bucket = Math.floor(now / count.bucketMs);
        buckets.set(bucket, (buckets.get(bucket) ?? 0) + count.amount);
        if (commit) windows.set(count.key, buckets);
        return total(buckets);
      });
      return { ok: true, totals };
    },
    buckets: async (count, now) => held({ ...count, amount: 0, limit: null }, now),
    note: async (key, what, windowMs, now) => {
      const noted = fresh(key, windowMs, now);
      if (!noted.has(what)) noted.set(what, now);
      notes.set(key, noted);
    },
    noted: async (keys, windowMs, now) =>
      keys.map((key) => {
        const times = [...fresh(key, windowMs, now).values()];
        return { count: times.length, oldest: times.length === 0 ? now : Math.min(...times) };
      }),
    verdict: async (key, spam, keep) => {
      const last = [spam, ...(verdicts.get(key) ?? [])].slice(0, keep);
      verdicts.set(key, last);
      return { spam: last.filter(Boolean).length, of: last.length };
    },
    set: async (key, value, ttlMs) => values.set(key, { value, until: clock() + ttlMs }),
    get: async (keys) =>
      keys.map((key) => {
        const entry = values.get(key);
        return entry !== undefined && entry.until > clock() ? entry.value : null;
      }),
    remove: async (key) => {
      windows.delete(key);
      notes.delete(key);
      verdicts.delete(key);
      values.delete(key);
    },
  };
}

/**
 * Counting over a sliding window, in buckets: an hour is twelve buckets of five minutes. What was counted leaves the
 * window with its whole bucket, so a limit holds for every hour and a little more, never for less. Pure.
 */

/** One thing to be counted. */
export interface Count {
  readonly key: string;
  readonly amount: number;
  /** Most that the window may hold; null: any number. */
  readonly limit: number | null;
  readonly windowMs: number;
  readonly bucketMs: number;
}

/** Bucket number → what was counted in it. */
export type Buckets = ReadonlyMap<number, number>;

/** Whether all counts found room; if not, which was the first that did not, and how long until it does. */
export type Reservation =
  | { readonly ok: true; readonly totals: readonly number[] }
  /** waitMs null: the amount alone is above the limit. */
  | { readonly ok: false; readonly index: number; readonly total: number; readonly waitMs: number | null };

/** Buckets that are still in the window. */
export function current(buckets: Buckets, count: Count, now: number): Map<number, number> {
  const oldest = Math.floor((now - count.windowMs) / count.bucketMs);
  return new Map([...buckets].filter(([bucket]) => bucket >= oldest));
}

/** What the window holds. */
export function total(buckets: Buckets): number {
  return [...buckets.values()].reduce((sum, value) => sum + value, 0);
}

/** Time until the amount fits; 0: now, null: never. */
export function waitFor(buckets: Buckets, count: Count, now: number): number | null {
  const limit = count.limit;
  if (limit === null) return 0;
  if (count.amount > limit) return null;
  let left = total(buckets) + count.amount - limit;
  if (left <= 0) return 0;
  for (const [bucket, value] of [...buckets].sort(([a], [b]) => a - b)) {
    left -= value;
    if (left <= 0) return (bucket + 1) * count.bucketMs + count.windowMs - now;
  }
  return 0;
}

/** How many reports a sender elsewhere, whose mail was forwarded, may get by way of us. */
import type { Store } from '../memory/store.js';

export interface ReportRules {
  /** Messages in a day. */
  readonly most: number;
}

const HOUR = 3_600_000;
const DAILY = { windowMs: 24 * HOUR, bucketMs: HOUR };

/** Counts one more for the sender that an SRS address stands for; false when there have been enough. */
export type CountReport = (sender: string) => Promise<boolean>;

/**
 * An SRS address is readable to whoever gets the forwarded mail, and good for weeks: without a limit it would be a way to
 * flood a stranger in our name. Counted by whom it stands for, so that another day's address, or other capitals, are no
 * other way. While Redis is away each pod counts for itself: the signature was checked, and a bounce lost is worse.
 */
export function countReports(store: Store, { most }: ReportRules, clock: () => number = Date.now): CountReport {
  return async (sender) => {
    const key = `reports:${sender.toLowerCase()}`;
    return (await store.reserve([{ key, amount: 1, limit: most, ...DAILY }], clock(), true)).ok;
  };
}

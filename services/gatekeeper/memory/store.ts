import type { Count, Reservation } from './window.js';

/** The last verdicts on what an account sent. */
export interface Verdicts {
  readonly spam: number;
  readonly of: number;
}

/** How many different things were noted within the window, and when the oldest was (ms since the epoch). */
export interface Noted {
  readonly count: number;
  readonly oldest: number;
}

/**
 * What the gatekeepers of a system remember together: how much was sent, which passwords were wrong, who is paused.
 * Losing it loses nothing but counts.
 */
export interface Store {
  /** Counts all amounts, if each finds room; else none. `commit` false: only tells. */
  reserve(counts: readonly Count[], now: number, commit: boolean): Promise<Reservation>;
  /** What is in each bucket of a key. */
  buckets(count: Omit<Count, 'amount' | 'limit'>, now: number): Promise<Map<number, number>>;
  /** Notes something, once however often. */
  note(key: string, what: string, windowMs: number, now: number): Promise<void>;
  noted(keys: readonly string[], windowMs: number, now: number): Promise<Noted[]>;
  /** Adds a verdict and says what the last `keep` were. */
  verdict(key: string, spam: boolean, keep: number): Promise<Verdicts>;
  set(key: string, value: string, ttlMs: number): Promise<void>;
  get(keys: readonly string[]): Promise<(string | null)[]>;
  remove(key: string): Promise<void>;
}

/** A verdict is forgotten when none has followed it for so long. */
export const VERDICTS_TTL_MS = 24 * 3_600_000;

import { expect, it } from 'vitest';
import { createAttempts } from './attempts.js';
import type { Delivery } from './delivery.js';

const now = Date.parse('2026-11-24T13:00:00Z');
const delivery = (id: string, age: number): Delivery => ({
  id,
  token: 'u.0',
  sender: '',
  message: Buffer.alloc(0),
  queuedAt: new Date(now - age),
});

it('counts from one for what is new, and only what has begun', () => {
  const attempts = createAttempts(() => now);
  const fresh = delivery('a', 1_000);
  expect([attempts.next(fresh), attempts.next(fresh)]).toEqual([1, 1]);
  attempts.begun(fresh);
  expect(attempts.next(fresh)).toBe(2);
  // Seen young, tried old: still known never to have begun.
  const waited = delivery('b', 1_000);
  attempts.next(waited);
  expect(attempts.next({ ...waited, queuedAt: new Date(now - 3_600_000) })).toBe(1);
});

it('takes what is old and unknown for tried: another courier may have', () => {
  expect(createAttempts(() => now).next(delivery('a', 60_000))).toBe(2);
});

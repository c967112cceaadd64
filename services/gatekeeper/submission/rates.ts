/** How many recipients an account, and a domain, may write to. Pure. */
import type { Count, Reservation } from '../memory/window.js';
import type { Action } from '../policy/protocol.js';
import { duration, type Sending } from './account.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** An hour in buckets of five minutes, a day in buckets of an hour. */
const HOURLY = { windowMs: HOUR, bucketMs: 5 * MINUTE };
const DAILY = { windowMs: DAY, bucketMs: HOUR };

/** Recipients in each day of the last two weeks: what is usual for an account. */
export const USUAL = { windowMs: 14 * DAY, bucketMs: DAY };
export const usualKey = (login: string): string => `usual:${login}`;

interface Limit extends Count {
  /** For the reply. */
  readonly whose: string;
  readonly per: string;
}

/** What so many recipients are counted against. */
export function limitsFor(account: Sending, recipients: number): Limit[] {
  const { username, domain } = account;
  const mine = { whose: 'this account', amount: recipients };
  return [
    { ...mine, key: `rate:${username}:hour`, limit: account.hour_limit, per: 'an hour', ...HOURLY },
    { ...mine, key: `rate:${username}:day`, limit: account.day_limit, per: 'a day', ...DAILY },
    {
      whose: `all of ${domain}`,
      amount: recipients,
      key: `rate:@${domain}:hour`,
      limit: account.domain_hour_limit,
      per: 'an hour',
      ...HOURLY,
    },
  ];
}

/** Undefined: there was room. */
export function judgeReservation(limits: readonly Limit[], reservation: Reservation): Action | undefined {
  if (reservation.ok) return undefined;
  const limit = limits[reservation.index];
  const rule = `${limit?.whose} may write to ${limit?.limit} recipients ${limit?.per}`;
  if (reservation.waitMs !== null) {
    return `450 4.7.1 ${rule}, and has to ${reservation.total}; try again in ${duration(reservation.waitMs)}`;
  }
  if (limit?.limit === 0) return `554 5.7.1 ${rule}`;
  return `554 5.5.3 ${rule}, and this message has more; send it to fewer at a time`;
}

/** What an account may do when it sends, and the words for what it may not. Pure. */
import type { Action } from '../policy/protocol.js';

/** A row of directory_v1.sending(). Limits are numbers of recipients; null: any number. */
export interface Sending {
  readonly username: string;
  readonly domain: string;
  readonly state: string;
  readonly may_send: boolean;
  readonly hour_limit: number | null;
  readonly day_limit: number | null;
  readonly domain_hour_limit: number | null;
}

/** Why an account is paused, and until when (ms since the epoch). */
export interface Pause {
  readonly kind: string;
  readonly until: number;
}

/** Undefined: it may send. 421 ends the session: what follows has to log in again, and is told why there. */
export function judgeAccount(
  account: Sending | undefined,
  pause: Pause | undefined,
  postmaster: string,
): Action | undefined {
  if (!account) return '421 4.7.0 this account is not there any more; the session ends';
  if (account.state === 'Throttled') return pausedReply(pause, postmaster);
  if (account.may_send) return undefined;
  return REFUSALS[account.state]?.(postmaster) ?? `554 5.7.1 this account may not send; ask ${postmaster}`;
}

const REFUSALS: Readonly<Record<string, (postmaster: string) => Action>> = {
  SendBlocked: (postmaster) => `554 5.7.1 sending is blocked for this account; ask ${postmaster}`,
  ReceiveOnly: (postmaster) => `554 5.7.1 this account can receive mail and not send any; ask ${postmaster}`,
  LoginOff: () => '421 4.7.0 this account cannot log in at present; the session ends',
  Suspended: () => '421 4.7.0 this account is suspended; the session ends',
};

const WHY: Readonly<Record<string, string>> = {
  Spam: 'several of its last messages look like spam',
  UnknownRecipients: 'many of its recipients do not exist',
  Surge: 'it writes to far more people than usual',
};

/** 450: the client keeps the message and tries again by itself. */
export function pausedReply(pause: Pause | undefined, postmaster: string): Action {
  const why = WHY[pause?.kind ?? ''] ?? 'it sent what looks like abuse';
  const until = pause === undefined ? 'for a time' : `until ${clockTime(pause.until)}`;
  return `450 4.7.1 sending is paused ${until}, because ${why}; if that is wrong, ask ${postmaster}`;
}

function clockTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(11, 16)} UTC`;
}

/** "12 minutes": rounded up, so that who waits so long is not refused again. */
export function duration(ms: number): string {
  const minutes = Math.max(1, Math.ceil(ms / 60_000));
  if (minutes === 1) return '1 minute';
  if (minutes < 120) return `${minutes} minutes`;
  return `${Math.ceil(minutes / 60)} hours`;
}

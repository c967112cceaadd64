/** `POST /v1/auth` and `/v1/auth/result`: who may log in, and what the password is compared with. */

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { limiter } from '../../../operator/directory/password.js';
import type { Log } from '../../../operator/runtime/log.js';
import type { DirectoryPool } from '../../lib/directory.js';
import { BadRequest } from '../../lib/http.js';
import { recent } from '../../lib/recent.js';
import { type Candidate, type Credentials, candidatesFor, mayLogin } from './credentials.js';
import type { Fingerprint } from './fingerprint.js';
import type { Guard } from './guard.js';
import { fits, isComparable } from './hashes.js';
import type { LdapCheck } from './ldap.js';
import type { Remembered } from './remembered.js';
import { askWithMoment, type Moment, type Revocations } from './revocations.js';

const attempt = z.object({
  login: z.string().max(512),
  protocol: z.string().max(32),
  ip: z.string().max(64).default(''),
  password: z.string().max(1024).default(''),
});

const outcome = z.object({
  login: z.string().max(512),
  protocol: z.string().max(32),
  ip: z.string().max(64).default(''),
  ok: z.boolean(),
  credential: z.string().max(256).optional(),
  /** What `/v1/auth` gave. */
  ticket: z.string().max(64).optional(),
});

type AttemptBody = z.infer<typeof attempt> & { readonly moment?: Moment };

/** A log-in whose hashes are being tried. */
interface Ticket {
  readonly username: string;
  readonly moment: Moment | undefined;
  /** Stands for the password, if LDAP had a hash for it. */
  readonly key?: string;
}

interface Place {
  readonly username: string;
  readonly host: string;
  readonly port: number;
  readonly sieve_port: number;
  /** Since when, in a shard's own count, `host` has been its primary: a store refuses a session for another epoch. */
  readonly epoch: number;
}

/**
 * `verify`: try the hashes, then tell the result with the ticket. `ok`: the password is right. `unknown`, `denied`:
 * refuse like a wrong password. `limited`, `unavailable`: a temporary failure.
 */
export type LoginAnswer =
  | ({ readonly result: 'verify'; readonly hashes: readonly Candidate[]; readonly ticket: string } & Place)
  | ({ readonly result: 'ok'; readonly credential: string } & Place)
  | { readonly result: 'unknown' | 'denied' | 'unavailable' | 'limited' };

export interface LoginOptions {
  readonly directory: DirectoryPool;
  readonly guard: Guard;
  readonly ldap?: LdapCheck | undefined;
  readonly remembered: Remembered;
  /** For counting wrong passwords. */
  readonly fingerprint: () => Fingerprint;
  readonly log: Log;
  /** Where sessions are asked about later: hears of each log-in that succeeded. */
  readonly sessions?: {
    readonly revocations: Revocations;
    readonly loggedIn: (username: string, ip: string, moment: Moment) => void;
  };
  readonly onAnswer?: (protocol: string, result: string) => void;
}

export interface Login {
  auth(body: unknown): Promise<LoginAnswer>;
  result(body: unknown): Promise<Record<string, never>>;
}

/** A ticket is good for as long as trying hashes may take. */
const TICKET_MS = 60_000;
const ARGON2_AT_A_TIME = 2;

export function createLogin(options: LoginOptions): Login {
  const tickets = recent<Ticket>(10_000, TICKET_MS);
  const desk: Desk = { ...options, tickets, argon2: limiter(ARGON2_AT_A_TIME) };
  return {
    auth: async (body) => {
      const given = parse(attempt, body);
      const answer = await answerTo(desk, { ...given, login: given.login.trim().toLowerCase() });
      options.onAnswer?.(given.protocol, answer.result);
      return answer;
    },
    result: async (body) => {
      const given = parse(outcome, body);
      await takeResult(desk, { ...given, login: given.login.trim().toLowerCase() });
      options.onAnswer?.(given.protocol, given.ok ? 'verified' : 'wrong');
      return {};
    },
  };
}

interface Desk extends LoginOptions {
  readonly tickets: ReturnType<typeof recent<Ticket>>;
  readonly argon2: ReturnType<typeof limiter>;
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw new BadRequest('a field is missing, too long, or of the wrong type');
  return parsed.data;
}

async function answerTo(desk: Desk, given: AttemptBody): Promise<LoginAnswer> {
  const wait = await desk.guard.wait(given);
  if (wait > 0) {
    desk.log.info({ login: given.login, ip: given.ip, seconds: Math.ceil(wait / 1000) }, 'too many wrong passwords');
    return { result: 'limited' };
  }
  const found = await credentialsOf(desk, given);
  if (found === 'unavailable') return { result: 'unavailable' };
  return answerFor(desk, found.row, { ...given, ...(found.moment ? { moment: found.moment } : {}) });
}

async function answerFor(desk: Desk, row: Credentials | undefined, given: AttemptBody): Promise<LoginAnswer> {
  if (row === undefined) {
    await desk.guard.failed(given, desk.fingerprint()(given.login, given.password), false);
    return { result: 'unknown' };
  }
  if (!mayLogin(row, given.protocol)) {
    desk.remembered.forget(row.username);
    desk.log.info({ login: row.username, protocol: given.protocol, state: row.state }, 'the state forbids it');
    return { result: 'denied' };
  }
  return row.ldap !== null && desk.ldap !== undefined
    ? byLdap(desk, desk.ldap, row, given)
    : byHashes(desk, row, given, candidatesFor(row, given.protocol));
}

const CREDENTIALS = { doing: 'look up credentials', sql: 'SELECT * FROM directory_v1.credentials($1)' };

async function credentialsOf(
  { directory, sessions, log }: Desk,
  { login, protocol }: AttemptBody,
): Promise<{ row: Credentials | undefined; moment?: Moment } | 'unavailable'> {
  try {
    if (sessions && protocol === 'submission') {
      return await askWithMoment<Credentials>(directory, sessions.revocations, login, CREDENTIALS);
    }
    const [row] = await directory.ask<Credentials>({ ...CREDENTIALS, values: [login] });
    return { row };
  } catch (error) {
    log.warn({ err: error }, 'log-ins fail: the directory gave no answer');
    return 'unavailable';
  }
}

const placeOf = ({ username, host, imap_port, sieve_port, epoch }: Credentials): Place => ({
  username,
  host,
  port: imap_port,
  sieve_port,
  epoch: Number(epoch),
});

/** Each attempt has a ticket of its own; it begins with what tells the same wrong password from another. */
async function byHashes(
  desk: Desk,
  row: Credentials,
  given: AttemptBody,
  hashes: readonly Candidate[],
  key?: string,
): Promise<LoginAnswer> {
  const fingerprint = desk.fingerprint()(given.login, given.password);
  if (hashes.length === 0) return wrong(desk, given, fingerprint);
  const ticket = fingerprint + randomBytes(9).toString('base64url');
  desk.tickets.set(ticket, { username: row.username, moment: given.moment, ...(key === undefined ? {} : { key }) });
  return { result: 'verify', ...placeOf(row), hashes, ticket };
}

async function wrong(desk: Desk, given: AttemptBody, fingerprint: string): Promise<LoginAnswer> {
  await desk.guard.failed(given, fingerprint, true);
  return { result: 'denied' };
}

async function right(desk: Desk, row: Credentials, given: AttemptBody, credential: string): Promise<LoginAnswer> {
  if (given.moment) desk.sessions?.loggedIn(row.username, given.ip, given.moment);
  await desk.guard.succeeded(given);
  return { result: 'ok', ...placeOf(row), credential };
}

/** What was right a moment ago; app passwords (they must not cost a failed bind, which some servers count); LDAP. */
async function byLdap(desk: Desk, ldap: LdapCheck, row: Credentials, given: AttemptBody): Promise<LoginAnswer> {
  const { password } = given;
  if (password === '') return { result: 'denied' };
  const remembered = `${row.mailbox} ${row.ldap}`;
  if (desk.remembered.has(row.username, remembered, password)) return right(desk, row, given, 'ldap');
  const candidates = candidatesFor(row, given.protocol);
  const matched = await desk.argon2(() => matching(candidates, password));
  if (matched !== undefined) return byAppPassword(desk, ldap, row, given, matched);
  const answer = await ldap(row.ldap ?? '', password);
  const others = candidates.filter(({ hash }) => !isComparable(hash));
  switch (answer.outcome) {
    case 'right':
      desk.remembered.add(row.username, remembered, password);
      return right(desk, row, given, 'ldap');
    case 'unavailable':
      return { result: 'unavailable' };
    case 'hashes':
      return byHashes(
        desk,
        row,
        given,
        [...others, ...answer.hashes.map((hash) => ({ id: 'ldap', hash }))],
        desk.remembered.keyOf(remembered, password),
      );
    case 'denied':
      return byHashes(desk, row, given, ldap.judgesStatus ? [] : others);
    default:
      return byHashes(desk, row, given, others);
  }
}

/** Where LDAP says which accounts are active, it says so of those who log in without its password too. */
async function byAppPassword(
  desk: Desk,
  ldap: LdapCheck,
  row: Credentials,
  given: AttemptBody,
  credential: string,
): Promise<LoginAnswer> {
  const active = `${row.mailbox} ${row.ldap} is active`;
  if (ldap.judgesStatus && !desk.remembered.has(row.username, active, '')) {
    const { outcome } = await ldap.status(row.ldap ?? '');
    if (outcome === 'unavailable') return { result: 'unavailable' };
    if (outcome !== 'active') {
      desk.log.info({ login: row.username, credential }, 'LDAP says that the account is not active');
      return { result: 'denied' };
    }
    desk.remembered.add(row.username, active, '');
  }
  return right(desk, row, given, credential);
}

/** The credential whose hash fits, of those that can be compared here. */
async function matching(candidates: readonly Candidate[], password: string): Promise<string | undefined> {
  for (const { id, hash } of candidates) {
    if (await fits(hash, password)) return id;
  }
  return undefined;
}

async function takeResult(desk: Desk, given: z.infer<typeof outcome>): Promise<void> {
  const ticket = given.ticket ?? '';
  if (!given.ok) {
    // Without a ticket each failure counts.
    const isOne = /^[\w-]{8,64}$/.test(ticket);
    await desk.guard.failed(given, isOne ? ticket.slice(0, 8) : `${Date.now()}${Math.random()}`, true);
    return;
  }
  const found = desk.tickets.get(ticket);
  desk.tickets.delete(ticket);
  if (found?.key !== undefined && given.credential === 'ldap') desk.remembered.addKey(found.username, found.key);
  if (found?.moment) desk.sessions?.loggedIn(found.username, given.ip, found.moment);
  await desk.guard.succeeded(given);
}

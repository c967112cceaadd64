/** Submission: what is asked of the policy at MAIL, RCPT and the end of a message, and of the message itself. */
import type { Log } from '../../../operator/runtime/log.js';
import type { DirectoryPool } from '../../lib/directory.js';
import { recent } from '../../lib/recent.js';
import type { Store } from '../memory/store.js';
import type { Action, PolicyRequest } from '../policy/protocol.js';
import { judgeAccount, pausedReply, type Sending } from './account.js';
import { type Accounts, createAccounts } from './accounts.js';
import { type Conduct, type ConductLimits, judgeConduct } from './conduct.js';
import { createPauses, type Pauses } from './pauses.js';
import { judgeReservation, limitsFor, USUAL, usualKey } from './rates.js';
import type { Sessions } from './sessions.js';

export interface SubmissionOptions {
  readonly directory: DirectoryPool;
  readonly store: Store;
  readonly log: Log;
  /** Whom people are told to ask. */
  readonly postmaster: string;
  readonly conduct: ConductLimits;
  readonly clock?: () => number;
  readonly onIncident?: (kind: string) => void;
}

/** What the parts of submission share. */
export interface Desk {
  readonly accounts: Accounts;
  readonly store: Store;
  readonly log: Log;
  readonly postmaster: string;
  /** The account, or what to say to whoever may not send now. `fresh`: as the directory has it this moment. */
  admit(login: string, fresh: boolean): Promise<{ account: Sending } | { refusal: Action }>;
  /** Pauses the account if it misbehaves, and says so. */
  watch(login: string, conduct: Conduct): Promise<Action | undefined>;
  readonly conduct: ConductLimits;
  readonly clock: () => number;
}

export function createDesk(options: SubmissionOptions): Desk {
  const { directory, store, log, postmaster, conduct: limits, clock = Date.now } = options;
  const accounts = createAccounts(directory, clock);
  const onIncident = options.onIncident ?? (() => undefined);
  const pauses = createPauses({ store, directory, log, pauseMinutes: limits.pauseMinutes, clock, onIncident });
  return {
    accounts,
    store,
    log,
    postmaster,
    conduct: limits,
    clock,
    admit: async (login, fresh) => {
      const [account, pause] = await Promise.all([accounts.sending(login, fresh), pauses.current(login)]);
      const refusal = judgeAccount(account, pause, postmaster);
      if (refusal !== undefined) return { refusal };
      if (pause && !pause.reported) return { refusal: await insist(pauses, login, pause, postmaster) };
      return { account: account as Sending };
    },
    watch: async (login, facts) => {
      const incident = judgeConduct(facts, limits);
      if (!incident) return undefined;
      const pause = await pauses.begin(login, incident);
      accounts.forget(login);
      return pausedReply(pause, postmaster);
    },
  };
}

/** The directory doesn't know of a pause yet: it holds all the same, and is reported again. */
async function insist(
  pauses: Pauses,
  login: string,
  pause: Parameters<Pauses['report']>[1],
  postmaster: string,
): Promise<Action> {
  await pauses.report(login, pause);
  return pausedReply(pause, postmaster);
}

const HOUR = { windowMs: 3_600_000, bucketMs: 300_000 };

/** Recipients that were taken so far, by transaction: Postfix tells their number only at the end. */
const MOST_TRANSACTIONS = 20_000;
const TRANSACTION_MS = 3_600_000;

/** The account, if it may send, and over this session. */
type Admit = (login: string, fresh: boolean) => ReturnType<Desk['admit']>;

function admitOver(desk: Desk, sessions: Sessions, request: PolicyRequest): Admit {
  return async (login, fresh) => {
    const admitted = await desk.admit(login, fresh);
    if ('refusal' in admitted) return admitted;
    const refusal = sessions.refusal(admitted.account.username, request);
    if (refusal === undefined) return admitted;
    desk.log.info(
      { login, client: request.get('client_address') },
      'a session is older than what was revoked: it ends',
    );
    return { refusal };
  };
}

const GREETINGS = new Set(['HELO', 'EHLO']);

/** Decides about requests of submission's smtpd. */
export function submissionPolicy(desk: Desk, sessions: Sessions): (request: PolicyRequest) => Promise<Action> {
  const taken = recent<number>(MOST_TRANSACTIONS, TRANSACTION_MS);
  const stages: Record<string, (login: string, request: PolicyRequest, admit: Admit) => Promise<Action>> = {
    MAIL: async (login, _, admit) => {
      const admitted = await admit(login, true);
      return 'refusal' in admitted ? admitted.refusal : 'DUNNO';
    },
    RCPT: async (login, request, admit) => {
      const instance = request.get('instance') ?? '';
      const before = taken.get(instance) ?? 0;
      const action = await atRecipient(desk, await admit(login, false), request.get('recipient') ?? '', before);
      if (action === 'DUNNO') taken.set(instance, before + 1);
      return action;
    },
    'END-OF-MESSAGE': async (login, request, admit) =>
      atEnd(desk, await admit(login, false), Number(request.get('recipient_count') ?? '1') || 1),
  };
  return async (request) => {
    const state = request.get('protocol_state') ?? '';
    if (GREETINGS.has(state)) sessions.greeted(request);
    const login = (request.get('sasl_username') ?? '').toLowerCase();
    // Not logged in: Postfix refuses that by itself, and says so better.
    if (login === '') return 'DUNNO';
    return (await stages[state]?.(login, request, admitOver(desk, sessions, request))) ?? 'DUNNO';
  };
}

type Admitted = Awaited<ReturnType<Admit>>;

async function atRecipient(desk: Desk, admitted: Admitted, recipient: string, before: number): Promise<Action> {
  if ('refusal' in admitted) return admitted.refusal;
  const { account } = admitted;
  const limits = limitsFor(account, before + 1);
  const [verdict, room] = await Promise.all([
    desk.accounts.recipientVerdict(recipient),
    desk.store.reserve(limits, desk.clock(), false),
  ]);
  if (verdict === null) return '501 5.1.3 this is no address: write local@domain';
  if (verdict.startsWith('550 5.1.1')) return (await countUnknown(desk, account)) ?? verdict;
  if (verdict !== 'DUNNO') return verdict;
  return judgeReservation(limits, room) ?? 'DUNNO';
}

const unlimited = (key: string, amount: number) => ({ key, amount, limit: null, ...HOUR });

async function countUnknown(desk: Desk, { username }: Sending): Promise<Action | undefined> {
  const counts = [unlimited(`unknown:${username}`, 1), unlimited(`tried:${username}`, 1)];
  const counted = await desk.store.reserve(counts, desk.clock(), true);
  if (!counted.ok) return undefined;
  const [unknown = 0, tried = 0] = counted.totals;
  const refusal = await desk.watch(username, { unknown: { unknown, tried } });
  if (refusal !== undefined) await desk.store.remove(`unknown:${username}`);
  return refusal;
}

/** All recipients are counted here, at once or not at all: sessions side by side can't pass a limit together. */
async function atEnd(desk: Desk, admitted: Admitted, recipients: number): Promise<Action> {
  if ('refusal' in admitted) return admitted.refusal;
  const { account } = admitted;
  const limits = limitsFor(account, recipients);
  const refusal = judgeReservation(limits, await desk.store.reserve(limits, desk.clock(), true));
  if (refusal !== undefined) return refusal;
  return (await countUsual(desk, account, recipients)) ?? 'DUNNO';
}

async function countUsual(desk: Desk, { username }: Sending, recipients: number): Promise<Action | undefined> {
  const now = desk.clock();
  const usual = { key: usualKey(username), amount: recipients, limit: null, ...USUAL };
  await desk.store.reserve([usual, unlimited(`tried:${username}`, recipients)], now, true);
  const days = await desk.store.buckets(usual, now);
  const day = Math.floor(now / USUAL.bucketMs);
  const today = days.get(day) ?? 0;
  if (today <= desk.conduct.surgeAbove) return undefined;
  // Once a day: whoever goes on after the pause has been seen by people.
  const [seen] = await desk.store.get([`surge:${username}`]);
  if (seen === String(day)) return undefined;
  days.delete(day);
  const refusal = await desk.watch(username, { usual: { today, earlier: [...days.values()] } });
  if (refusal !== undefined) await desk.store.set(`surge:${username}`, String(day), USUAL.bucketMs);
  return refusal;
}

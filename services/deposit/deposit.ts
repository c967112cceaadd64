/**
 * Where "250" is earned: a message is acknowledged when the primary has stored it and a peer's journal has it too.
 *
 * There is no queue here. Whatever is not sure is 451, and the mx, which has the message, tries again; what the primary has
 * already is not given to it a second time (memory, and beyond its horizon a search for the delivery's id).
 */
import { createHash } from 'node:crypto';
import type { Log } from '../../operator/runtime/log.js';
import type { AgentState } from '../agent/ports.js';
import { receivedAt, withDeliveryId } from '../lib/header.js';
import type { LmtpClient, Outcome } from '../lib/lmtp/client.js';
import { isPositive, type Reply, reply } from '../lib/lmtp/reply.js';
import type { Transaction } from '../lib/lmtp/transaction.js';
import type { LocalAgent } from './agent.js';
import type { Journal } from './journal.js';
import { mainAddress } from './mailboxes.js';
import type { Memory } from './memory.js';

export interface DepositOptions {
  /** What the agent said last; undefined: it doesn't answer. */
  readonly state: () => AgentState | undefined;
  readonly agent: Pick<LocalAgent, 'search' | 'gap' | 'note'>;
  /** The primary: Dovecot's LMTP beside us. */
  readonly primary: Pick<LmtpClient, 'deliver'>;
  readonly journal: Journal;
  readonly memory: Memory;
  /** UUID of the mailbox of an address; undefined when the directory knows none. Rejects when it can't be asked. */
  readonly mailboxOf: (address: string) => Promise<string | undefined>;
  readonly onResult?: (result: Result) => void;
  readonly log: Log;
  /** How long no peer must have taken anything before one copy is enough (`withoutReplica: Degrade`). Default 10 s. */
  readonly degradeAfterMs?: number;
  /** For one message, all told. Below the minute that is promised to the mx. Default 50 s. */
  readonly timeoutMs?: number;
}

/** How a recipient was answered, for metrics. `degraded`: acknowledged with one copy, as declared for want of a replica. */
export type Result = 'replicated' | 'primary-only' | 'degraded' | 'refused' | 'deferred';

const NOT_PRIMARY = reply(451, '4.3.2 this store does not take mail now');
const NO_MAILBOX = reply(451, '4.3.0 the mailbox is not known here yet');
const NO_DIRECTORY = reply(451, '4.3.0 the directory does not answer');
const UNDER_WAY = reply(451, '4.3.0 this message is being delivered');
const NO_SEARCH = reply(451, '4.3.0 it is not clear whether the mailbox has this message');
const NO_COPY = reply(451, '4.3.0 no second copy could be made');
const THERE = reply(250, '2.0.0 the mailbox has this message');

/** Several times the time that a lease lasts. */
const DEGRADE_AFTER_MS = 10_000;

/** One mailbox that a message is for. */
interface Part {
  readonly mailbox: string;
  /** As it came. */
  readonly address: string;
  /** The address without its detail, as Dovecot's users are named. */
  readonly user: string;
  /** What the primary said; undefined: it has still to be asked. */
  primary?: Reply | undefined;
  /** It was looked for first, in vain: another member may have it. */
  doubtful?: boolean;
}

interface Job {
  readonly id: string;
  readonly message: Transaction;
  readonly state: AgentState;
  readonly deadline: number;
}

/** Delivers a message: one reply for each recipient, in order. */
export type Deposit = (message: Transaction) => Promise<readonly Reply[]>;

export function createDeposit(options: DepositOptions): Deposit {
  return async (message) => {
    const state = options.state();
    if (state?.role !== 'primary') return message.recipients.map(() => tell(options, NOT_PRIMARY, 'deferred'));
    const id = createHash('sha256').update(message.content).digest('hex');
    const job: Job = { id, message, state, deadline: performance.now() + (options.timeoutMs ?? 50_000) };
    const found = await Promise.all(message.recipients.map((address) => findPart(options, address)));
    // Several addresses of one mailbox get one copy and one answer.
    const parts = new Map<string, Part>();
    for (const part of found) if ('mailbox' in part && !parts.has(part.mailbox)) parts.set(part.mailbox, part);
    const replies = await depositAll(options, job, [...parts.values()]);
    return found.map((part) =>
      'mailbox' in part ? (replies.get(part.mailbox) ?? NOT_PRIMARY) : tell(options, part, 'deferred'),
    );
  };
}

function tell({ onResult }: DepositOptions, answer: Reply, result: Result): Reply {
  onResult?.(result);
  return answer;
}

async function findPart(options: DepositOptions, address: string): Promise<Part | Reply> {
  try {
    const mailbox = await options.mailboxOf(address);
    return mailbox === undefined ? NO_MAILBOX : { mailbox, address, user: mainAddress(address) };
  } catch (error) {
    options.log.warn({ err: error }, 'the directory could not be asked');
    return NO_DIRECTORY;
  }
}

async function depositAll(options: DepositOptions, job: Job, parts: Part[]): Promise<Map<string, Reply>> {
  const { memory } = options;
  const free = parts.filter((part) => {
    if (memory.get(part.mailbox, job.id) !== 'pending') return true;
    part.primary = UNDER_WAY;
    return false;
  });
  const before = new Map(free.map((part) => [part, memory.get(part.mailbox, job.id)]));
  for (const part of free) memory.set(part.mailbox, job.id, 'pending');
  try {
    await Promise.all(free.map((part) => lookBefore(options, job, part, before)));
    const given = free.filter((part) => part.primary === undefined);
    await giveToPrimary(options, job, given, before);
    await Promise.all(given.map((part) => checkOwner(options, job.id, part)));
    for (const part of given) noteDoubt(options, job, part);
  } finally {
    for (const part of free) settle(memory, job.id, part, before.get(part));
  }
  const replies = await Promise.all(parts.map((part) => secure(options, job, part)));
  return new Map(parts.map((part, n) => [part.mailbox, replies[n] as Reply]));
}

/** What is remembered from now on: what the primary said, or else what was known before. */
function settle(memory: Memory, id: string, { mailbox, primary }: Part, known: ReturnType<Memory['get']>): void {
  if (primary && isPositive(primary)) memory.set(mailbox, id, 'held');
  else if (known !== undefined) memory.set(mailbox, id, known);
  else memory.forget(mailbox, id);
}

/** Whether the primary has the message already, and whether its UIDs have to be raised before it gets it. */
async function lookBefore(
  { agent, memory, log }: DepositOptions,
  { id, message, state }: Job,
  part: Part,
  before: Map<Part, ReturnType<Memory['get']>>,
): Promise<void> {
  const known = before.get(part);
  if (known === 'held') {
    part.primary = THERE;
    return;
  }
  try {
    const doubtful = known === 'unclear' || memory.mayHaveForgotten(receivedAt(message.content), state.openedAt);
    part.doubtful = doubtful;
    if (doubtful && (await agent.search(part.user, part.mailbox, id))) part.primary = THERE;
    else await agent.gap(part.user, part.mailbox, state);
  } catch (error) {
    log.warn({ mailbox: part.mailbox, delivery: id, err: error }, 'the agent could not be asked');
    part.primary = NO_SEARCH;
  }
}

async function giveToPrimary(
  { primary, log }: DepositOptions,
  { id, message, deadline }: Job,
  parts: Part[],
  before: Map<Part, ReturnType<Memory['get']>>,
): Promise<void> {
  if (parts.length === 0) return;
  const outcomes = await primary.deliver(
    {
      sender: message.sender,
      recipients: parts.map(({ address }) => address),
      eightBit: message.eightBit,
      utf8: message.utf8,
      content: withDeliveryId(message.content, id),
    },
    // The journal needs its time, too.
    Math.max((deadline - performance.now()) * 0.6, 1_000),
  );
  parts.forEach((part, n) => {
    const { reply: answer, unclear } = outcomes[n] as Outcome;
    part.primary = answer;
    if (!unclear) before.delete(part);
    else {
      before.set(part, 'unclear');
      log.warn({ mailbox: part.mailbox, delivery: id }, 'the primary gave no answer to a message');
    }
  });
}

/**
 * Dovecot went by the address. When that has got another mailbox meanwhile, nobody knows which of the two has the message, and a
 * journal entry would bring it into the other: it is tried again, and looked for first.
 */
async function checkOwner({ mailboxOf, memory }: DepositOptions, id: string, part: Part): Promise<void> {
  if (part.primary === undefined || !isPositive(part.primary)) return;
  const mailbox = await mailboxOf(part.address).catch(() => part.mailbox);
  if (mailbox === part.mailbox) return;
  part.primary = NO_MAILBOX;
  if (mailbox !== undefined) memory.set(mailbox, id, 'unclear');
}

/** The lost primary may have stored it before it was lost: see the agent's dedupe. Nobody waits for this. */
function noteDoubt({ agent, log }: DepositOptions, { id, state }: Job, part: Part): void {
  const delivered = part.primary !== undefined && isPositive(part.primary);
  if (!part.doubtful || !delivered || state.promotion !== 'failover') return;
  agent.note(part.user, part.mailbox, id).catch((error: unknown) => {
    log.info({ mailbox: part.mailbox, delivery: id, err: error }, 'a delivery could not be noted');
  });
}

/** The second copy, and the answer. */
async function secure(options: DepositOptions, { id, message, state, deadline }: Job, part: Part): Promise<Reply> {
  const primary = part.primary ?? NOT_PRIMARY;
  if (!isPositive(primary)) return tell(options, primary, primary.code >= 500 ? 'refused' : 'deferred');
  if (state.durability === 'Primary') return tell(options, primary, 'primary-only');
  const entry = {
    mailbox: part.mailbox,
    id,
    recipient: part.address,
    sender: message.sender,
    content: message.content,
  };
  if (await options.journal.keep(entry, state, deadline)) return tell(options, primary, 'replicated');
  // One that has just been cut off must not collect mail alone for as long as its lease lasts.
  const alone = options.journal.aloneFor() >= (options.degradeAfterMs ?? DEGRADE_AFTER_MS);
  if (state.withoutReplica === 'Degrade' && alone) return tell(options, primary, 'degraded');
  return tell(options, NO_COPY, 'deferred');
}

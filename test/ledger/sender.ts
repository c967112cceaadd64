/** Mail servers that deliver: each message is tried once, so what becomes of it is known, but for those without an answer. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Dialogue, dialogue } from '../e2e/lib/smtp.js';
import type { Ledger } from './ledger.js';
import type { Pulse } from './pulse.js';

export interface Deliveries {
  target: { host: string; port: number };
  /** Mailboxes and their addresses. */
  recipients: readonly { account: string; address: string }[];
  perSecond: number;
  connections: number;
  /** Part of every Message-ID. */
  run: string;
  ledger: Ledger;
  /** Beats with each message that is taken. */
  pulse: Pulse;
  signal: AbortSignal;
}

export interface Delivered {
  taken: number;
  /** 4xx, or no connection. */
  deferred: number;
  /** Sent, without an answer. */
  unknown: number;
  /** What deferrals were for: replies with how often each came. */
  replies: Map<string, number>;
}

const ANSWER_MS = 15_000;

/** Delivers at a steady rate until the signal. */
export async function deliver(options: Deliveries): Promise<Delivered> {
  const { perSecond, connections, pulse, signal } = options;
  const result: Delivered = { taken: 0, deferred: 0, unknown: 0, replies: new Map() };
  const next = schedule(perSecond);
  const connection = async (): Promise<void> => {
    let session: Dialogue | undefined;
    for (let turn = next(); await pause(turn.inMs, signal); turn = next()) {
      session = await deliverOne(options, turn.number, session, result);
      if (session !== undefined) pulse.beat();
    }
    session?.close();
  };
  await Promise.all(Array.from({ length: connections }, connection));
  return result;
}

/** Turns at a steady rate. After a pause nothing is caught up with. */
function schedule(perSecond: number): () => { number: number; inMs: number } {
  const started = performance.now();
  let number = 0;
  return () => {
    const elapsed = performance.now() - started;
    if (elapsed - (number / perSecond) * 1000 > 1000) number = Math.ceil((elapsed / 1000) * perSecond);
    const mine = number++;
    return { number: mine, inMs: Math.max(0, (mine / perSecond) * 1000 - elapsed) };
  };
}

/** @returns the session, when it can be used again */
async function deliverOne(
  { target, recipients, run, ledger }: Deliveries,
  number: number,
  earlier: Dialogue | undefined,
  result: Delivered,
): Promise<Dialogue | undefined> {
  const { account, address } = recipients[number % recipients.length] as Deliveries['recipients'][number];
  const id = `<${run}.${number}@outside.example>`;
  const session = earlier ?? (await greeted(target));
  const outcome = await conversation(session, address, message(address, id), (reply) => {
    if (reply.startsWith('5')) ledger.refused(`${id} to ${address}: ${reply}`);
    const what = reply === '' ? 'no answer' : reply.replaceAll(/<[^>]*>/g, '<>').slice(0, 120);
    result.replies.set(what, (result.replies.get(what) ?? 0) + 1);
  });
  result[outcome] += 1;
  if (outcome !== 'deferred') ledger.kept(id, account, 'delivery', 'INBOX', outcome === 'taken' ? 'yes' : 'maybe');
  if (outcome === 'taken') return session;
  session.close();
  return undefined;
}

async function conversation(
  session: Dialogue,
  to: string,
  text: string,
  isRefused: (reply: string) => void,
): Promise<'taken' | 'deferred' | 'unknown'> {
  const commands = ['MAIL FROM:<friend@outside.example>', `RCPT TO:<${to}>`, 'DATA'];
  for (const command of commands) {
    const reply = await within(session, session.command(command));
    if (/^[23]/.test(reply)) continue;
    isRefused(reply);
    return 'deferred';
  }
  const reply = await within(session, session.command(`${text}\r\n.`));
  if (reply.startsWith('250')) return 'taken';
  isRefused(reply);
  return reply === '' ? 'unknown' : 'deferred';
}

async function greeted(target: Deliveries['target']): Promise<Dialogue> {
  const opening = dialogue(target);
  const session = await Promise.race([opening, sleep(ANSWER_MS).then(() => undefined)]);
  if (session === undefined) {
    void opening.then((late) => late.close());
    return { greeting: '', command: async () => '', startTls: async () => undefined, close: () => undefined };
  }
  await within(session, session.command('EHLO client.outside.example'));
  return session;
}

/** The reply, or an empty one as of a server that has hung up. */
async function within(session: Dialogue, reply: Promise<string>): Promise<string> {
  const timer = setTimeout(() => session.close(), ANSWER_MS);
  try {
    return await reply;
  } finally {
    clearTimeout(timer);
  }
}

export function message(to: string, id: string): string {
  return [
    'From: Friend <friend@outside.example>',
    `To: <${to}>`,
    `Subject: news ${id}`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: ${id}`,
    '',
    `This is about ${id}.`,
  ].join('\r\n');
}

/** False when the signal came first. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  return sleep(ms, true, { signal }).catch(() => false);
}

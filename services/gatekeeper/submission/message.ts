/** `POST /v1/submission`: whether a message may leave, when all of it is there. */
import { z } from 'zod';
import { BadRequest } from '../../lib/http.js';
import { type Claim, readClaims } from '../author/claims.js';
import { addressesOf, domainsShown, judgeClaims } from '../author/judge.js';
import { AuthorProblem, refuse } from '../author/problem.js';
import type { Action } from '../policy/protocol.js';
import type { Requirement } from './accounts.js';
import type { Desk } from './submission.js';

const message = z.object({
  login: z.string().max(512),
  sender: z.string().max(1024),
  recipients: z.array(z.string()).max(100_000).default([]),
  /** The raw header block. */
  headers: z.string(),
  score: z.number().default(0),
  /** The filter takes it for spam. */
  spam: z.boolean().default(false),
  size: z.number().default(0),
});

type Message = z.infer<typeof message>;

/** `reply` begins with the enhanced status code. */
export type MessageAnswer =
  | { readonly action: 'accept' }
  | { readonly action: 'reject' | 'defer'; readonly reply: string };

export interface MessageOptions {
  /** For metrics: `accept`, or the kind of what is wrong. */
  readonly onVerdict?: (kind: string) => void;
}

const ACCEPT: MessageAnswer = { action: 'accept' };

/** @throws BadRequest; anything else that is thrown is a temporary failure. */
export function submissionMessage(desk: Desk, { onVerdict }: MessageOptions = {}) {
  return async (body: unknown): Promise<MessageAnswer> => {
    const parsed = message.safeParse(body);
    if (!parsed.success) throw new BadRequest(z.prettifyError(parsed.error));
    const { kind, answer } = await judge(desk, parsed.data);
    onVerdict?.(kind);
    if (kind !== 'accept') desk.log.info({ login: parsed.data.login, kind, reply: replyOf(answer) }, 'not accepted');
    return answer;
  };
}

interface Judged {
  readonly kind: string;
  readonly answer: MessageAnswer;
}

async function judge(desk: Desk, mail: Message): Promise<Judged> {
  const login = mail.login.toLowerCase();
  if (login === '') return refused('no-login', '530 5.7.0 log in first');
  const admitted = await desk.admit(login, false);
  if ('refusal' in admitted) return refused('account', admitted.refusal);
  const { username } = admitted.account;
  const problem = await authorProblem(desk, username, mail);
  if (problem) return refused(problem.kind, `550 5.7.1 ${problem.message}`);
  return judgeVerdict(desk, username, mail);
}

/** Envelope and header: every name that the message gives itself has to be the login's. */
async function authorProblem(desk: Desk, username: string, mail: Message): Promise<AuthorProblem | undefined> {
  try {
    const claims = readClaims(mail.headers);
    const sender = mail.sender.replace(/^<|>$/g, '').toLowerCase();
    const addresses = new Set([...addressesOf(claims), sender]);
    const [ownership, requirements] = await Promise.all([
      desk.accounts.ownership(username, [...addresses], domainsShown(claims)),
      desk.accounts.requirements(mail.recipients),
    ]);
    if (!ownership.own.has(sender)) {
      return new AuthorProblem(
        'sender-not-yours',
        'the envelope sender is not an address of yours; choose one of yours',
      );
    }
    judgeClaims(claims, ownership);
    judgeRequirements(claims, requirements);
    return undefined;
  } catch (error) {
    if (error instanceof AuthorProblem) return error;
    throw error;
  }
}

/**
 * What inside recipients require of their senders' domain (the mx does not filter mail of our own users). The log-in
 * proves what a signature would.
 */
function judgeRequirements(claims: readonly Claim[], requirements: readonly Requirement[]): void {
  const domain = claims[0]?.address.split('@')[1] ?? '';
  for (const { address, require } of requirements) {
    if (require === null || require.otherwise !== 'Reject') continue;
    if (require.from.some((allowed) => domain === allowed || domain.endsWith(`.${allowed}`))) continue;
    const who = `${address} takes mail only from ${require.from.slice(0, 5).join(', ')}`;
    refuse('not-wanted', `${who.replace(/[^\x20-\x7e]/g, '?').slice(0, 300)}; write from an address there`);
  }
}

/** What the filter thinks counts against the account; whether this message goes is the filter's own to say. */
async function judgeVerdict(desk: Desk, username: string, { spam }: Message): Promise<Judged> {
  const verdicts = await desk.store.verdict(`spam:${username}`, spam, desk.conduct.messages);
  const paused = spam ? await desk.watch(username, { verdicts }) : undefined;
  if (paused !== undefined) {
    await desk.store.remove(`spam:${username}`);
    return refused('paused', paused);
  }
  return { kind: 'accept', answer: ACCEPT };
}

/** An SMTP reply as an answer: 4xx (421 too: the session is the milter's no longer) defers, 5xx rejects. */
function refused(kind: string, reply: Action): Judged {
  const action = reply.startsWith('4') ? 'defer' : 'reject';
  return { kind, answer: { action, reply: reply.slice(4) } };
}

function replyOf(answer: MessageAnswer): string | undefined {
  return answer.action === 'accept' ? undefined : answer.reply;
}

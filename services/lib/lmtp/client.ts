/**
 * An LMTP client (RFC 2033) that keeps its connections: one reply per recipient, exactly as the server said it, and whether
 * it is sure. MAIL, RCPT and DATA go in one write when the server takes that (PIPELINING, RFC 2920).
 */
import { type Connection, type Endpoint, openConnection } from './connection.js';
import { stuff } from './content.js';
import { createPool, type Held } from './pool.js';
import { isPositive, type Reply, reply } from './reply.js';

/** A message to hand on. Addresses are octets (latin1), as they came, without angle brackets. */
export interface Outgoing {
  /** Empty for reports. */
  readonly sender: string;
  readonly recipients: readonly string[];
  /** `BODY=8BITMIME` was given. */
  readonly eightBit?: boolean | undefined;
  /** `SMTPUTF8` was given. */
  readonly utf8?: boolean | undefined;
  /** In pieces; each begins a line and ends one with CRLF. */
  readonly content: readonly Buffer[];
}

/** What became of one recipient. */
export interface Outcome {
  readonly reply: Reply;
  /** The server may have stored the message all the same: it had all of it, and no answer came. */
  readonly unclear: boolean;
}

export interface LmtpClientOptions {
  readonly host?: string;
  readonly port: number;
  /** What to say in LHLO. */
  readonly name: string;
  /** Connections at a time; further messages wait for one. Default 20. */
  readonly most?: number;
  /** How long one is kept without use. Default 60 s. */
  readonly idleMs?: number;
  /** For connecting and greeting. Default 5 s. */
  readonly connectTimeoutMs?: number;
  /** For each reply before the message is sent. Default 15 s. */
  readonly commandTimeoutMs?: number;
}

export interface LmtpClient {
  /**
   * One transaction; an outcome for each recipient, in order. Never rejects: what can't be asked is 451.
   * @param timeoutMs for all of it.
   */
  deliver(message: Outgoing, timeoutMs: number): Promise<Outcome[]>;
  close(): void;
}

/** No connection is made before the first message. */
export function createLmtpClient(options: LmtpClientOptions): LmtpClient {
  const { host = '127.0.0.1', port, name, connectTimeoutMs = 5_000, commandTimeoutMs = 15_000 } = options;
  const endpoint: Endpoint = { host, port, name, connectTimeoutMs };
  const pool = createPool(() => openConnection(endpoint), options.most ?? 20, options.idleMs ?? 60_000);
  return {
    deliver: async (message, timeoutMs) => {
      const clock = { deadline: performance.now() + timeoutMs, commandTimeoutMs };
      const first = await attempt(pool.take, message, clock);
      // A kept connection may have ended without a word. Nothing had been done on it: try another, once.
      const last = first.stale ? await attempt(pool.takeNew, message, clock) : first;
      return last.outcomes;
    },
    close: pool.close,
  };
}

interface Clock {
  readonly deadline: number;
  readonly commandTimeoutMs: number;
}

interface Attempt {
  readonly outcomes: Outcome[];
  readonly stale: boolean;
}

async function attempt(take: (timeoutMs: number) => Promise<Held>, message: Outgoing, clock: Clock): Promise<Attempt> {
  let held: Held | undefined;
  const progress = { answered: false };
  try {
    held = await take(left(clock));
    return { outcomes: await transact(held.connection, message, clock, progress), stale: false };
  } catch (error) {
    held?.connection.close();
    const stale = held?.used === true && !progress.answered;
    return { outcomes: message.recipients.map(() => ({ reply: noAnswer(error), unclear: false })), stale };
  } finally {
    held?.release();
  }
}

function noAnswer(error: unknown): Reply {
  return reply(451, `4.3.0 the mailbox's server does not answer: ${(error as Error).message}`);
}

function left({ deadline }: Clock): number {
  return Math.max(deadline - performance.now(), 1);
}

async function transact(
  connection: Connection,
  message: Outgoing,
  clock: Clock,
  progress: { answered: boolean },
): Promise<Outcome[]> {
  const unfit = unfitFor(connection, message);
  if (unfit) return message.recipients.map(() => ({ reply: unfit, unclear: false }));
  const { recipients, ready } = await sendEnvelope(connection, message, clock, progress);
  if (ready.code !== 354 || !recipients.some(isPositive)) {
    // It would have to be reset; this is rare.
    connection.close();
    return recipients.map((answer) => ({ reply: isPositive(answer) ? refusal(ready) : answer, unclear: false }));
  }
  connection.write(...message.content.map(stuff), '.\r\n');
  return readOutcomes(connection, recipients, clock);
}

/** A server that can't take addresses beyond ASCII is not given any (RFC 6531, section 3.2). */
function unfitFor({ extensions }: Connection, message: Outgoing): Reply | undefined {
  const ascii = [message.sender, ...message.recipients].every((address) => /^[\x20-\x7e]*$/.test(address));
  if (ascii || extensions.has('SMTPUTF8')) return undefined;
  return reply(553, '5.6.7 addresses beyond ASCII are not taken here');
}

/** What a server says instead of "go on" is an error, whatever its code. */
function refusal(ready: Reply): Reply {
  return ready.code >= 400 ? ready : reply(451, `4.5.0 the mailbox's server answers DATA with ${ready.code}`);
}

function commands({ extensions }: Connection, message: Outgoing): string[] {
  const body = message.eightBit && extensions.has('8BITMIME') ? ' BODY=8BITMIME' : '';
  const utf8 = message.utf8 && extensions.has('SMTPUTF8') ? ' SMTPUTF8' : '';
  return [
    `MAIL FROM:<${message.sender}>${body}${utf8}\r\n`,
    ...message.recipients.map((address) => `RCPT TO:<${address}>\r\n`),
    'DATA\r\n',
  ];
}

/** The answers to each recipient and to DATA. What is said to MAIL goes for all, unless it is yes. */
async function sendEnvelope(
  connection: Connection,
  message: Outgoing,
  clock: Clock,
  progress: { answered: boolean },
): Promise<{ recipients: Reply[]; ready: Reply }> {
  const lines = commands(connection, message);
  const pipelined = connection.extensions.has('PIPELINING');
  if (pipelined) connection.write(lines.join(''));
  const answers: Reply[] = [];
  for (const line of lines) {
    if (!pipelined) connection.write(line);
    answers.push(await connection.read(Math.min(left(clock), clock.commandTimeoutMs)));
    progress.answered = true;
  }
  const [mail, ready] = [answers[0] as Reply, answers[answers.length - 1] as Reply];
  const recipients = answers.slice(1, -1);
  return { recipients: isPositive(mail) ? recipients : recipients.map(() => refusal(mail)), ready };
}

/** One reply for each recipient that was accepted (RFC 2033, section 4.2). */
async function readOutcomes(connection: Connection, recipients: readonly Reply[], clock: Clock): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let failure: Error | undefined;
  for (const accepted of recipients) {
    if (!isPositive(accepted)) {
      outcomes.push({ reply: accepted, unclear: false });
      continue;
    }
    try {
      if (failure) throw failure;
      outcomes.push({ reply: await connection.read(left(clock)), unclear: false });
    } catch (error) {
      failure = error as Error;
      outcomes.push({ reply: noAnswer(error), unclear: true });
    }
  }
  return outcomes;
}

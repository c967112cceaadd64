/** A plain SMTP client that costs little, so that what is measured is the server. */
import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { CLIENT } from '../e2e/lib/environment.js';

export interface Load {
  target: { host: string; port: number };
  recipients: readonly string[];
  messages: number;
  connections: number;
  /** Part of every Message-ID. */
  run: string;
}

const FROM = 'sender@outside.example';
const BYTES = 10_000;

/**
 * Sends each message once, over so many connections at the same time.
 * @throws Error when a reply is not the expected one: there must be no deferral and no refusal
 */
export async function sendAll({ target, recipients, messages, connections, run }: Load): Promise<void> {
  let next = 0;
  const connection = async (): Promise<void> => {
    const session = await open(target);
    try {
      for (let number = next++; number < messages; number = next++) {
        await sendOne(session, recipients[number % recipients.length] as string, `${run}.${number}`);
      }
      await session.say('QUIT', 221);
    } finally {
      session.close();
    }
  };
  await Promise.all(Array.from({ length: connections }, connection));
}

async function sendOne(session: Session, to: string, id: string): Promise<void> {
  await session.say(`MAIL FROM:<${FROM}>`, 250);
  await session.say(`RCPT TO:<${to}>`, 250);
  await session.say('DATA', 354);
  await session.say(`${message(to, id)}\r\n.`, 250);
}

/** A message of 10 kB in words that differ from one to the next, as a person could have written it. */
export function message(to: string, id: string): string {
  const head = [
    `From: Sender <${FROM}>`,
    `To: <${to}>`,
    `Subject: notes ${id}`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${id}@outside.example>`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=us-ascii',
    '',
    '',
  ].join('\r\n');
  const lines: string[] = [];
  for (let size = head.length, i = 0; size < BYTES; i++) {
    const line = words(`${id} ${i}`);
    lines.push(line);
    size += line.length + 2;
  }
  return head + lines.join('\r\n');
}

const WORDS =
  'river stone morning letter window garden table paper winter road bridge harbour lamp field music thread copper market answer silver'.split(
    ' ',
  );

function words(seed: string): string {
  return [...createHash('sha256').update(seed).digest().subarray(0, 11)]
    .map((byte) => WORDS[byte % WORDS.length])
    .join(' ');
}

interface Session {
  say(text: string, expected: number): Promise<void>;
  close(): void;
}

async function open(target: Load['target']): Promise<Session> {
  const socket: Socket = connect({ ...target, noDelay: true });
  socket.setTimeout(60_000, () => socket.destroy(new Error('no reply for 60 s')));
  let received = '';
  let settle: { resolve: (reply: string) => void; reject: (error: Error) => void } | undefined;
  const check = (): void => {
    const reply = /^(?:\d{3}-.*\r\n)*\d{3}(?: .*)?\r\n/.exec(received);
    if (reply === null || settle === undefined) return;
    received = received.slice(reply[0].length);
    settle.resolve(reply[0]);
  };
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
    check();
  });
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  socket.on('close', () => settle?.reject(failure ?? new Error('the server hung up')));
  const reply = async (expected: number, to: string): Promise<void> => {
    const text = await new Promise<string>((resolve, reject) => {
      settle = { resolve, reject };
      check();
    });
    settle = undefined;
    if (!text.startsWith(String(expected))) throw new Error(`${to.slice(0, 60)}: ${text.trim()}`);
  };
  await reply(220, 'greeting');
  const session: Session = {
    say: (text, expected) => {
      socket.write(`${text}\r\n`);
      return reply(expected, text);
    },
    close: () => socket.destroy(),
  };
  await session.say(`EHLO ${CLIENT}`, 250);
  return session;
}

/** A sending mail server: it tries each message until it is accepted, as RFC 5321 (4.5.4.1) asks, and keeps a ledger. */
import { randomUUID } from 'node:crypto';
import { createTransport } from 'nodemailer';
import type { Target } from './smtp.js';

export interface Ledger {
  /** Message-ID → recipient, of every message that was answered with 250. */
  accepted: Map<string, string>;
  /** Replies 5xx: there must be none. */
  rejected: string[];
  /** Attempts that failed for the time being: connection refused, 4xx. */
  deferrals: number;
}

export interface LoadOptions {
  target: Target;
  from: string;
  recipients: readonly string[];
  messages: number;
  /** Messages a second, over all connections. */
  rate: number;
  connections?: number;
  /** Keeps going until this resolves, if that is later than the last message. */
  until?: Promise<unknown>;
  /** When to give up on a message, in milliseconds. */
  patienceMs?: number;
}

/** Sends so many messages at a steady rate, more if `until` takes longer, each once. */
export async function sendLoad(options: LoadOptions): Promise<Ledger> {
  const { messages, rate, connections = 5, until } = options;
  const ledger: Ledger = { accepted: new Map(), rejected: [], deferrals: 0 };
  let over = until === undefined;
  const ended = until?.then(
    () => {
      over = true;
    },
    () => {
      over = true;
    },
  );
  let next = 0;
  const started = Date.now();
  const worker = async (): Promise<void> => {
    for (;;) {
      if (next >= messages && over) return;
      const number = next;
      next += 1;
      const due = started + (number / rate) * 1000 - Date.now();
      if (due > 0) await pause(due);
      await sendUntilAccepted(options, number, ledger);
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
  await ended;
  return ledger;
}

async function sendUntilAccepted(
  { target, from, recipients, patienceMs = 240_000 }: LoadOptions,
  number: number,
  ledger: Ledger,
): Promise<void> {
  const messageId = `<${number}.${randomUUID()}@outside.example>`;
  const to = recipients[number % recipients.length] as string;
  const transport = createTransport({
    ...target,
    name: 'client.outside.example',
    tls: { rejectUnauthorized: false },
    connectionTimeout: 5_000,
    greetingTimeout: 10_000,
    socketTimeout: 30_000,
  });
  const deadline = Date.now() + patienceMs;
  try {
    for (;;) {
      try {
        await transport.sendMail({ from, to, subject: `load ${number}`, text: `message ${number}`, messageId });
        ledger.accepted.set(messageId, to);
        return;
      } catch (error) {
        const { responseCode = 0, message } = error as { responseCode?: number; message: string };
        if (responseCode >= 500) {
          ledger.rejected.push(message);
          return;
        }
        ledger.deferrals += 1;
        if (Date.now() > deadline)
          throw new Error(`message ${number} to ${to} was not accepted for ${patienceMs} ms: ${message}`);
        await pause(500);
      }
    }
  } finally {
    transport.close();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

import { createHash } from 'node:crypto';

/** One message for one target of one rule, as it came by LMTP. */
export interface Delivery {
  /** The same for every attempt; see {@link deliveryId}. */
  readonly id: string;
  /** `RULEUID.N`: what is before the @ of the recipient. */
  readonly token: string;
  /** Envelope sender; empty for reports. */
  readonly sender: string;
  readonly message: Buffer;
  /** When the forward role queued it, by its Received header; absent if that can't be read. */
  readonly queuedAt?: Date | undefined;
}

/** What became of a delivery, in the terms of a mail server. */
export interface Outcome {
  readonly result: 'delivered' | 'deferred' | 'bounced';
  /** Enhanced status code (RFC 3463) and text, for the reply; no line breaks. */
  readonly text: string;
  /** The target didn't answer in time or at all: the next deliveries to it get less room. */
  readonly stuck?: boolean;
  /** For people who look at the rule: what is wrong and what to do. Absent when nothing is. */
  readonly problem?: { readonly reason: string; readonly message: string };
}

export const delivered = (text: string): Outcome => ({ result: 'delivered', text: `2.0.0 ${printable(text)}` });

export const bounced = (status: string, text: string): Outcome => ({
  result: 'bounced',
  text: `${status} ${printable(text)}`,
});

export function deferred(status: string, text: string, more: Pick<Outcome, 'stuck' | 'problem'> = {}): Outcome {
  return { result: 'deferred', text: `${status} ${printable(text)}`, ...more };
}

/** One line of printable ASCII, at most 200 characters: fit for an SMTP reply. */
export function printable(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 200);
}

/** Headers beyond this are not looked at. */
const HEADER_LIMIT = 256 * 1024;

/**
 * Names a delivery by what doesn't change between attempts: the target and the message without the header fields that the
 * last hop put on top. Those name a queue file of the forward role, and a message that the mx handed over twice (its
 * connection broke before the answer) is still one message. 32 hexadecimal digits.
 */
export function deliveryId(token: string, message: Buffer): string {
  const start = secondReceived(message) ?? 0;
  return createHash('sha256').update(`${token}\n`).update(message.subarray(start)).digest('hex').slice(0, 32);
}

/** When the last hop took the message: the date of its topmost Received header. */
export function queuedAt(message: Buffer): Date | undefined {
  const field = receivedFields(message).next().value?.text;
  const date = new Date(field?.slice(field.lastIndexOf(';') + 1).replace(/\([^)]*\)/g, '') ?? '');
  return Number.isNaN(date.getTime()) ? undefined : date;
}

function secondReceived(message: Buffer): number | undefined {
  const fields = receivedFields(message);
  fields.next();
  return fields.next().value?.at;
}

/** Received header fields in order, unfolded, with the octet at which each begins. */
function* receivedFields(message: Buffer): Generator<{ at: number; text: string }, undefined> {
  const text = message.subarray(0, HEADER_LIMIT).toString('latin1');
  const end = /\r?\n\r?\n/.exec(text)?.index ?? text.length;
  const pattern = /^received:((?:.*(?:\r?\n[ \t])?)*)/gim;
  for (const match of text.slice(0, end).matchAll(pattern)) {
    yield { at: match.index, text: (match[1] ?? '').replace(/\r?\n[ \t]/g, ' ') };
  }
  return undefined;
}

import { createHash } from 'node:crypto';

/** One message for one target of one rule, as it came by LMTP. */
export interface Delivery {
  /** The same for every attempt; see {@link deliveryId}. */
  readonly id: string;
  /** `RULEUID.KEY`: what is before the @ of the recipient. */
  readonly token: string;
  /** Address that was written to, as the forward role notes it: with its detail, or the one that a catch-all caught. */
  readonly recipient?: string | undefined;
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
 * Names a delivery by what doesn't change between attempts: the target, the address that was written to, and the message
 * without the header fields that the last hop put on top. Those name a queue file of the forward role, and a message that the
 * mx handed over twice (its connection broke before the answer) is still one message. One message to two addresses that a
 * catch-all hands to the same target is two deliveries. 32 hexadecimal digits.
 */
export function deliveryId(token: string, message: Buffer): string {
  const [, second] = fieldsOf(message, 'received');
  return createHash('sha256')
    .update(`${token}\n${writtenTo(message) ?? ''}\n`)
    .update(message.subarray(second?.at ?? 0))
    .digest('hex')
    .slice(0, 32);
}

/** The address that the last hop noted above its Received header; what stands further down are earlier forwards. */
export function writtenTo(message: Buffer): string | undefined {
  const [received] = fieldsOf(message, 'received');
  const [noted] = fieldsOf(message, 'delivered-to');
  if (noted === undefined || (received !== undefined && noted.at > received.at)) return undefined;
  return noted.text.trim();
}

/** When the last hop took the message: the date of its topmost Received header. */
export function queuedAt(message: Buffer): Date | undefined {
  const [field] = fieldsOf(message, 'received');
  const text = field?.text ?? '';
  const date = new Date(text.slice(text.lastIndexOf(';') + 1).replace(/\([^)]*\)/g, ''));
  return Number.isNaN(date.getTime()) ? undefined : date;
}

/** Header fields of a name in order, unfolded, with the octet at which each begins; the first two are enough. */
function fieldsOf(message: Buffer, name: 'received' | 'delivered-to'): { at: number; text: string }[] {
  const text = message.subarray(0, HEADER_LIMIT).toString('latin1');
  const end = /\r?\n\r?\n/.exec(text)?.index ?? text.length;
  const found: { at: number; text: string }[] = [];
  for (const match of text.slice(0, end).matchAll(PATTERNS[name])) {
    found.push({ at: match.index, text: (match[1] ?? '').replace(/\r?\n[ \t]/g, ' ') });
    if (found.length === 2) break;
  }
  return found;
}

const PATTERNS = {
  received: /^received:((?:.*(?:\r?\n[ \t])?)*)/gim,
  'delivered-to': /^delivered-to:((?:.*(?:\r?\n[ \t])?)*)/gim,
};

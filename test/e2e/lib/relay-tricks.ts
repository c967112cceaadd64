/**
 * Ways in which strangers try to have their mail sent on by port 25, as tried on a cluster: docs/reference/refusals.md.
 * images/postfix/checks/relay.ts tries more of them on the image alone.
 */
import { domain, hostname } from './environment.js';
import type { Dialogue } from './smtp.js';

export interface Trick {
  /** Greeting; default EHLO with a name of a stranger. */
  helo?: string;
  /** Commands before MAIL. Their replies are not judged. */
  before?: string[];
  startTls?: boolean;
  /** After `MAIL FROM:`; default a stranger's. */
  from?: string;
  /** A recipient of ours, given before. */
  first?: string;
  /** After `RCPT TO:`. `@VICTIM@` is who would get the mail, at the outside mail server; `@SINK@` that server's address. */
  to: string;
}

const STRANGER = '<friend@outside.example>';
const victim = '<@VICTIM@@outside.example>';

export const RELAY_TRICKS: Record<string, Trick> = {
  'a recipient elsewhere': { to: victim },
  'a percent sign': { to: `<@VICTIM@%outside.example@${domain}>` },
  'a percent sign, at the host name': { to: `<@VICTIM@%outside.example@${hostname}>` },
  'a percent sign without a domain': { to: '<@VICTIM@%outside.example>' },
  'a bang path': { to: `<outside.example!@VICTIM@@${domain}>` },
  'a source route': { to: `<@${domain}:@VICTIM@@outside.example>` },
  'a source route over two hosts': { to: `<@${domain},@outside.example:@VICTIM@@outside.example>` },
  'an address in quotes as local part': { to: `<"@VICTIM@@outside.example"@${domain}>` },
  'an address in quotes alone': { to: '<"@VICTIM@@outside.example">' },
  'two @': { to: `<@VICTIM@@outside.example@${domain}>` },
  'an escaped @': { to: `<@VICTIM@\\@outside.example@${domain}>` },
  'an address literal': { to: '<@VICTIM@@[@SINK@]>' },
  'a literal of loopback': { to: '<@VICTIM@%outside.example@[127.0.0.1]>' },
  'a dot at the end': { to: '<@VICTIM@@outside.example.>' },
  'a sender of ours': { from: `<mallory@${domain}>`, to: victim },
  'our postmaster as sender': { from: `<postmaster@${hostname}>`, to: victim },
  'the null sender': { from: '<>', to: victim },
  'an AUTH parameter': { from: `${STRANGER} AUTH=mallory@${domain}`, to: victim },
  'our host name as HELO': { helo: `EHLO ${hostname}`, to: victim },
  'localhost as HELO': { helo: 'EHLO localhost', to: victim },
  'a literal of loopback as HELO': { helo: 'EHLO [127.0.0.1]', to: victim },
  XCLIENT: { before: ['XCLIENT ADDR=127.0.0.1 NAME=localhost LOGIN=mallory'], to: victim },
  XFORWARD: { before: ['XFORWARD ADDR=127.0.0.1 NAME=localhost'], to: victim },
  'a PROXY header': {
    helo: 'PROXY TCP4 127.0.0.1 127.0.0.1 1025 25',
    before: ['EHLO client.outside.example'],
    to: victim,
  },
  'a log-in on port 25': {
    before: [`AUTH PLAIN ${Buffer.from(`\0mallory@${domain}\0mallory-correct-horse`).toString('base64')}`],
    to: victim,
  },
  'a log-in on port 25 within TLS': {
    startTls: true,
    before: [`AUTH PLAIN ${Buffer.from(`\0mallory@${domain}\0mallory-correct-horse`).toString('base64')}`],
    to: victim,
  },
  'TLS alone': { startTls: true, to: victim },
  'a recipient of ours before': { first: `<mallory@${domain}>`, to: victim },
  'a forged SRS address': { to: `<SRS0=0123456789=AA=outside.example=@VICTIM@@${hostname}>` },
  'a forged SRS address with a shortcut': {
    to: `<SRS1=0123456789=outside.example==AA=AA=outside.example=@VICTIM@@${hostname}>`,
  },
  "the courier's inner address": { to: '<0b0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11.0@courier.invalid>' },
  "a forward's inner address": { to: '<0b0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11@forward.invalid>' },
};

/** Goes as far as the trick's recipient. @returns the first reply that ends it, or that of RCPT */
export async function attempt(session: Dialogue, trick: Trick, victimLocal: string, sink: string): Promise<string> {
  const fill = (text: string) => text.replaceAll('@VICTIM@', victimLocal).replaceAll('@SINK@', sink);
  const hello = trick.helo ?? 'EHLO client.outside.example';
  await session.command(hello);
  if (trick.startTls === true) {
    await session.startTls();
    await session.command(hello);
  }
  for (const line of trick.before ?? []) await session.command(line);
  const mail = await session.command(`MAIL FROM:${trick.from ?? STRANGER}`);
  if (!mail.startsWith('250')) return mail;
  if (trick.first !== undefined) await session.command(`RCPT TO:${trick.first}`);
  return session.command(`RCPT TO:${fill(trick.to)}`);
}

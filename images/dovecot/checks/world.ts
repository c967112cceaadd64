import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { type FetchMessageObject, ImapFlow } from 'imapflow';
import { SMTPServer } from 'smtp-server';
import { HOSTS, IP, type Stage } from './stage.js';

/** What a check is given. */
export interface World {
  readonly stage: Stage;
  readonly egress: Egress;
}
export type Check = (world: World) => Promise<void>;

/** A hash of "secret", made as the operator makes them. */
const HASH =
  '{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$HxIWH6L6Q5GW1D9VdoSXOA$ijPIos2OG82xV0SF4iS56xKVNrPvAHpEwaMM1A5R6y8';
export const PASSWORD = 'secret';

/** What the gatekeeper answers about somebody with the password "secret" whose mailbox is in this shard. */
export const account = (who: string): object => ({
  result: 'verify',
  username: `${who}@example.org`,
  host: HOSTS.store,
  port: 10143,
  sieve_port: 14190,
  ticket: `ticket of ${who}`,
  hashes: [{ id: 'password', hash: HASH }],
});

/** An IMAP session through the proxy; log-in errors are thrown. */
export async function imap(who: string, password: string = PASSWORD): Promise<ImapFlow> {
  const client = new ImapFlow({
    host: IP.proxy,
    port: 10993,
    secure: true,
    auth: { user: `${who}@example.org`, pass: password },
    tls: { rejectUnauthorized: false },
    logger: false,
    disableAutoIdle: true,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

export async function withImap<T>(who: string, body: (client: ImapFlow) => Promise<T>): Promise<T> {
  const client = await imap(who);
  try {
    return await body(client);
  } finally {
    client.close();
  }
}

/** The subjects in each folder: `{INBOX: ['one', 'two']}`. Folders without messages are left out. */
export function subjects(who: string): Promise<Record<string, string[]>> {
  return withImap(who, async (client) => {
    const found: Record<string, string[]> = {};
    for (const { path, flags } of await client.list()) {
      const list = flags.has('\\Noselect') ? [] : await subjectsIn(client, path);
      if (list.length > 0) found[path] = list;
    }
    return found;
  });
}

async function subjectsIn(client: ImapFlow, path: string): Promise<string[]> {
  const { exists } = await client.mailboxOpen(path, { readOnly: true });
  const list: string[] = [];
  if (exists === 0) return list;
  for await (const { envelope } of client.fetch('1:*', { envelope: true })) list.push(envelope?.subject ?? '');
  return list;
}

/** The message at a sequence number of the open folder. */
export async function message(client: ImapFlow, sequence: string): Promise<FetchMessageObject> {
  const found = await client.fetchOne(sequence, { source: true, flags: true });
  if (!found) throw new Error(`there is no message ${sequence}`);
  return found;
}

export interface Mail {
  readonly from?: string;
  /** The header To. */
  readonly toHeader?: string;
  readonly subject: string;
  readonly headers?: readonly string[];
  readonly text?: string;
}

/** Delivers by LMTP as the mx does; the answer to the recipient or to the message. */
export async function deliver(stage: Stage, who: string, mail: Mail): Promise<string> {
  const folder = stage.identities.mx?.folder ?? '';
  const [key, cert, ca] = ['tls.key', 'tls.crt', 'ca.crt'].map((file) => readFileSync(join(folder, file)));
  const socket = connect({ host: IP.store, port: 10024, key, cert, ca, servername: HOSTS.store });
  const lines = reader(socket);
  const to = `${who}@example.org`;
  const say = async (line: string): Promise<string> => {
    socket.write(`${line}\r\n`);
    return lines();
  };
  try {
    await lines();
    await say('LHLO checks');
    await say(`MAIL FROM:<${mail.from ?? 'friend@outside.example'}>`);
    const rcpt = await say(`RCPT TO:<${to}>`);
    if (!rcpt.startsWith('250')) return rcpt;
    await say('DATA');
    return await say(`${render(to, mail)}\r\n.`);
  } finally {
    socket.destroy();
  }
}

function render(to: string, mail: Mail): string {
  return [
    `From: <${mail.from ?? 'friend@outside.example'}>`,
    `To: ${mail.toHeader ?? to}`,
    `Subject: ${mail.subject}`,
    `Message-ID: <${mail.subject.replaceAll(' ', '.')}.${Math.random()}@outside.example>`,
    ...(mail.headers ?? []),
    '',
    mail.text ?? 'text',
  ].join('\r\n');
}

/** Reads one (multi-line) reply at a time. */
function reader(socket: TLSSocket): () => Promise<string> {
  let buffer = '';
  let wake = (): void => undefined;
  let failure: Error | undefined;
  socket.on('data', (chunk: Buffer) => {
    buffer += chunk.toString('utf8');
    wake();
  });
  socket.on('error', (error) => {
    failure = error;
    wake();
  });
  return async () => {
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n/.exec(buffer);
      if (match) {
        buffer = buffer.slice(match[0].length);
        return match[0].trim();
      }
      if (failure) throw failure;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}

export interface Sent {
  readonly from: string;
  readonly to: readonly string[];
  readonly raw: string;
}

/** The egress: takes mail over STARTTLS from whoever has a certificate of ours. */
export interface Egress {
  readonly sent: Sent[];
  /** What it says to MAIL from now on; null: accepts. */
  refuse: { code: number; text: string } | null;
  close(): void;
}

export function egress(stage: Stage): Promise<Egress> {
  const folder = stage.identities.egress?.folder ?? '';
  const [key, cert, ca] = ['tls.key', 'tls.crt', 'ca.crt'].map((file) => readFileSync(join(folder, file)));
  const tls = { key, cert, ca, requestCert: true, rejectUnauthorized: true };
  const world: Egress = { sent: [], refuse: null, close: () => server.close() };
  const server = new SMTPServer({
    ...tls,
    disabledCommands: ['AUTH'],
    disableReverseLookup: true,
    onMailFrom: (_address, session, callback) => {
      const { code, text } = session.secure ? (world.refuse ?? { code: 0, text: '' }) : { code: 530, text: 'no TLS' };
      callback(code === 0 ? null : Object.assign(new Error(text), { responseCode: code }));
    },
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        const from = mailFrom ? mailFrom.address : '';
        world.sent.push({
          from,
          to: rcptTo.map(({ address }) => address),
          raw: Buffer.concat(chunks).toString('utf8'),
        });
        callback(null);
      });
    },
  });
  server.on('error', () => undefined);
  return new Promise((resolve, reject) => {
    server.server.once('error', reject);
    server.listen(10025, IP.here, () => resolve(world));
  });
}

import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import type { Identity } from './certificates.js';

/** One answer of a server: all its lines, joined. */
export type Reply = string;

/** A bare SMTP client: it says exactly what it is told, also what no proper client would say. */
export interface Client {
  readonly greeting: Reply;
  send(line: string): Promise<Reply>;
  startTls(identity?: Identity): Promise<void>;
  close(): void;
}

/** Opens a session. `tls`: TLS from the first byte. */
export async function open(host: string, port: number, options: { tls?: boolean } = {}): Promise<Client> {
  const plain = connect({ host, port });
  let wire = options.tls ? await secure(plain) : channel(plain);
  const greeting = await wire.read();
  return {
    greeting,
    send: async (line) => {
      wire.socket.write(`${line}\r\n`);
      return wire.read();
    },
    startTls: async (identity) => {
      wire.socket.write('STARTTLS\r\n');
      const reply = await wire.read();
      if (!reply.startsWith('220')) throw new Error(reply);
      wire = await secure(plain, identity);
    },
    close: () => wire.socket.destroy(),
  };
}

interface Channel {
  readonly socket: Socket;
  read(): Promise<Reply>;
}

function channel(socket: Socket): Channel {
  let buffer = '';
  let failed: Error | undefined;
  let wake = (): void => undefined;
  const onData = (chunk: Buffer): void => {
    buffer += chunk.toString('latin1');
    wake();
  };
  const onEnd = (): void => {
    failed ??= new Error('connection closed');
    wake();
  };
  socket.on('data', onData).on('close', onEnd);
  socket.on('error', (error) => {
    failed = error;
    wake();
  });
  socket.setTimeout(40_000, () => socket.destroy(new Error('no answer in 40 s')));
  const read = async (): Promise<Reply> => {
    for (;;) {
      const reply = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(buffer)?.[0];
      if (reply !== undefined) {
        buffer = buffer.slice(reply.length);
        return reply.trimEnd();
      }
      if (failed) throw failed;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { socket, read };
}

async function secure(plain: Socket, identity?: Identity): Promise<Channel> {
  plain.removeAllListeners('data');
  const file = (name: string): Buffer | undefined => identity && readFileSync(join(identity.folder, name));
  const socket = connectTls({ socket: plain, cert: file('tls.crt'), key: file('tls.key'), rejectUnauthorized: false });
  const wire = channel(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', () => resolve());
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed in the TLS handshake')));
  });
  return wire;
}

export interface Envelope {
  readonly from: string;
  readonly to: string;
  readonly message: string;
}

/** A message with the headers that every proper one has. */
export function message(headers: Readonly<Record<string, string>>, body = 'Hello.'): string {
  const all = {
    From: 'Someone <someone@outside.test>',
    To: 'Alice <alice@example.org>',
    Subject: 'A letter',
    Date: new Date().toUTCString().replace('GMT', '+0000'),
    'Message-ID': `<${Math.random().toString(36).slice(2)}@outside.test>`,
    ...headers,
  };
  return [...Object.entries(all).map(([name, value]) => `${name}: ${value}`), '', body].join('\r\n');
}

/** Plays a whole transaction in an open session and returns the first answer that is not a success, or the last. */
export async function transaction(client: Client, { from, to, message: text }: Envelope): Promise<Reply> {
  for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, 'DATA']) {
    const reply = await client.send(line);
    if (!/^[23]/.test(reply)) return reply;
  }
  return client.send(`${text.replaceAll(/^\./gm, '..')}\r\n.`);
}

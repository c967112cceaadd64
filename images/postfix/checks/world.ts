import { chmodSync, readFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { HOSTNAME, IP, type Stage } from './stage.js';

export interface Delivery {
  readonly from: string;
  readonly to: string[];
  readonly raw: string;
}

/** A server that keeps what it is given, and can be stopped. */
export interface Sink {
  readonly deliveries: Delivery[];
  stop(): Promise<void>;
}

const refusal = (code: number, text: string): Error => Object.assign(new Error(text), { responseCode: code });

function sink(port: number, options: SMTPServerOptions, verdict: (local: string) => Error | null): Promise<Sink> {
  const deliveries: Delivery[] = [];
  const server = new SMTPServer({
    disabledCommands: ['AUTH'],
    disableReverseLookup: true,
    ...options,
    onRcptTo: ({ address }, _session, callback) => callback(verdict(address.split('@')[0] ?? '')),
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        const from = mailFrom === false ? '' : mailFrom.address;
        deliveries.push({
          from,
          to: rcptTo.map(({ address }) => address),
          raw: Buffer.concat(chunks).toString('latin1'),
        });
        callback(null);
      });
    },
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, IP.here, () => {
      server.on('error', () => undefined);
      resolve({ deliveries, stop: () => new Promise((done) => server.close(() => done())) });
    });
  });
}

/** The store: LMTP inside mutual TLS. `gone` is unknown to it, `full` is over quota, `broken` fails for good. */
export function store(stage: Stage): Promise<Sink> {
  const folder = stage.identities.store?.folder ?? '';
  const [key, cert, ca] = ['tls.key', 'tls.crt', 'ca.crt'].map((file) => readFileSync(join(folder, file)));
  const tls = { secure: true, key, cert, ca, requestCert: true, rejectUnauthorized: true };
  return sink(10024, { lmtp: true, ...tls } as SMTPServerOptions, (local) => {
    if (local === 'gone') return refusal(550, '5.1.1 User does not exist');
    if (local === 'full') return refusal(552, '5.2.2 Quota exceeded');
    if (local === 'broken') return refusal(554, '5.3.0 Something is configured wrongly');
    return null;
  });
}

/** The Internet: one server, which greets with our own name to see whether that is taken for a loop. */
export function outside(): Promise<Sink> {
  return sink(25, { name: HOSTNAME, hideSTARTTLS: true }, (local) =>
    local.startsWith('reject') ? refusal(550, '5.1.1 no such user') : null,
  );
}

/** Dovecot's auth service (its client protocol 1.x): alice and bob, password "secret". */
export function loginService(stage: Stage): Promise<Server> {
  const path = join(stage.root, 'submission', 'sasl', 'auth');
  const server = createServer((socket) => serveLogins(socket));
  return new Promise((resolve) => {
    server.listen(path, () => {
      chmodSync(path, 0o666);
      resolve(server);
    });
  });
}

function serveLogins(socket: Socket): void {
  socket.write(
    'VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n',
  );
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    for (const line of chunk.toString().split('\n')) {
      if (line.startsWith('AUTH\t')) socket.write(loginReply(line.split('\t')));
    }
  });
}

function loginReply([, id, , ...parameters]: string[]): string {
  const response = parameters.find((parameter) => parameter.startsWith('resp='))?.slice(5) ?? '';
  const [, user = '', password] = Buffer.from(response, 'base64').toString().split('\0');
  const known = ['alice@example.org', 'bob@example.org'].includes(user) && password === 'secret';
  return `${known ? 'OK' : 'FAIL'}\t${id}\tuser=${user}\n`;
}

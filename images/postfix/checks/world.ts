import { readFileSync } from 'node:fs';
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

interface Refusals {
  /** Answer to RCPT; null: taken. */
  readonly recipient: (local: string) => Error | null;
  /** Answer to the end of the message for its recipients. */
  readonly message?: (local: string) => Error | null;
}

function sink(host: string, port: number, options: SMTPServerOptions, refusals: Refusals): Promise<Sink> {
  const deliveries: Delivery[] = [];
  const server = new SMTPServer({
    disabledCommands: ['AUTH'],
    disableReverseLookup: true,
    ...options,
    onRcptTo: ({ address }, _session, callback) => callback(refusals.recipient(address.split('@')[0] ?? '')),
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
        callback(refusals.message?.(rcptTo[0]?.address.split('@')[0] ?? '') ?? null);
      });
    },
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.on('error', () => undefined);
      resolve({ deliveries, stop: () => new Promise((done) => server.close(() => done())) });
    });
  });
}

/** LMTP inside mutual TLS. */
function lmtp(stage: Stage, identity: string): SMTPServerOptions {
  const folder = stage.identities[identity]?.folder ?? '';
  const [key, cert, ca] = ['tls.key', 'tls.crt', 'ca.crt'].map((file) => readFileSync(join(folder, file)));
  const tls = { secure: true, key, cert, ca, requestCert: true, rejectUnauthorized: true };
  return { lmtp: true, ...tls } as SMTPServerOptions;
}

/** The store. `gone` is unknown to it, `full` is over quota, `broken` fails for good. */
export function store(stage: Stage): Promise<Sink> {
  const recipient = (local: string): Error | null => {
    if (local === 'gone') return refusal(550, '5.1.1 User does not exist');
    if (local === 'full') return refusal(552, '5.2.2 Quota exceeded');
    if (local === 'broken') return refusal(554, '5.3.0 Something is configured wrongly');
    return null;
  };
  return sink(IP.here, 10024, lmtp(stage, 'store'), { recipient });
}

/** The courier. The webhook of `f-no` refuses every message; `f-bad` makes it answer like a broken server. */
export function courier(stage: Stage): Promise<Sink> {
  const recipient = (local: string): Error | null =>
    local.startsWith('f-bad.') ? refusal(501, 'Error: syntax') : null;
  const after = (local: string): Error | null =>
    local.startsWith('f-no.') ? refusal(554, '5.3.0 webhook said 410') : null;
  return sink(IP.courier, 10024, lmtp(stage, 'courier'), { recipient, message: after });
}

/** The Internet: one server, which greets with our own name to see whether that is taken for a loop. */
export function outside(): Promise<Sink> {
  const recipient = (local: string): Error | null =>
    local.startsWith('reject') ? refusal(550, '5.1.1 no such user') : null;
  return sink(IP.here, 25, { name: HOSTNAME, hideSTARTTLS: true }, { recipient });
}

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import type { Log } from '../../operator/runtime/log.js';
import type { TlsMaterial } from '../lib/directory.js';
import { bounced, type Delivery, deferred, deliveryId, type Outcome, queuedAt, writtenTo } from './delivery.js';
import { parseToken } from './target.js';

export interface LmtpOptions {
  readonly port: number;
  readonly host?: string | undefined;
  /** Name to greet with. */
  readonly name: string;
  readonly tls: TlsMaterial;
  /** Common name of the client certificate that may deliver. */
  readonly client: string;
  /** Octets of one message. */
  readonly messageSizeLimit: number;
  /** Octets of all messages that are held at a time. Default 128 MiB, and at least one message. */
  readonly memoryLimit?: number | undefined;
  /** What to answer for a delivery. Never rejects. */
  readonly deliver: (delivery: Delivery) => Promise<Outcome>;
  readonly log: Log;
}

export interface LmtpServer {
  readonly port: number;
  /** New connections get this certificate. */
  setTls(tls: TlsMaterial): void;
  /** Takes no new connections; resolves when those that are open have ended. */
  close(): Promise<void>;
}

const MEMORY_LIMIT = 128 * 1024 * 1024;
/** Header fields that the forward role adds. */
const SLACK = 64 * 1024;
const BUSY = deferred('4.3.1', 'too much mail at once');
const TOO_LARGE = bounced('5.3.4', 'the message is too large');

/** LMTP (RFC 2033) within mutual TLS: one answer for each recipient, after the message. */
export async function startLmtp(options: LmtpOptions): Promise<LmtpServer> {
  const memory = { used: 0 };
  const server = new SMTPServer({
    lmtp: true,
    secure: true,
    ...options.tls,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    name: options.name,
    size: options.messageSizeLimit + SLACK,
    disabledCommands: ['AUTH'],
    disableReverseLookup: true,
    // A delivery may take its time: the client has its own time limit for the answer.
    socketTimeout: 300_000,
    closeTimeout: 60_000,
    onSecure: (socket, _session, callback) => callback(stranger(socket, options.client)),
    onRcptTo: ({ address }, _session, callback) =>
      callback(parseToken(address) === undefined ? reply(450, '4.1.1 not an address of the courier') : null),
    onData: (stream, session, callback) => {
      receive(stream, session, options, memory).then(
        (outcomes) => callback(null, outcomes.map(answerOf) as never),
        (error: Error) => callback(reply(451, `4.3.0 ${error.message}`)),
      );
    },
  });
  server.on('error', (error) => options.log.debug({ err: error }, 'a connection ended with an error'));
  await new Promise<void>((resolve, reject) => {
    server.server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const address = server.server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    setTls: (tls) => server.updateSecureContext(tls),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** TLS has checked that the certificate is our CA's; this checks whose it is. */
function stranger(socket: Socket, client: string): Error | null {
  const { subject } = (socket as TLSSocket).getPeerCertificate();
  return subject?.CN === client ? null : reply(421, `4.7.0 only ${client} may deliver here`);
}

async function receive(
  stream: SMTPServerDataStream,
  { envelope }: SMTPServerSession,
  { deliver, memoryLimit = MEMORY_LIMIT }: LmtpOptions,
  memory: { used: number },
): Promise<Outcome[]> {
  const chunks: Buffer[] = [];
  let held = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      // One message alone may always come in.
      if (memory.used - held > 0 && memory.used + chunk.length > memoryLimit) chunks.length = 0;
      else chunks.push(chunk);
      held += chunk.length;
      memory.used += chunk.length;
    }
    const message = Buffer.concat(chunks);
    const obstacle = stream.sizeExceeded ? TOO_LARGE : message.length < held ? BUSY : undefined;
    const sender = envelope.mailFrom === false ? '' : envelope.mailFrom.address;
    return await Promise.all(
      envelope.rcptTo.map(({ address }) => obstacle ?? deliver(deliveryOf(address, sender, message))),
    );
  } finally {
    memory.used -= held;
  }
}

function deliveryOf(address: string, sender: string, message: Buffer): Delivery {
  const token = parseToken(address) ?? '';
  const id = deliveryId(token, message);
  return { id, token, sender, message, recipient: writtenTo(message), queuedAt: queuedAt(message) };
}

/** smtp-server says 250 for a text, and for an error its code. */
function answerOf({ result, text }: Outcome): string | Error {
  if (result === 'delivered') return text;
  return reply(result === 'bounced' ? 550 : 451, text);
}

function reply(code: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode: code });
}

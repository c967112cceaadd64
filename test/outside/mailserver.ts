/**
 * What the mail servers of the outside world share: SMTP on port 25, and what they received over HTTP.
 *
 * HTTP: GET /messages[?to=ADDRESS] → what was taken; GET /refused → what the judge refused; DELETE /messages: forgets both;
 * GET /healthz.
 *
 * A recipient's local part says how it is treated:
 *   `defer…`   451 at RCPT
 *   `reject…`  550 at RCPT
 *   `dsn…`     taken, and then a delivery report comes to the envelope sender
 *   `back+LOCAL=DOMAIN`  taken, and sent on as it is to LOCAL@DOMAIN: a loop, if that leads here
 *   others     taken
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import { report } from './report.js';
import { createSender } from './sender.js';

export interface Received {
  id: number;
  from: string;
  to: string[];
  tls: boolean;
  client: string;
  helo: string;
  receivedAt: string;
  /** base64 */
  raw: string;
  /** What the judge found; absent where nobody judges. */
  verdicts?: unknown;
}

/** What a server thinks of a message: `refusal` is why it refuses, beginning with a status code (RFC 3463). */
export interface Judgement {
  verdicts: unknown;
  refusal?: string;
}

export interface ServerOptions {
  /** The server's host name; its mail domain is what follows the first dot. */
  name: string;
  smtpPort?: number;
  httpPort?: number;
  /** Folder with tls.key and tls.crt. */
  tlsFolder?: string | undefined;
  /** Name server to ask where mail is sent. */
  nameServer?: string | undefined;
  judge?: (message: Received) => Promise<Judgement>;
}

/** Keeps this many; the oldest go first. */
const LIMIT = 20_000;

export function startMailServer({ name, smtpPort = 25, httpPort = 8080, ...options }: ServerOptions): void {
  const received: Received[] = [];
  const refused: (Received & { refusal: string })[] = [];
  const send = createSender(name, options.nameServer);
  let counter = 0;

  const take = async (stream: SMTPServerDataStream, session: SMTPServerSession): Promise<void> => {
    counter += 1;
    const message = await read(stream, session, counter);
    const { verdicts, refusal } = (await options.judge?.(message)) ?? { verdicts: undefined };
    const judged = verdicts === undefined ? message : { ...message, verdicts };
    if (refusal !== undefined) {
      keep(refused, { ...judged, refusal });
      throw reply(refusal.startsWith('4') ? 451 : 550, refusal);
    }
    keep(received, judged);
    for (const to of message.to) void follow(to, message).catch((error) => complain(error));
  };

  /** What happens after a message was taken. */
  const follow = async (to: string, { from, raw }: Received): Promise<void> => {
    const message = Buffer.from(raw, 'base64');
    const back = /^back\+(.+)=([^=]+)@/.exec(to);
    if (back !== null) await send({ from, to: `${back[1]}@${back[2]}`, message: withReceived(name, message) });
    else if (to.startsWith('dsn') && from !== '') {
      await send({ from: '', to: from, message: report(name, to, from, message) });
    }
  };

  const smtp = new SMTPServer({
    name,
    disabledCommands: ['AUTH'],
    size: 60 * 1024 * 1024,
    disableReverseLookup: true,
    ...(options.tlsFolder === undefined
      ? { hideSTARTTLS: true }
      : { key: readFileSync(`${options.tlsFolder}/tls.key`), cert: readFileSync(`${options.tlsFolder}/tls.crt`) }),
    onRcptTo: (address, _session, callback) => callback(verdict(address.address)),
    onData: (stream, session, callback) => take(stream, session).then(() => callback(), callback),
  });
  smtp.on('error', complain);
  smtp.listen(smtpPort, '0.0.0.0');
  createServer((request, response) => answer(request, response, received, refused)).listen(httpPort, '0.0.0.0');
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));
}

function complain(error: Error): void {
  console.error(JSON.stringify({ level: 'error', message: error.message }));
}

function keep<T>(list: T[], item: T): void {
  list.push(item);
  if (list.length > LIMIT) list.shift();
}

function reply(code: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode: code });
}

function verdict(address: string): Error | null {
  if (address.startsWith('defer')) return reply(451, '4.3.0 try again later');
  if (address.startsWith('reject')) return reply(550, '5.1.1 no such user');
  return null;
}

async function read(stream: SMTPServerDataStream, session: SMTPServerSession, id: number): Promise<Received> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return {
    id,
    from: session.envelope.mailFrom === false ? '' : session.envelope.mailFrom.address,
    to: session.envelope.rcptTo.map((rcpt) => rcpt.address),
    tls: session.secure,
    client: session.remoteAddress,
    helo: String(session.hostNameAppearsAs ?? ''),
    receivedAt: new Date().toISOString(),
    raw: Buffer.concat(chunks).toString('base64'),
  };
}

function withReceived(name: string, message: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`Received: by ${name}; ${new Date().toUTCString()}\r\n`), message]);
}

function answer(request: IncomingMessage, response: ServerResponse, received: Received[], refused: Received[]): void {
  const url = new URL(request.url ?? '/', 'http://sink');
  const list = { '/messages': received, '/refused': refused }[url.pathname];
  if (url.pathname === '/healthz') return void end(response, 200, { ok: true });
  if (list === undefined) return void end(response, 404, { error: 'only /messages, /refused and /healthz' });
  if (request.method === 'DELETE') {
    received.length = 0;
    refused.length = 0;
    return void end(response, 200, { ok: true });
  }
  const to = url.searchParams.get('to');
  end(response, 200, to === null ? list : list.filter((message) => message.to.includes(to)));
}

function end(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

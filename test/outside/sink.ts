/**
 * A mail server of the outside world: takes every message on port 25, keeps it in memory as it came over the wire,
 * and shows what it has over HTTP. It answers as the local part says: `defer…` 451, `reject…` 550, others 250.
 *
 * HTTP: GET /messages[?to=ADDRESS] → [{id, from, to, tls, client, helo, receivedAt, raw (base64)}];
 * DELETE /messages; GET /healthz.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';

interface Received {
  id: number;
  from: string;
  to: string[];
  tls: boolean;
  client: string;
  helo: string;
  receivedAt: string;
  raw: string;
}

/** Keeps this many; the oldest go first. */
const LIMIT = 20_000;
const received: Received[] = [];
let counter = 0;

const [smtpPort, httpPort] = [Number(process.env.SMTP_PORT ?? 25), Number(process.env.HTTP_PORT ?? 8080)];
const tlsFolder = process.env.TLS_FOLDER;

const smtp = new SMTPServer({
  name: process.env.SMTP_NAME ?? 'mx.outside.example',
  disabledCommands: ['AUTH'],
  size: 60 * 1024 * 1024,
  disableReverseLookup: true,
  ...(tlsFolder === undefined
    ? { hideSTARTTLS: true }
    : { key: readFileSync(`${tlsFolder}/tls.key`), cert: readFileSync(`${tlsFolder}/tls.crt`) }),
  onRcptTo: (address, _session, callback) => callback(verdict(address.address)),
  onData: (stream, session, callback) => keep(stream, session).then(() => callback(), callback),
});
smtp.on('error', (error) => console.error(JSON.stringify({ level: 'error', message: error.message })));
smtp.listen(smtpPort, '0.0.0.0');

const http = createServer(answer);
http.listen(httpPort, '0.0.0.0');
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));

function verdict(address: string): Error | null {
  const reply = (code: number, text: string) => Object.assign(new Error(text), { responseCode: code });
  if (address.startsWith('defer')) return reply(451, '4.3.0 try again later');
  if (address.startsWith('reject')) return reply(550, '5.1.1 no such user');
  return null;
}

async function keep(stream: SMTPServerDataStream, session: SMTPServerSession): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  counter += 1;
  received.push({
    id: counter,
    from: session.envelope.mailFrom === false ? '' : session.envelope.mailFrom.address,
    to: session.envelope.rcptTo.map((rcpt) => rcpt.address),
    tls: session.secure,
    client: session.remoteAddress,
    helo: String(session.hostNameAppearsAs ?? ''),
    receivedAt: new Date().toISOString(),
    raw: Buffer.concat(chunks).toString('base64'),
  });
  if (received.length > LIMIT) received.shift();
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://sink');
  if (url.pathname === '/healthz') return void end(response, 200, { ok: true });
  if (url.pathname !== '/messages') return void end(response, 404, { error: 'only /messages and /healthz' });
  if (request.method === 'DELETE') {
    received.length = 0;
    return void end(response, 200, { ok: true });
  }
  const to = url.searchParams.get('to');
  end(response, 200, to === null ? received : received.filter((message) => message.to.includes(to)));
}

function end(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

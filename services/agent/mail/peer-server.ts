/**
 * The API for other members (HTTPS, port 10028): only stores of our CA may ask. Each request shows its epoch; one that is lower
 * than what is known here is refused, and a member that is the primary, or becomes it, takes nothing from another.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { z } from 'zod';
import { closeWhenAnswered, listen } from '../../lib/listen.js';
import { STORE_ROLE } from '../../lib/peer.js';
import { HttpError, header, readBody, readJson, sendJson } from '../http.js';
import type { Core } from '../ports.js';
import { addressesIn } from './addresses.js';
import type { JournalStore } from './journal.js';
import { doveadmUser, uuidIn } from './name.js';
import { homeOf, readScripts, writeScripts } from './sieve.js';
import { connectSocket, join2 } from './tunnel.js';

/** A message and what the mx adds to it; the deposit has looked at its size. */
const MESSAGE_LIMIT = 192 * 1024 * 1024;

export interface PeerServerOptions {
  readonly core: Core;
  readonly journal: JournalStore;
  readonly host: string;
  readonly port: number;
  /** What this member's Dovecot says about a person's folders. */
  readonly inventory: (user: string) => Promise<unknown>;
  /** Puts a mailbox aside that can't be read; whether it did. */
  readonly putAside: (user: string, uuid: string) => Promise<boolean>;
}

export interface PeerServer {
  readonly port: number;
  close(): Promise<void>;
}

const scripts = z.object({
  uuid: z.string(),
  files: z.array(z.object({ name: z.string(), mtime: z.number(), base64: z.string() })),
  active: z.string(),
});
const promise = z.object({
  shard: z.string(),
  epoch: z.number(),
  holder: z.string(),
  volume: z.string(),
  ttl: z.number(),
});
const entry = z.object({ uuid: z.string(), id: z.string() });

export async function startPeerServer(options: PeerServerOptions): Promise<PeerServer> {
  const { core } = options;
  const server = createServer(
    {
      ...core.tls(),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      noDelay: true,
      keepAlive: true,
    },
    (request, response) => void answer(options, request, response),
  );
  // Longer than clients keep an idle connection.
  server.keepAliveTimeout = 120_000;
  server.requestTimeout = 0;
  server.on('tlsClientError', (error) => core.log.debug({ err: error }, 'a peer could not connect'));
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => undefined);
    accept(options, request, socket, head).catch((error: unknown) => refuse(socket, error));
  });
  core.onTls((material) => server.setSecureContext({ ...material, minVersion: 'TLSv1.2' }));
  const port = await listen(server, options);
  return {
    port,
    close: () => {
      // What is still under way after a second is a tunnel, or a client that doesn't read.
      setTimeout(() => server.closeAllConnections(), 1_000).unref();
      return closeWhenAnswered(server);
    },
  };
}

async function answer(options: PeerServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    checkStore(request);
    const path = (request.url ?? '').split('?')[0] ?? '';
    const handler = handlerOf(request.method ?? '', path);
    if (!handler) throw new HttpError(404, 'not found');
    await handler(options, request, response, path);
  } catch (error) {
    fail(options.core, request, response, error);
  }
}

function fail({ log }: Core, request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const status = error instanceof HttpError ? error.status : 503;
  if (status === 503) log.warn({ err: error, path: request.url }, 'a peer could not be answered');
  if (response.headersSent) response.destroy();
  else sendJson(response, status, { error: (error as Error).message });
  // The rest of a body that nobody reads would be taken for the next request.
  const hasBody = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
  if (hasBody && !request.complete) response.once('finish', () => request.destroy());
}

/** TLS has checked that the certificate is our CA's; this checks whose it is. */
function checkStore(request: IncomingMessage): void {
  const { subject } = (request.socket as TLSSocket).getPeerCertificate();
  if (subject?.CN !== STORE_ROLE) throw new HttpError(403, `only ${STORE_ROLE} may ask`);
}

/** The epoch that a request shows. @throws HttpError 409 when a later one is known. */
function checkEpoch(core: Core, request: IncomingMessage): number {
  // A store of another shard has another's epochs.
  if (header(request, 'x-shard') !== core.state().shard)
    throw new HttpError(403, `this is shard ${core.state().shard}`);
  const text = header(request, 'x-epoch') ?? '';
  if (!/^\d{1,15}$/.test(text)) throw new HttpError(400, 'X-Epoch is missing');
  const epoch = Number(text);
  core.sawEpoch(epoch);
  if (epoch < core.knownEpoch()) throw new HttpError(409, `epoch ${epoch} is over, this is ${core.knownEpoch()}`);
  return epoch;
}

/** @throws HttpError 409 unless this member is a replica. */
function checkReplica(core: Core): void {
  const { role } = core.state();
  if (role === 'primary' || role === 'opening') throw new HttpError(409, `this member is ${role}`);
}

/** A move of a mailbox from another shard: the directory must say so, and the epoch is this shard's. */
async function checkMove(core: Core, request: IncomingMessage, user: string): Promise<void> {
  const { role, epoch } = core.state();
  if (role !== 'primary') throw new HttpError(409, `this member is ${role}`);
  if (header(request, 'x-epoch') !== String(epoch)) throw new HttpError(409, `the epoch is ${epoch}`);
  if (!(await leadsHere(core, user))) throw new HttpError(403, `no move of ${user} leads here`);
}

async function leadsHere(core: Core, user: string): Promise<boolean> {
  const [row] = await core.directory.ask<{ expected: boolean | null }>({
    doing: 'look up a move',
    sql: 'SELECT directory_v1.move_target($1, $2) AS expected',
    values: [user, core.state().shard],
    unsure: ([found]) => found?.expected !== true,
  });
  return row?.expected === true;
}

/** What a move brings must be of the mailbox that moves. */
async function checkMoved(core: Core, request: IncomingMessage, uuid: string): Promise<void> {
  const move = header(request, 'x-move');
  if (move === undefined) return;
  const user = decodeURIComponent(move);
  const mailbox = uuidIn(user) ?? (await addressesIn(core.directory).mailboxOf(user));
  if (mailbox !== uuid) throw new HttpError(403, `${uuid} is not the mailbox that moves`);
}

/** Who may write here: the primary of our shard, or the source of a move. */
async function checkWriter(core: Core, request: IncomingMessage): Promise<void> {
  const move = header(request, 'x-move');
  if (move !== undefined) return checkMove(core, request, decodeURIComponent(move));
  checkEpoch(core, request);
  checkReplica(core);
}

type PeerHandler = (
  options: PeerServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
) => Promise<void>;

function handlerOf(method: string, path: string): PeerHandler | undefined {
  if (/^\/v1\/journal\/[0-9a-f-]{36}\/[0-9a-f]{64}$/.test(path)) return JOURNAL[method];
  const key = `${method} ${path}`;
  return Object.hasOwn(ROUTES, key) ? ROUTES[key] : undefined;
}

const JOURNAL: Readonly<Record<string, PeerHandler>> = {
  PUT: async ({ core, journal }, request, response, path) => {
    const epoch = checkEpoch(core, request);
    checkReplica(core);
    const [, , , mailbox = '', id = ''] = path.split('/');
    const text = (name: string): string => decodeURIComponent(header(request, name) ?? '');
    const [recipient, sender] = [text('x-recipient'), text('x-sender')];
    const content = await readBody(request, MESSAGE_LIMIT);
    // Right before it counts: a promotion that has begun meanwhile has looked through the journal already.
    const admit = (): void => {
      if (epoch < core.knownEpoch()) throw new HttpError(409, `epoch ${epoch} is over`);
      checkReplica(core);
    };
    await journal.put({ mailbox, id, epoch, recipient, sender, content }, admit);
    sendJson(response, 201, {});
  },
  /** For the primary, which replays what it doesn't have. */
  GET: async ({ core, journal }, request, response, path) => {
    checkEpoch(core, request);
    const [, , , mailbox = '', id = ''] = path.split('/');
    const found = await journal.read(mailbox, id);
    if (!found) throw new HttpError(404, 'no such entry');
    response
      .writeHead(200, {
        'content-length': found.content.length,
        'x-recipient': encodeURIComponent(found.recipient),
        'x-sender': encodeURIComponent(found.sender),
        'x-entry-epoch': String(found.epoch),
      })
      .end(found.content);
  },
};

const ROUTES: Readonly<Record<string, PeerHandler>> = {
  'GET /v1/state': async ({ core }, _request, response) => sendJson(response, 200, core.state()),
  'POST /v1/promise': async ({ core }, request, response) => {
    const asked = await readJson(request, promise);
    // Nothing may come between the decision and the answer.
    sendJson(response, core.promise(asked) ? 200 : 409, {});
  },
  'POST /v1/released': async ({ core }, request, response) => {
    await readBody(request, 1024);
    core.released();
    sendJson(response, 200, {});
  },
  'POST /v1/journal/mark': async ({ core, journal }, request, response) => {
    checkEpoch(core, request);
    const { uuid } = await readJson(request, z.object({ uuid: z.string() }));
    sendJson(response, 200, { mark: journal.mark(uuid) });
  },
  'POST /v1/journal/purge': async ({ core, journal }, request, response) => {
    const epoch = checkEpoch(core, request);
    const { uuid, mark } = await readJson(request, z.object({ uuid: z.string(), mark: z.string() }));
    sendJson(response, 200, { removed: await journal.purge(uuid, mark, epoch) });
  },
  /** The primary of this epoch has the message. */
  'POST /v1/journal/confirm': async ({ core, journal }, request, response) => {
    const epoch = checkEpoch(core, request);
    const { uuid, id } = await readJson(request, entry);
    await journal.confirm(uuid, id, epoch);
    sendJson(response, 200, {});
  },
  'GET /v1/journal': async ({ core, journal }, request, response) => {
    const summary = await journal.summary(checkEpoch(core, request));
    sendJson(response, 200, request.url?.includes('users=0') ? { ...summary, users: [] } : summary);
  },
  'POST /v1/inventory': async ({ core, inventory }, request, response) => {
    const who = await readJson(request, z.object({ user: z.string(), uuid: z.string().optional() }));
    if (header(request, 'x-move') === undefined) checkEpoch(core, request);
    else await checkMove(core, request, who.user);
    sendJson(response, 200, await inventory(doveadmUser(who)));
  },
  /** For a primary whose syncs of this mailbox fail again and again. */
  'POST /v1/reset': async ({ core, putAside }, request, response) => {
    checkEpoch(core, request);
    checkReplica(core);
    const { user, uuid } = await readJson(request, z.object({ user: z.string(), uuid: z.string() }));
    const reset = await putAside(doveadmUser({ user, uuid }), uuid);
    if (reset) core.log.warn({ user, mailbox: uuid }, 'a damaged copy of a mailbox was put aside');
    sendJson(response, 200, { reset });
  },
  'GET /v1/sieve': async ({ core }, request, response) => {
    checkEpoch(core, request);
    const uuid = new URL(request.url ?? '', 'https://peer').searchParams.get('uuid') ?? '';
    sendJson(response, 200, await readScripts(homeOf(core.mailRoot, uuid)));
  },
  'POST /v1/sieve': async ({ core }, request, response) => {
    await checkWriter(core, request);
    const { uuid, files, active } = await readJson(request, scripts);
    await checkMoved(core, request, uuid);
    await writeScripts(homeOf(core.mailRoot, uuid), { files, active });
    sendJson(response, 200, { ok: true });
  },
};

const EPOCH_CHECK_MS = 100;
const MOVE_CHECK_MS = 5_000;
const noAnswer = (): void => undefined;

/** An upgrade to `dsync`: a stream to Dovecot's doveadm socket, as long as the epoch lasts. */
async function accept(
  { core }: PeerServerOptions,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  checkStore(request);
  if (request.headers.upgrade !== 'dsync') throw new HttpError(400, 'only dsync is spoken here');
  await checkWriter(core, request);
  const inside = await connectSocket(core.doveadmSocket);
  const end = (): void => {
    socket.destroy();
    inside.destroy();
  };
  if (socket.destroyed || core.modeSignal().aborted) return end();
  const move = header(request, 'x-move');
  const epoch = Number(header(request, 'x-epoch'));
  const signal = core.modeSignal();
  signal.addEventListener('abort', end, { once: true });
  // The primary of an epoch that is over may not go on, nor may a move that was called off: what it brought is being removed.
  const timer =
    move === undefined
      ? setInterval(() => epoch < core.knownEpoch() && end(), EPOCH_CHECK_MS)
      : setInterval(
          () => void leadsHere(core, decodeURIComponent(move)).then((yes) => yes || end(), noAnswer),
          MOVE_CHECK_MS,
        );
  socket.once('close', () => {
    clearInterval(timer);
    signal.removeEventListener('abort', end);
    inside.destroy();
  });
  inside.once('error', end);
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: dsync\r\n\r\n');
  if (head.length > 0) inside.write(head);
  join2(socket, inside);
}

function refuse(socket: Duplex, error: unknown): void {
  const status = error instanceof HttpError ? error.status : 503;
  const text = (error as Error).message;
  socket.end(
    `HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}

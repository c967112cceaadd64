/**
 * Requests to the agents of other members, by HTTPS with both sides' certificates, on connections that are kept: a message
 * costs no handshake.
 */

import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import type { TlsMaterial } from './directory.js';

/** Common name of every store's certificate. */
export const STORE_ROLE = 'posthorn_store';

/** Whom to ask. */
export interface PeerAddress {
  readonly host: string;
  readonly port: number;
}

export interface PeerRequest {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object goes as JSON. */
  readonly body?: Buffer | object;
  /** For all of it. */
  readonly timeoutMs: number;
  /** Ask again, once, when a kept connection turns out to have ended. Default true: requests are idempotent. */
  readonly repeat?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface PeerAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface PeerClient {
  /** @throws Error when there is no answer in time. Statuses are the caller's to judge. */
  request(peer: PeerAddress, request: PeerRequest): Promise<PeerAnswer>;
  /** A stream of octets to what the peer has under `protocol`. @throws Error when the peer refuses. */
  upgrade(
    peer: PeerAddress,
    protocol: string,
    options: Omit<PeerRequest, 'method' | 'body' | 'repeat'>,
  ): Promise<Duplex>;
  /** New connections show this certificate. */
  setTls(tls: TlsMaterial): void;
  close(): void;
}

/** Longest answer that is read, octets. */
const ANSWER_LIMIT = 192 * 1024 * 1024;
/** Below the server's 120 s: no connection is ended under a request. */
const IDLE_MS = 60_000;

export function createPeerClient(tls: TlsMaterial): PeerClient {
  const open = (material: TlsMaterial): Agent =>
    new Agent({
      ...material,
      keepAlive: true,
      keepAliveMsecs: 10_000,
      maxSockets: 32,
      scheduling: 'lifo',
      timeout: IDLE_MS,
      minVersion: 'TLSv1.2',
      checkServerIdentity: checkStore,
    });
  let agent = open(tls);
  return {
    request: (peer, options) => repeated(options.repeat !== false, () => once(agent, peer, options)),
    upgrade: (peer, protocol, options) => repeated(true, () => upgrade(agent, peer, protocol, options)),
    setTls: (next) => {
      const old = agent;
      agent = open(next);
      // Free connections end now, those in use when their requests have: their time-out is short for a free one.
      for (const sockets of Object.values(old.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
    },
    close: () => agent.destroy(),
  };
}

/** A kept connection may have ended without a word: then another is tried, once. */
async function repeated<T>(allowed: boolean, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!allowed || (error as { stale?: boolean }).stale !== true) throw error;
    return work();
  }
}

function asStale(request: ClientRequest, error: Error): Error {
  const reset = ['ECONNRESET', 'EPIPE'].includes((error as NodeJS.ErrnoException).code ?? '');
  return Object.assign(error, { stale: reset && request.reusedSocket });
}

/** The name must be the member's, and the certificate a store's. */
function checkStore(host: string, certificate: PeerCertificate): Error | undefined {
  const wrong = checkServerIdentity(host, certificate);
  if (wrong) return wrong;
  return certificate.subject.CN === STORE_ROLE ? undefined : new Error(`${host} is not a store`);
}

function begin(agent: Agent, peer: PeerAddress, options: Omit<PeerRequest, 'repeat'>): ClientRequest {
  const payload = options.body === undefined || Buffer.isBuffer(options.body) ? options.body : json(options.body);
  const settings: RequestOptions = {
    agent,
    host: peer.host,
    port: peer.port,
    servername: peer.host,
    method: options.method,
    path: options.path,
    headers: { ...options.headers, ...(payload === undefined ? {} : { 'content-length': payload.length }) },
  };
  return httpsRequest(settings).end(payload);
}

function json(body: object): Buffer {
  return Buffer.from(JSON.stringify(body));
}

function once(agent: Agent, peer: PeerAddress, options: PeerRequest): Promise<PeerAnswer> {
  return new Promise((resolve, reject) => {
    const request = begin(agent, peer, options);
    const stop = limit(request, peer, options, reject);
    request.once('response', (response) => {
      readAll(response).then(
        (body) => {
          stop();
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
        },
        (error: Error) => {
          // When the peer has gone in the middle of its answer, the request is destroyed already and says nothing more.
          stop();
          request.destroy();
          reject(asStale(request, error));
        },
      );
    });
    request.once('error', (error) => {
      stop();
      reject(asStale(request, error));
    });
  });
}

/** Ends the request when its time is over or it is no longer wanted, and tells so. */
function limit(
  request: ClientRequest,
  { host }: PeerAddress,
  { timeoutMs, signal }: PeerRequest,
  tell: (error: Error) => void,
): () => void {
  const end = (error: Error): void => {
    stop();
    tell(error);
    request.destroy(error);
  };
  const abort = (): void => end(new Error('no longer wanted'));
  const timer = setTimeout(() => end(new Error(`${host}: no answer within ${Math.round(timeoutMs)} ms`)), timeoutMs);
  const stop = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  };
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted) abort();
  return stop;
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > ANSWER_LIMIT) throw new Error('the answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function upgrade(
  agent: Agent,
  peer: PeerAddress,
  protocol: string,
  options: Omit<PeerRequest, 'method' | 'body' | 'repeat'>,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const headers = { ...options.headers, connection: 'Upgrade', upgrade: protocol };
    const whole: PeerRequest = { ...options, method: 'GET', headers };
    const request = begin(agent, peer, whole);
    const stop = limit(request, peer, whole, reject);
    request.once('upgrade', (_response, socket, head) => {
      stop();
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    request.once('response', (response) => {
      stop();
      response.resume();
      reject(new Error(`${peer.host} answers ${response.statusCode} to ${protocol}`));
    });
    request.once('error', (error) => {
      stop();
      reject(asStale(request, error));
    });
  });
}

/** Sockets: keep-alive, bounded, with a deadline on every request and certificates that may change while we run. */
import http from 'node:http';
import https from 'node:https';
import { ApiError } from './errors.js';
import type { Connection, TlsMaterial } from './kubeconfig.js';

export interface HttpRequest {
  method: string;
  /** Path and query, relative to the server's URL. */
  path: string;
  verb: string;
  object: string;
  body?: string | undefined;
  contentType?: string | undefined;
  accept?: string | undefined;
  /** Deadline for the whole answer, in milliseconds, counted from when a socket is free. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Goes past the limit of requests in flight, on sockets of its own: for leases. */
  urgent?: boolean | undefined;
  /** Called when it is this request's turn; refuses it by throwing. */
  admit?: (() => void) | undefined;
}

export interface HttpResponse {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

export interface Transport {
  /** One request and its whole answer, whatever its status. Rejects with {@link ApiError} (status 0) if none comes. */
  send(request: HttpRequest): Promise<HttpResponse>;
  /** A long answer as a stream; the deadline is for its head alone. The signal ends it. */
  open(request: HttpRequest): Promise<http.IncomingMessage>;
  close(): void;
}

type Agents = Record<'normal' | 'urgent' | 'stream', http.Agent>;

const materialMaxAgeMs = 60_000;
/** Idle sockets are closed before the API server does it (90 s), so that no request is sent into a closing one. */
const idleMs = 45_000;

/** @param sockets Most requests in flight; more wait their turn. Streams and urgent requests don't count. */
export function createTransport(
  connection: Connection,
  { sockets, userAgent }: { sockets: number; userAgent: string },
): Transport {
  const secure = connection.server.protocol === 'https:';
  const prefix = connection.server.pathname.replace(/\/$/, '');
  const agentsNow = createAgents(connection, secure, sockets);
  const limit = createLimit(sockets);

  const start = async (request: HttpRequest, lane: keyof Agents): Promise<http.ClientRequest> => {
    const auth = await connection.headers();
    const headers: http.OutgoingHttpHeaders = {
      ...auth,
      accept: request.accept ?? 'application/json',
      'user-agent': userAgent,
    };
    if (request.body !== undefined) {
      headers['content-type'] = request.contentType ?? 'application/json';
      headers['content-length'] = Buffer.byteLength(request.body);
    }
    return (secure ? https : http).request({
      hostname: connection.server.hostname.replace(/^\[|\]$/g, ''),
      port: connection.server.port,
      path: prefix + request.path,
      method: request.method,
      headers,
      agent: agentsNow()[lane],
    });
  };

  return {
    send: async (request) => {
      if (request.urgent === true) return wholeAnswer(await start(request, 'urgent'), request);
      await limit.enter();
      try {
        request.admit?.();
        return await wholeAnswer(await start(request, 'normal'), request);
      } finally {
        limit.leave();
      }
    },
    open: async (request) => head(await start(request, 'stream'), request),
    close: () => {
      for (const agent of Object.values(agentsNow())) agent.destroy();
    },
  };
}

/** Agents for the current certificates; replaced when the files have changed. */
function createAgents(connection: Connection, secure: boolean, sockets: number): () => Agents {
  let agents: Agents | undefined;
  let material: TlsMaterial | undefined;
  let checkedAt = 0;
  const build = (tls: TlsMaterial): Agents => {
    const make = (maxSockets: number): http.Agent => {
      const scheduling = 'lifo' as const;
      const options = { keepAlive: true, keepAliveMsecs: 15_000, timeout: idleMs, maxSockets, scheduling };
      return secure ? new https.Agent({ ...options, ...defined(tls) }) : new http.Agent(options);
    };
    return { normal: make(sockets), urgent: make(2), stream: make(Number.POSITIVE_INFINITY) };
  };
  return () => {
    if (agents !== undefined && Date.now() - checkedAt < materialMaxAgeMs) return agents;
    checkedAt = Date.now();
    const fresh = connection.tls();
    if (agents === undefined || material === undefined || !sameMaterial(material, fresh)) agents = build(fresh);
    material = fresh;
    return agents;
  };
}

function defined(tls: TlsMaterial): https.AgentOptions {
  return Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
}

function sameMaterial(a: TlsMaterial, b: TlsMaterial): boolean {
  const same = (x?: Buffer, y?: Buffer): boolean => (x === undefined || y === undefined ? x === y : x.equals(y));
  return same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key);
}

interface Limit {
  enter(): Promise<void>;
  leave(): void;
}

/** A counting semaphore, first come first served. */
function createLimit(most: number): Limit {
  let free = most;
  const waiting: (() => void)[] = [];
  let head = 0;
  return {
    enter: () => {
      if (free > 0) {
        free -= 1;
        return Promise.resolve();
      }
      return new Promise((resolve) => waiting.push(resolve));
    },
    leave: () => {
      const next = waiting[head];
      if (next === undefined) {
        free += 1;
        return;
      }
      head += 1;
      if (head === waiting.length) {
        waiting.length = 0;
        head = 0;
      }
      next();
    },
  };
}

function wholeAnswer(request: http.ClientRequest, asked: HttpRequest): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const finish = deadline(request, asked, reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => finish(() => reject(connectionError(error, asked))));
      response.on('end', () => {
        const body = chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString('utf8');
        finish(() => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      });
    });
    request.end(asked.body);
  });
}

function head(request: http.ClientRequest, asked: HttpRequest): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const finish = deadline(request, asked, reject);
    request.on('response', (response) => {
      const abort = (): void => void response.destroy();
      asked.signal?.addEventListener('abort', abort, { once: true });
      response.once('close', () => asked.signal?.removeEventListener('abort', abort));
      finish(() => resolve(response));
    });
    request.end(asked.body);
  });
}

/** Destroys the request when its time is up or its signal aborts. Call the returned function once with the outcome. */
function deadline(
  request: http.ClientRequest,
  asked: HttpRequest,
  reject: (error: ApiError) => void,
): (outcome: () => void) => void {
  let done = false;
  const finish = (outcome: () => void): void => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    asked.signal?.removeEventListener('abort', abort);
    outcome();
  };
  const fail = (error: ApiError): void =>
    finish(() => {
      reject(error);
      request.destroy();
    });
  const timer = setTimeout(
    () => fail(ownError(asked, 'Timeout', `no answer within ${asked.timeoutMs / 1000} s`)),
    asked.timeoutMs,
  );
  const abort = (): void => fail(ownError(asked, 'Aborted', 'aborted by the caller'));
  request.on('error', (error) => finish(() => reject(connectionError(error, asked))));
  if (asked.signal?.aborted === true) abort();
  else asked.signal?.addEventListener('abort', abort, { once: true });
  return finish;
}

function ownError({ verb, object }: HttpRequest, reason: string, message: string, cause?: unknown): ApiError {
  return new ApiError({ status: 0, reason, message, verb, object, cause });
}

function connectionError(error: NodeJS.ErrnoException, asked: HttpRequest): ApiError {
  return ownError(asked, 'ConnectionFailed', `connection failed (${error.code ?? error.message})`, error);
}

/** True if the request can't have reached the server: nobody listened. */
export function neverSent(error: ApiError): boolean {
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EAI_AGAIN';
}

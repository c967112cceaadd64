/** A small JSON-over-HTTP server for callers in the same pod, with health checks and metrics. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import type { Log } from '../../operator/runtime/log.js';
import { closeWhenAnswered, listen } from './listen.js';

/** Takes the parsed body; what it returns is the answer's JSON. Throwing means 503: a temporary failure. */
export type JsonRoute = (body: unknown) => Promise<unknown>;

/** The request itself is wrong: 400 with this message. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest';
}

export interface HttpOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** `POST` routes by path. */
  readonly routes?: Readonly<Record<string, JsonRoute>>;
  /** False means that only a restart can help. */
  readonly live?: () => boolean;
  /** False means not now. */
  readonly ready?: () => boolean;
  readonly registry: Registry;
  readonly log: Log;
  /** Longest request body, octets. Default 4 MiB. A longer one gets 413. */
  readonly bodyLimit?: number;
  /** For one answer. Default 15 s; then 503. */
  readonly timeoutMs?: number;
}

export interface HttpServer {
  readonly port: number;
  /** Answers what has begun, takes nothing new. */
  close(): Promise<void>;
}

const DEFAULT_BODY_LIMIT = 4 * 1024 * 1024;

/** Serves `POST` routes, and `GET /live`, `/ready` and `/metrics`. */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const server = createServer((request, response) => {
    respond(options, request, response).catch((error: unknown) => {
      options.log.error({ err: error, path: request.url }, 'answering failed');
      response.destroy();
    });
  });
  // Longer than callers keep an idle connection: none is closed under a request.
  server.keepAliveTimeout = 120_000;
  const port = await listen(server, options);
  return {
    port,
    close: () => closeWhenAnswered(server),
  };
}

async function respond(options: HttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '').split('?')[0] ?? '';
  if (request.method === 'GET') return respondGet(options, path, response);
  const route = request.method === 'POST' && options.routes && Object.hasOwn(options.routes, path);
  if (!route) return send(response, 404, { error: 'not found' });
  const body = await readBody(request, options.bodyLimit ?? DEFAULT_BODY_LIMIT);
  if (body === undefined) return send(response, 413, { error: 'the request is too long' });
  const [status, answer] = await runRoute(options, path, body);
  send(response, status, answer);
}

async function respondGet(options: HttpOptions, path: string, response: ServerResponse): Promise<void> {
  if (path === '/live') return sendCheck(response, options.live?.() ?? true);
  if (path === '/ready') return sendCheck(response, options.ready?.() ?? true);
  if (path !== '/metrics') return send(response, 404, { error: 'not found' });
  const text = await options.registry.metrics();
  response.writeHead(200, { 'content-type': options.registry.contentType }).end(text);
}

async function runRoute(options: HttpOptions, path: string, body: string): Promise<[number, unknown]> {
  try {
    const route = options.routes?.[path] as JsonRoute;
    return [200, await withTimeout(route(parseJson(body)), options.timeoutMs ?? 15_000)];
  } catch (error) {
    if (error instanceof BadRequest) return [400, { error: error.message }];
    options.log.warn({ err: error, path }, 'the request could not be answered');
    return [503, { error: 'temporary failure' }];
  }
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new BadRequest('the body is not JSON');
  }
}

async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** The body as text, octets that are no UTF-8 as U+FFFD; undefined when it is too long (it is read to its end all the same). */
async function readBody(request: IncomingMessage, limit: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= limit) chunks.push(chunk);
  }
  return length > limit ? undefined : Buffer.concat(chunks).toString('utf8');
}

function send(response: ServerResponse, status: number, answer: unknown): void {
  const text = JSON.stringify(answer);
  response
    .writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    .end(text);
}

function sendCheck(response: ServerResponse, ok: boolean): void {
  response.writeHead(ok ? 200 : 503, { 'content-type': 'text/plain' }).end(ok ? 'ok\n' : 'failed\n');
}

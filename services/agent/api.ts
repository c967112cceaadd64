/** The agent's HTTP API for the other containers of its pod: JSON on loopback. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { type ZodType, z } from 'zod';
import type { Log } from '../../operator/runtime/log.js';
import { listen } from '../lib/listen.js';
import type { Agent } from './agent.js';
import type { LeaseDirectory } from './directory.js';
import { HttpError, readBody, sendJson } from './http.js';
import type { Term } from './lease-state.js';
import type { AgentState, Mail } from './ports.js';
import type { StateWatch } from './state-watch.js';

export interface ApiOptions {
  readonly host: string;
  readonly port: number;
  readonly agent: Agent;
  readonly states: StateWatch;
  readonly directory: LeaseDirectory;
  readonly mail: Mail;
  readonly registry: Registry;
  /** Asked for by somebody, or wanted by the directory: prepares and begins a planned switch. */
  readonly handover: (to: number | undefined) => Promise<{ readonly to: number } | { readonly refused: string }>;
  readonly log: Log;
}

export interface Api {
  readonly port: number;
  close(): Promise<void>;
}

const BODY_LIMIT = 4 * 1024 * 1024;
const LONGEST_WAIT_MS = 60_000;

type Route = (options: ApiOptions, request: IncomingMessage, url: URL) => Promise<unknown>;

const routes: Readonly<Record<string, Route>> = {
  'GET /v1/state': getState,
  'POST /v1/handover': postHandover,
  'POST /v1/seeded': postSeeded,
  'POST /v1/report': postReport,
  'GET /v1/moves': getMoves,
  'POST /v1/moves': postMoves,
  'GET /live': async () => ({}),
  'GET /ready': async ({ states }) => {
    const { role } = states.current();
    if (role !== 'primary' && role !== 'replica') throw new HttpError(503, `this member is ${role}`);
    return { role };
  },
};

/** Serves until it is closed. */
export async function startApi(options: ApiOptions): Promise<Api> {
  const server = createServer((request, response) => {
    respond(options, request, response).catch((error: unknown) => {
      options.log.error({ err: error, path: request.url }, 'answering failed');
      response.destroy();
    });
  });
  server.keepAliveTimeout = 120_000;
  const port = await listen(server, options);
  return { port, close: () => close(server) };
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function respond(options: ApiOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  if (request.method === 'GET' && url.pathname === '/metrics') {
    response.writeHead(200, { 'content-type': options.registry.contentType });
    response.end(await options.registry.metrics());
    return;
  }
  const key = `${request.method} ${url.pathname}`;
  if (Object.hasOwn(routes, key)) return answer(options, request, response, () => routes[key]?.(options, request, url));
  if (!(await options.mail.local(request, response, url.pathname))) sendJson(response, 404, { error: 'not found' });
}

async function answer(
  options: ApiOptions,
  request: IncomingMessage,
  response: ServerResponse,
  route: () => Promise<unknown> | undefined,
): Promise<void> {
  try {
    sendJson(response, 200, await route());
  } catch (error) {
    if (!(error instanceof HttpError)) options.log.warn({ err: error, path: request.url }, 'a request failed');
    sendJson(response, error instanceof HttpError ? error.status : 503, { error: (error as Error).message });
  }
}

/** `?epoch=E&role=R&wait=MS`: answers when either differs, or the time is over. */
async function getState({ states }: ApiOptions, request: IncomingMessage, url: URL): Promise<AgentState> {
  const wait = Math.min(Number(url.searchParams.get('wait') ?? 0) || 0, LONGEST_WAIT_MS);
  const epoch = url.searchParams.get('epoch');
  const role = url.searchParams.get('role');
  const differs = (state: AgentState) =>
    (epoch !== null && state.epoch !== Number(epoch)) || (role !== null && state.role !== role);
  if (wait <= 0 || differs(states.current())) return states.current();
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  request.socket.once('close', leave);
  try {
    return await states.until(differs, wait, gone.signal);
  } finally {
    // The connection is kept and asked again.
    request.socket.off('close', leave);
  }
}

async function postHandover({ handover }: ApiOptions, request: IncomingMessage): Promise<unknown> {
  const { to } = await body(request, z.object({ to: z.number().int().optional() }));
  const answer = await handover(to);
  if ('refused' in answer) throw new HttpError(409, answer.refused);
  return answer;
}

function holding({ agent }: ApiOptions): Term {
  const term = agent.holding();
  if (term === undefined) throw new HttpError(409, 'this member is not the primary');
  return term;
}

async function postSeeded(options: ApiOptions, request: IncomingMessage): Promise<unknown> {
  const schema = z.object({ member: z.number().int(), volume: z.uuid(), seeded: z.boolean() });
  const { member, volume, seeded } = await body(request, schema);
  // First here, then there: from the moment when the directory would promote it, it is asked for promises.
  if (seeded) await options.agent.seeding(member, volume);
  return { ok: await options.directory.seeded(holding(options), member, volume, seeded) };
}

async function postReport(options: ApiOptions, request: IncomingMessage): Promise<unknown> {
  const report = await body(request, z.object({ members: z.array(z.record(z.string(), z.unknown())) }));
  return { ok: await options.directory.reportReplication(holding(options), report) };
}

async function getMoves(options: ApiOptions): Promise<unknown> {
  holding(options);
  return { moves: await options.directory.moves() };
}

async function postMoves(options: ApiOptions, request: IncomingMessage): Promise<unknown> {
  const report = z.record(z.string(), z.unknown()).nullish();
  const schema = z.object({ mailbox: z.uuid(), from: z.string(), to: z.string(), report });
  const move = await body(request, schema);
  const term = holding(options);
  return { ok: await options.directory.moveStep(term, move.mailbox, move.from, move.to, move.report ?? null) };
}

async function body<T>(request: IncomingMessage, schema: ZodType<T>): Promise<T> {
  const text = (await readBody(request, BODY_LIMIT)).toString('utf8');
  const result = schema.safeParse(text === '' ? {} : json(text));
  if (!result.success) throw new HttpError(400, z.prettifyError(result.error));
  return result.data;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new HttpError(400, 'the body is not JSON');
  }
}

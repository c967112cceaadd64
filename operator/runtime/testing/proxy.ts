/**
 * A proxy in front of the API server that breaks the network on demand: cuts connections, stops forwarding, refuses, or
 * answers in the server's stead. Clients reach it by TLS with the test CA, as they would the server itself.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Connection } from '../kubeconfig.js';
import type { ApiServer } from './apiserver.js';

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
  /** Forward the request all the same, and throw the real answer away: the write happened, the client doesn't know. */
  afterForwarding?: boolean;
  /** Cut the connection instead of answering. */
  cut?: boolean;
}

export interface Seen {
  method: string;
  path: string;
  watch: boolean;
}

export interface FaultProxy {
  /** A connection as `loadConnection` gives it, through the proxy. */
  connection: Connection;
  /** Every request so far. */
  seen: Seen[];
  /** Requests other than GET so far. */
  writes(): Seen[];
  /** Answers in the server's stead whenever the function gives an answer; undefined forwards. */
  intercept(rule: ((request: Seen) => Answer | undefined) | undefined): void;
  /** Destroys every connection of clients. */
  cut(): void;
  /** Stops, or goes on, forwarding answers: connections stay open and silent. */
  stall(on: boolean): void;
  /** Refuses new requests by closing their connection. */
  refuse(on: boolean): void;
  close(): Promise<void>;
}

interface State {
  rule: ((request: Seen) => Answer | undefined) | undefined;
  stalled: boolean;
  refusing: boolean;
  streams: Set<IncomingMessage>;
}

export async function startProxy(server: ApiServer): Promise<FaultProxy> {
  const agent = new https.Agent({ keepAlive: true, ca: server.ca, maxSockets: 200 });
  const seen: Seen[] = [];
  const sockets = new Set<Socket>();
  const state: State = { rule: undefined, stalled: false, refusing: false, streams: new Set() };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (state.refusing) return void request.socket.destroy();
    const entry = {
      method: request.method ?? '',
      path: request.url ?? '',
      watch: /[?&]watch=/.test(request.url ?? ''),
    };
    seen.push(entry);
    const answer = state.rule?.(entry);
    if (answer === undefined) forward(server, agent, state, request, response);
    else await instead(answer, request, response);
  };

  const instead = async (answer: Answer, request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (answer.afterForwarding === true) await swallow(server, agent, request);
    if (answer.cut === true) return void request.socket.destroy();
    response
      .writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers })
      .end(answer.body ?? '{}');
  };

  const front = https.createServer({ cert: server.serverCert, key: server.serverKey }, (request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  front.on('secureConnection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  front.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));

  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    connection: connectionTo(server, (front.address() as AddressInfo).port),
    seen,
    writes: () => seen.filter(({ method }) => method !== 'GET'),
    intercept: (rule) => {
      state.rule = rule;
    },
    cut,
    stall: (on) => {
      state.stalled = on;
      for (const stream of state.streams) on ? stream.pause() : stream.resume();
    },
    refuse: (on) => {
      state.refusing = on;
    },
    close: async () => {
      const closed = new Promise((resolve) => front.close(resolve));
      cut();
      agent.destroy();
      await closed;
    },
  };
}

function connectionTo(server: ApiServer, port: number): Connection {
  return {
    server: new URL(`https://127.0.0.1:${port}`),
    namespace: 'default',
    tls: () => ({ ca: Buffer.from(server.ca), rejectUnauthorized: true }),
    headers: () => Promise.resolve({ authorization: `Bearer ${server.token}` }),
    forget: () => {},
  };
}

function upstream(server: ApiServer, agent: https.Agent, request: IncomingMessage) {
  const target = new URL(server.url);
  const { hostname, port } = target;
  return https.request({ hostname, port, path: request.url, method: request.method, headers: request.headers, agent });
}

function forward(
  server: ApiServer,
  agent: https.Agent,
  state: State,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const up = upstream(server, agent, request);
  up.on('response', (answer) => {
    state.streams.add(answer);
    answer.on('close', () => state.streams.delete(answer));
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    answer.on('data', (chunk: Buffer) => response.write(chunk));
    answer.on('end', () => response.end());
    answer.on('error', () => response.destroy());
    if (state.stalled) answer.pause();
  });
  up.on('error', () => response.destroy());
  response.on('close', () => up.destroy());
  request.pipe(up);
}

function swallow(server: ApiServer, agent: https.Agent, request: IncomingMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    const up = upstream(server, agent, request);
    up.on('response', (answer) => answer.resume().on('end', resolve));
    up.on('error', reject);
    request.pipe(up);
  });
}

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Metrics } from './metrics.js';

/** Named checks; all must be true. */
export type Checks = Record<string, () => boolean>;

export interface ServerOptions {
  /** 0: any free one. */
  port: number;
  /** Default: all addresses. */
  host?: string | undefined;
  metrics: Metrics;
  /** `/healthz`: false means that only a restart can help. */
  healthy?: Checks | undefined;
  /** `/readyz`: false means not now. */
  ready?: Checks | undefined;
}

export interface RunningServer {
  port: number;
  close(): Promise<void>;
}

/** Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP. */
export async function startServer({
  port,
  host,
  metrics,
  healthy = {},
  ready = {},
}: ServerOptions): Promise<RunningServer> {
  const routes: Record<string, (response: ServerResponse) => Promise<void> | void> = {
    '/healthz': (response) => answerChecks(response, healthy),
    '/readyz': (response) => answerChecks(response, ready),
    '/metrics': async (response) => {
      const text = await metrics.registry.metrics();
      response.writeHead(200, { 'content-type': metrics.registry.contentType }).end(text);
    },
  };
  const server = createServer((request, response) => {
    void Promise.resolve(respond(routes, request, response)).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function respond(
  routes: Record<string, (response: ServerResponse) => Promise<void> | void>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> | void {
  const route = routes[(request.url ?? '').split('?')[0] ?? ''];
  if (request.method !== 'GET' || route === undefined) return void response.writeHead(404).end('not found\n');
  return route(response);
}

function answerChecks(response: ServerResponse, checks: Checks): void {
  const results = Object.entries(checks).map(([name, check]) => ({ name, passed: passes(check) }));
  const lines = results.map(({ name, passed }) => `[${passed ? '+' : '-'}] ${name}\n`);
  const ok = results.every(({ passed }) => passed);
  response
    .writeHead(ok ? 200 : 503, { 'content-type': 'text/plain' })
    .end(`${lines.join('')}${ok ? 'ok' : 'failed'}\n`);
}

function passes(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}

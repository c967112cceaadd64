/**
 * vitest's globalSetup: one API server for all test files, started when the first of them asks for it, so that a run without
 * conformance tests pays nothing. Test files ask through `shared.ts`.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestProject } from 'vitest/node';
import { type RunningApiServer, startApiServer } from './apiserver.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** URL that starts the shared API server, if need be, and describes it as JSON. */
    apiServerBroker: string;
  }
}

/** Offers the broker; the returned teardown ends whatever was started. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  let started: Promise<RunningApiServer> | undefined;
  const broker = createServer((_request, response) => {
    started ??= startApiServer();
    started.then(
      (server) => response.end(JSON.stringify(server)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => broker.listen(0, '127.0.0.1', resolve));
  project.provide('apiServerBroker', `http://127.0.0.1:${(broker.address() as AddressInfo).port}/`);
  return async () => {
    broker.close();
    await (await started?.catch(() => undefined))?.stop();
  };
}

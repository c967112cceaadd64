/** How each of our servers begins and how those that speak HTTP end. */
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';

export interface Endpoint {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

/**
 * Listens.
 * @returns the port
 * @throws Error of the system when the address can't be had
 */
export async function listen(server: Server, { host, port }: Endpoint): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** Takes nothing new and resolves when what has begun is answered. */
export function closeWhenAnswered(server: Pick<HttpServer, 'close' | 'closeIdleConnections'>): Promise<void> {
  return new Promise((resolve) => {
    // Connections that are answering now are idle, and can be closed, a moment later.
    const timer = setInterval(() => server.closeIdleConnections(), 20);
    server.close(() => {
      clearInterval(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/**
 * An LMTP server (RFC 2033) for mail servers in front of it: strict about what ends a message, exact about octets, one reply
 * for each recipient that was accepted, in order, also for one that is named twice. It has no TLS: it listens on loopback.
 */
import { createServer, type Socket } from 'node:net';
import { listen } from '../listen.js';
import { serve } from './session.js';
import type { LmtpServerOptions, Shared } from './transaction.js';

export interface LmtpServer {
  readonly port: number;
  /** Octets of messages held now. */
  held(): number;
  /** Takes no new connections and no new messages; resolves when those under way have been answered. */
  close(): Promise<void>;
}

export async function startLmtpServer(options: LmtpServerOptions): Promise<LmtpServer> {
  const shared: Shared = { options, memory: { used: 0 }, closing: false };
  const sessions = new Map<Socket, { endSoon(): void }>();
  const server = createServer({ noDelay: true, keepAlive: true }, (socket) => {
    sessions.set(socket, serve(socket, shared));
    socket.once('close', () => sessions.delete(socket));
  });
  const port = await listen(server, options);
  server.on('error', (error) => options.log.warn({ err: error }, 'the LMTP server failed'));
  return {
    port,
    held: () => shared.memory.used,
    close: () =>
      new Promise((resolve) => {
        shared.closing = true;
        server.close(() => resolve());
        for (const session of sessions.values()) session.endSoon();
      }),
  };
}

import { createServer, type Socket } from 'node:net';
import type { Log } from '../../../operator/runtime/log.js';
import { listen } from '../../lib/listen.js';
import { type Action, createRequestReader, formatAction, type PolicyRequest } from './protocol.js';

export interface PolicyServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** What fails, or takes longer than `timeoutMs`, is answered with a temporary failure. */
  readonly decide: (request: PolicyRequest) => Promise<Action>;
  readonly log: Log;
  /** Default 9 s: below Postfix' smtpd_policy_service_timeout. */
  readonly timeoutMs?: number;
  readonly onAnswer?: (action: Action, seconds: number) => void;
}

export interface PolicyServer {
  readonly port: number;
  /** Ends what is open, after the answers that are due. */
  close(): Promise<void>;
}

const TEMPORARY: Action = '451 4.3.0 this cannot be checked now, try again later';

/** Listens for Postfix' smtpd processes. Each has one connection and asks one question at a time. */
export async function startPolicyServer(options: PolicyServerOptions): Promise<PolicyServer> {
  const sockets = new Map<Socket, { busy: boolean }>();
  let closing = false;
  const server = createServer((socket) => {
    const state = { busy: false };
    sockets.set(socket, state);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    serve(socket, state, options, () => closing);
  });
  const port = await listen(server, options);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        closing = true;
        server.close(() => resolve());
        for (const [socket, { busy }] of sockets) if (!busy) socket.end();
      }),
  };
}

function serve(socket: Socket, state: { busy: boolean }, options: PolicyServerOptions, isClosing: () => boolean): void {
  const reader = createRequestReader();
  let queue = Promise.resolve();
  socket.setEncoding('latin1');
  socket.setNoDelay(true);
  socket.on('data', (text: string) => {
    try {
      for (const request of reader.push(text)) queue = queue.then(() => answer(socket, state, options, request));
    } catch (error) {
      options.log.warn({ err: error }, 'not a policy request; the connection is closed');
      socket.destroy();
    }
    void queue.then(() => isClosing() && socket.end());
  });
}

async function answer(
  socket: Socket,
  state: { busy: boolean },
  options: PolicyServerOptions,
  request: PolicyRequest,
): Promise<void> {
  const started = performance.now();
  state.busy = true;
  const action = await bounded(options, request);
  state.busy = false;
  options.onAnswer?.(action, (performance.now() - started) / 1000);
  if (!socket.destroyed) socket.write(formatAction(action), 'latin1');
}

async function bounded({ decide, log, timeoutMs = 9_000 }: PolicyServerOptions, request: PolicyRequest) {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no decision within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([decide(request), timeout]);
  } catch (error) {
    log.warn({ err: error, state: request.get('protocol_state') }, 'a policy request could not be decided');
    return TEMPORARY;
  } finally {
    clearTimeout(timer);
  }
}

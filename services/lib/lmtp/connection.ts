/** One connection to an LMTP server: replies in the order of commands, each with a time limit. */
import { connect, type Socket } from 'node:net';
import { createReplyReader, formatReply, isPositive, type Reply } from './reply.js';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** What to say in LHLO. */
  readonly name: string;
  /** For connecting and the greeting, ms. */
  readonly connectTimeoutMs: number;
}

export interface Connection {
  /** Keywords of the answer to LHLO, in upper case. */
  readonly extensions: ReadonlySet<string>;
  /** Broken, or told to end: not to be used again. */
  readonly closed: boolean;
  write(...pieces: (string | Buffer)[]): void;
  /** The next reply. @throws Error when the connection ends or `timeoutMs` passes before; then the connection is closed. */
  read(timeoutMs: number): Promise<Reply>;
  close(): void;
  /** Called once, when the connection has ended. */
  onClose(listener: () => void): void;
}

/** @throws Error when the server can't be reached or doesn't greet. */
export async function openConnection(endpoint: Endpoint): Promise<Connection> {
  const socket = connect({ host: endpoint.host, port: endpoint.port, noDelay: true, keepAlive: true });
  const wire = createWire(socket);
  try {
    const greeting = await wire.read(endpoint.connectTimeoutMs);
    if (!isPositive(greeting)) throw new Error(`it greets with ${formatReply(greeting).trim()}`);
    wire.write(`LHLO ${endpoint.name}\r\n`);
    const hello = await wire.read(endpoint.connectTimeoutMs);
    if (!isPositive(hello)) throw new Error(`it answers LHLO with ${formatReply(hello).trim()}`);
    const extensions = new Set(hello.lines.slice(1).map((line) => (line.split(' ')[0] ?? '').toUpperCase()));
    return Object.assign(wire, { extensions });
  } catch (error) {
    wire.close();
    throw error;
  }
}

type Wire = Omit<Connection, 'extensions'>;

function createWire(socket: Socket): Wire {
  const reader = createReplyReader();
  const replies: Reply[] = [];
  const listeners: (() => void)[] = [];
  let failure: Error | undefined;
  let waiting: (() => void) | undefined;
  const fail = (error: Error): void => {
    if (failure) return;
    failure = error;
    socket.destroy();
    waiting?.();
    for (const listener of listeners.splice(0)) listener();
  };
  socket.on('data', (chunk: Buffer) => {
    try {
      replies.push(...reader.push(chunk));
    } catch (error) {
      fail(error as Error);
    }
    waiting?.();
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the connection was closed')));
  const wait = (timeoutMs: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(() => fail(new Error(`no answer within ${Math.round(timeoutMs)} ms`)), timeoutMs);
      waiting = () => {
        clearTimeout(timer);
        waiting = undefined;
        resolve();
      };
    });
  return {
    get closed() {
      return failure !== undefined;
    },
    write: (...pieces) => {
      if (failure) return;
      socket.cork();
      for (const piece of pieces) socket.write(piece, 'latin1');
      socket.uncork();
    },
    read: async (timeoutMs) => {
      while (replies.length === 0 && !failure) await wait(timeoutMs);
      const next = replies.shift();
      // It goes away, whatever it was asked (RFC 5321, section 3.8).
      if (next?.code === 421) fail(new Error(`it says ${formatReply(next).trim()}`));
      else if (next) return next;
      throw failure ?? new Error('the connection was closed');
    },
    close: () => fail(new Error('the connection was closed')),
    onClose: (listener) => void listeners.push(listener),
  };
}

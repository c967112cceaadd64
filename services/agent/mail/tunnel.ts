/**
 * dsync between members, in TLS with both sides' certificates. Dovecot's own TLS takes clients without a certificate, so it speaks
 * to a unix socket here, and at the peer a unix socket of Dovecot's is spoken to.
 */
import { rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Duplex, pipeline } from 'node:stream';

/** Without an octet for so long an end is taken to be gone: a sync of a very large folder thinks for a while. */
const SILENCE_MS = 900_000;
/** A host that is gone is found out sooner. */
const ALIVE_MS = 10_000;

/** Connects two streams until either ends. */
export function join2(a: Duplex, b: Duplex): void {
  // A stream that breaks off takes the other with it; that is all there is to say about it.
  const ignore = (): void => undefined;
  for (const stream of [a, b]) {
    // Each pipeline listens for several ends.
    stream.setMaxListeners(30);
    if (!('setTimeout' in stream)) continue;
    (stream as Socket).setTimeout(SILENCE_MS, () => stream.destroy());
    (stream as Socket).setKeepAlive(true, ALIVE_MS);
  }
  pipeline(a, b, ignore);
  pipeline(b, a, ignore);
}

let count = 0;

/**
 * Runs `work` with the path of a unix socket whose connections lead to what `open` gives. Who may use it is the folder's to say.
 * @returns what `work` gives, and why a connection could not be made, if so.
 */
export async function withSocket<T>(
  folder: string,
  open: () => Promise<Duplex>,
  work: (path: string) => Promise<T>,
): Promise<{ result: T; obstacle: Error | undefined }> {
  count += 1;
  const path = join(folder, `sync-${process.pid}-${count}.sock`);
  const streams = new Set<Duplex>();
  let obstacle: Error | undefined;
  const server = createServer((socket) => {
    streams.add(socket);
    socket.on('error', () => undefined);
    open().then(
      (stream) => {
        streams.add(stream);
        join2(socket, stream);
      },
      (error: Error) => {
        obstacle = error;
        socket.destroy();
      },
    );
  });
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  try {
    return { result: await work(path), obstacle };
  } finally {
    server.close();
    for (const stream of streams) stream.destroy();
    await rm(path, { force: true });
  }
}

/** A connection to a unix socket. */
export function connectSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

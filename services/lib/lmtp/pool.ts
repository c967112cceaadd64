import type { Connection } from './connection.js';

/** A connection that is one's own until it is released. */
export interface Held {
  readonly connection: Connection;
  /** It was kept from before. */
  readonly used: boolean;
  /** Gives it back; one that is closed is forgotten. */
  release(): void;
}

export interface Pool {
  /** The connection that was used last, a new one, or, when there are `most`, the next that is released. */
  take(timeoutMs: number): Promise<Held>;
  /** The same, but nothing that was kept. */
  takeNew(timeoutMs: number): Promise<Held>;
  close(): void;
}

/** Connections to one server. */
export function createPool(open: () => Promise<Connection>, most: number, idleMs: number): Pool {
  const idle: { connection: Connection; since: number }[] = [];
  const waiting: (() => void)[] = [];
  let busy = 0;
  let closed = false;
  const prune = (): void => {
    const limit = Date.now() - idleMs;
    for (const old of idle.filter(({ since }) => since <= limit)) old.connection.close();
  };
  const timer = setInterval(prune, Math.max(idleMs / 4, 10));
  timer.unref();
  const release = (connection: Connection): void => {
    busy -= 1;
    if (closed) connection.close();
    else if (!connection.closed) idle.push({ connection, since: Date.now() });
    waiting.shift()?.();
  };
  const held = (connection: Connection, used: boolean): Held => ({
    connection,
    used,
    release: () => release(connection),
  });
  const obtain = async (): Promise<Held> => {
    for (let kept = idle.pop(); kept; kept = idle.pop()) {
      if (!kept.connection.closed) return held(kept.connection, true);
    }
    const connection = await open();
    connection.onClose(() => {
      const at = idle.findIndex((entry) => entry.connection === connection);
      if (at !== -1) idle.splice(at, 1);
    });
    return held(connection, false);
  };
  const take = async (timeoutMs: number): Promise<Held> => {
    if (busy >= most) await turn(waiting, timeoutMs);
    busy += 1;
    try {
      return await obtain();
    } catch (error) {
      busy -= 1;
      waiting.shift()?.();
      throw error;
    }
  };
  return {
    take,
    takeNew: (timeoutMs) => {
      for (const { connection } of idle.splice(0)) connection.close();
      return take(timeoutMs);
    },
    close: () => {
      closed = true;
      clearInterval(timer);
      for (const { connection } of idle.splice(0)) connection.close();
    },
  };
}

function turn(waiting: (() => void)[], timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const called = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(() => {
      waiting.splice(waiting.indexOf(called), 1);
      reject(new Error('all connections are busy'));
    }, timeoutMs);
    waiting.push(called);
  });
}

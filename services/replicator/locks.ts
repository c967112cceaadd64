/** Who works on a mailbox. dsync of one mailbox in two processes at once would have each see the other's half-done work. */
export interface Locks {
  /** Waits for its turn. @throws when `signal` aborts. */
  acquire(uuid: string, signal?: AbortSignal): Promise<() => void>;
  /** The release, or undefined when somebody else has it. */
  tryAcquire(uuid: string): (() => void) | undefined;
  isLocked(uuid: string): boolean;
}

/** In order of asking; nobody waits in vain. */
export function createLocks(): Locks {
  const held = new Map<string, (() => void)[]>();
  const release = (uuid: string) => {
    let done = false;
    return (): void => {
      if (done) return;
      done = true;
      const next = held.get(uuid)?.shift();
      if (next === undefined) held.delete(uuid);
      else next();
    };
  };
  return {
    isLocked: (uuid) => held.has(uuid),
    tryAcquire: (uuid) => {
      if (held.has(uuid)) return undefined;
      held.set(uuid, []);
      return release(uuid);
    },
    acquire: async (uuid, signal) => {
      signal?.throwIfAborted();
      const waiting = held.get(uuid);
      if (waiting === undefined) {
        held.set(uuid, []);
        return release(uuid);
      }
      await new Promise<void>((resolve, reject) => {
        const turn = (): void => {
          signal?.removeEventListener('abort', give);
          resolve();
        };
        const give = (): void => {
          const at = waiting.indexOf(turn);
          if (at < 0) return;
          waiting.splice(at, 1);
          reject(signal?.reason);
        };
        waiting.push(turn);
        signal?.addEventListener('abort', give, { once: true });
      });
      return release(uuid);
    },
  };
}

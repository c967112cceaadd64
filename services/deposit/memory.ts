/** What the primary has been given lately, so that nothing is given to it twice. */

/** `held`: it said 250. `unclear`: it had all of the message, and no answer came. `pending`: it is being asked now. */
export type Known = 'held' | 'unclear' | 'pending';

export interface Memory {
  get(mailbox: string, id: string): Known | undefined;
  set(mailbox: string, id: string, known: Known): void;
  forget(mailbox: string, id: string): void;
  /**
   * Whether a delivery that isn't remembered can have been made before: only when its message is older than all that is
   * remembered. `receivedAt` is when the mx took the message, by its own clock; unknown counts as old.
   */
  mayHaveForgotten(receivedAt: number | undefined, openedAt: number): boolean;
  readonly size: number;
}

/** How far the clocks of an mx and of this host may be apart, ms. */
const SKEW_MS = 120_000;

export interface MemoryOptions {
  /** Entries; what was written first goes first. */
  readonly most: number;
  readonly clock?: () => number;
}

export function createMemory({ most, clock = Date.now }: MemoryOptions): Memory {
  const entries = new Map<string, { readonly known: Known; readonly at: number }>();
  // Everything since then is remembered.
  let horizon = clock();
  const keyOf = (mailbox: string, id: string): string => `${mailbox} ${id}`;
  return {
    get: (mailbox, id) => entries.get(keyOf(mailbox, id))?.known,
    set: (mailbox, id, known) => {
      const key = keyOf(mailbox, id);
      entries.delete(key);
      entries.set(key, { known, at: clock() });
      if (entries.size <= most) return;
      const [oldest, entry] = entries.entries().next().value as [string, { at: number }];
      entries.delete(oldest);
      horizon = Math.max(horizon, entry.at);
    },
    forget: (mailbox, id) => void entries.delete(keyOf(mailbox, id)),
    mayHaveForgotten: (receivedAt, openedAt) =>
      receivedAt === undefined || receivedAt <= Math.max(horizon, openedAt) + SKEW_MS,
    get size() {
      return entries.size;
    },
  };
}

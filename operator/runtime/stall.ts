import type { Clock } from './clock.js';

export interface StallableSignal {
  signal: AbortSignal;
  /** Something came: start the timer anew. */
  heard(): void;
  stalled(): boolean;
  release(): void;
}

/** A signal that aborts with its parent, or when nothing was heard for `stallMs`. */
export function createStallableSignal(parent: AbortSignal, stallMs: number, clock: Clock): StallableSignal {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  let last = clock.now();
  let stalled = false;
  let cancel = (): void => {};
  /** One timer that looks when the last event was is cheaper than a new timer for every event. */
  const arm = (ms: number): void => {
    cancel = clock.after(ms, () => {
      const left = last + stallMs - clock.now();
      if (left > 0) return arm(left);
      stalled = true;
      controller.abort();
    });
  };
  arm(stallMs);
  if (parent.aborted) abort();
  parent.addEventListener('abort', abort, { once: true });
  return {
    signal: controller.signal,
    heard: () => {
      last = clock.now();
    },
    stalled: () => stalled,
    release: () => {
      cancel();
      parent.removeEventListener('abort', abort);
    },
  };
}

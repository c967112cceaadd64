/** Which of several hosts to ask, and how long to leave one alone that failed. Pure. */

export interface Circuit {
  /** Failures in a row. */
  readonly failures: number;
  /** Not to be asked before (ms since the epoch), as long as another is left. */
  readonly retryAt: number;
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

/** A host of which nothing bad is known. */
export function newCircuit(): Circuit {
  return { failures: 0, retryAt: 0 };
}

/** After an answer. */
export function succeeded(): Circuit {
  return newCircuit();
}

/** After a failure: left alone for 1 s, then 2 s, … at most 30 s. */
export function failed(circuit: Circuit, now: number): Circuit {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(circuit.failures, 10), LONGEST_PAUSE_MS);
  return { failures: circuit.failures + 1, retryAt: now + pause };
}

/**
 * The order in which to ask: the hosts that are not to be left alone, in random order, then the others, the one whose
 * pause ends first before. So a dead host costs its time-out once per pause, and all dead is found out by asking all.
 */
export function circuitOrder<T extends { readonly circuit: Circuit }>(
  hosts: readonly T[],
  now: number,
  random: () => number = Math.random,
): T[] {
  const open = hosts.filter(({ circuit }) => circuit.retryAt <= now);
  const paused = hosts.filter(({ circuit }) => circuit.retryAt > now);
  const start = Math.floor(random() * open.length);
  return [
    ...open.slice(start),
    ...open.slice(0, start),
    ...paused.sort((a, b) => a.circuit.retryAt - b.circuit.retryAt),
  ];
}

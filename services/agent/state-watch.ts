/** The agent's present state, and waiting for another one. */
import type { AgentState } from './ports.js';

export interface StateWatch {
  current(): AgentState;
  set(state: AgentState): void;
  onChange(listener: (state: AgentState) => void): void;
  /** The first state that fits, or the present one after `waitMs`. */
  until(fits: (state: AgentState) => boolean, waitMs: number, signal?: AbortSignal): Promise<AgentState>;
}

export function createStateWatch(first: AgentState): StateWatch {
  let state = first;
  let text = JSON.stringify(first);
  const listeners = new Set<(state: AgentState) => void>();
  return {
    current: () => state,
    set: (next) => {
      const nextText = JSON.stringify(next);
      if (nextText === text) return;
      state = next;
      text = nextText;
      for (const listener of [...listeners]) listener(next);
    },
    onChange: (listener) => void listeners.add(listener),
    until: (fits, waitMs, signal) =>
      new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          listeners.delete(look);
          resolve(state);
        };
        const look = (next: AgentState): void => {
          if (fits(next)) done();
        };
        const timer = setTimeout(done, waitMs);
        signal?.addEventListener('abort', done, { once: true });
        listeners.add(look);
        look(state);
      }),
  };
}

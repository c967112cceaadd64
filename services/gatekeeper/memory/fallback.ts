import type { Log } from '../../../operator/runtime/log.js';
import type { Store } from './store.js';

export interface FallbackOptions {
  readonly log: Log;
  /** Whether Redis is in use, each time that it changes. */
  readonly onChange?: (shared: boolean) => void;
  readonly clock?: () => number;
}

/** For so long Redis is not asked after it has failed. */
const PAUSE_MS = 2_000;

/**
 * The shared memory, and that of this process while the shared one fails: limits then hold for each pod by itself, and
 * begin at nothing. What was counted meanwhile is not carried over.
 */
export function withFallback(shared: Store, own: Store, { log, onChange, clock = Date.now }: FallbackOptions): Store {
  let failedAt = Number.NEGATIVE_INFINITY;
  let isShared = true;
  const report = (ok: boolean, error?: unknown): void => {
    if (ok === isShared) return;
    isShared = ok;
    onChange?.(ok);
    if (ok) log.info('Redis is back: counts are shared again');
    else log.warn({ err: error }, 'Redis is away: each pod counts for itself');
  };
  const either = async <T>(use: (store: Store) => Promise<T>): Promise<T> => {
    if (clock() - failedAt < PAUSE_MS) return use(own);
    try {
      const result = await use(shared);
      report(true);
      return result;
    } catch (error) {
      failedAt = clock();
      report(false, error);
      return use(own);
    }
  };
  return {
    reserve: (...args) => either((store) => store.reserve(...args)),
    buckets: (...args) => either((store) => store.buckets(...args)),
    note: (...args) => either((store) => store.note(...args)),
    noted: (...args) => either((store) => store.noted(...args)),
    verdict: (...args) => either((store) => store.verdict(...args)),
    set: (...args) => either((store) => store.set(...args)),
    get: (...args) => either((store) => store.get(...args)),
    remove: (...args) => either((store) => store.remove(...args)),
  };
}

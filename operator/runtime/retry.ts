import { type Backoff, backoffMs, type Clock, sleep, systemClock } from './clock.js';
import { ApiError } from './errors.js';
import { neverSent } from './transport.js';

export interface RetryOptions {
  /** Whether doing it twice does no harm. If not, only what the server or the network surely did not act on is retried. */
  idempotent: boolean;
  /** Attempts in all, at least 1. */
  attempts: number;
  signal?: AbortSignal | undefined;
  clock?: Clock | undefined;
  random?: (() => number) | undefined;
  onRetry?: ((error: ApiError) => void) | undefined;
}

const backoff: Backoff = { baseMs: 100, maxMs: 5_000 };
const longestRetryAfterMs = 30_000;

/** Runs `attempt` until it succeeds, fails for good, or the attempts are used up. Waits as long as `Retry-After` says, with jitter. */
export async function withRetries<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (failures >= options.attempts || !isRetryable(error, options.idempotent)) throw error;
      await pause(error, failures, options);
    }
  }
}

async function pause(error: ApiError, failures: number, options: RetryOptions): Promise<void> {
  options.onRetry?.(error);
  await sleep(waitMs(error, failures, options.random), options.signal, options.clock ?? systemClock);
  if (options.signal?.aborted === true) throw error;
}

function waitMs(error: ApiError, failures: number, random: () => number = Math.random): number {
  if (error.retryAfterMs === undefined) return backoffMs(backoff, failures, random);
  return Math.min(error.retryAfterMs, longestRetryAfterMs) * (1 + random() / 4);
}

const transientStatuses = new Set([429, 500, 502, 503, 504]);

/** Whether the same request may succeed a little later. */
export function isRetryable(error: unknown, idempotent: boolean): error is ApiError {
  if (!(error instanceof ApiError)) return false;
  if (error.status === 429) return true;
  if (error.status === 0) return error.reason === 'ConnectionFailed' && (idempotent || neverSent(error));
  return idempotent && transientStatuses.has(error.status);
}

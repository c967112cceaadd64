/** Sends one call: fence, retries, a fresh token after a 401, metrics. */
import { type Call, failure, notLeader, requestOf } from './calls.js';
import { ApiError } from './errors.js';
import type { Connection } from './kubeconfig.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import { withRetries } from './retry.js';
import type { HttpRequest, HttpResponse, Transport } from './transport.js';

export interface PerformerOptions {
  timeoutMs: number;
  attempts: number;
  metrics: Metrics | undefined;
  log: Log;
}

export interface Performer {
  /** The answer, parsed. Rejects with {@link ApiError}. */
  perform<T>(call: Call): Promise<T>;
  setFence(fence: () => boolean): void;
}

export function createPerformer(transport: Transport, connection: Connection, options: PerformerOptions): Performer {
  const { timeoutMs, attempts, metrics, log } = options;
  let fence = (): boolean => true;

  const measured = async (call: Call, request: HttpRequest): Promise<HttpResponse> => {
    const started = performance.now();
    const count = (code: string): void =>
      metrics?.apiRequest(call.verb, call.resource, code, (performance.now() - started) / 1000);
    try {
      const response = await transport.send(request);
      count(String(response.status));
      return response;
    } catch (error) {
      if (error instanceof ApiError) count(error.reason);
      throw error;
    }
  };

  const attempt = async (call: Call, request: HttpRequest): Promise<HttpResponse> => {
    let response = await measured(call, request);
    if (response.status === 401) {
      connection.forget();
      response = await measured(call, request);
    }
    if (response.status >= 400) throw failure(call, response);
    return response;
  };

  const guarded = (call: Call): (() => void) | undefined => {
    if (call.method === 'GET' || call.urgent === true) return undefined;
    return () => {
      if (!fence()) throw notLeader(call);
    };
  };

  return {
    perform: async <T>(call: Call): Promise<T> => {
      const request = { ...requestOf(call, timeoutMs), admit: guarded(call) };
      const { body } = await withRetries(() => attempt(call, request), {
        idempotent: call.idempotent,
        attempts,
        signal: call.signal,
        onRetry: (error) => log.debug({ err: error }, 'a request to the API server is tried again'),
      });
      return JSON.parse(body) as T;
    },
    setFence: (check) => {
      fence = check;
    },
  };
}

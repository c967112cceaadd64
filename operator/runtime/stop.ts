import type { Log } from './log.js';
import type { Metrics } from './metrics.js';

export interface StopOptions {
  log: Log;
  /** For all closers together, in milliseconds, default 20 000; keep it below the pod's termination grace. */
  graceMs?: number | undefined;
  /** Default SIGTERM and SIGINT. */
  signals?: NodeJS.Signals[] | undefined;
  /** Ends the process when the grace is over; default `process.exit`. */
  exit?: ((code: number) => void) | undefined;
}

export interface Stop {
  /** Registers what must be closed; the last registered is closed first. */
  onStop(name: string, close: () => Promise<void> | void): void;
  /** Begins the stop; the first reason counts. A code other than 0 is passed to the process. */
  request(reason: string, code?: number): void;
  /** Aborts when the stop begins. */
  readonly signal: AbortSignal;
  /** Resolves when everything is closed. */
  readonly stopped: Promise<void>;
}

/** Closes things in order when the process is asked to end; a closer that fails or hangs does not keep the others from it for ever. */
export function createStop({
  log,
  graceMs = 20_000,
  signals = ['SIGTERM', 'SIGINT'],
  exit = process.exit,
}: StopOptions): Stop {
  const closers: { name: string; close: () => Promise<void> | void }[] = [];
  const controller = new AbortController();
  let markStopped = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    markStopped = resolve;
  });

  const closeAll = async (): Promise<void> => {
    for (const { name, close } of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        log.error({ closing: name, err: error }, 'closing failed');
      }
    }
  };

  const request = (reason: string, code = 0): void => {
    if (controller.signal.aborted) return;
    log.info({ reason }, 'stopping');
    if (code !== 0) process.exitCode = code;
    controller.abort(new Error(reason));
    const timer = setTimeout(() => {
      log.error({ graceMs }, 'stopping took too long');
      exit(code === 0 ? 1 : code);
    }, graceMs);
    void closeAll().then(() => {
      clearTimeout(timer);
      log.info('stopped');
      markStopped();
    });
  };

  for (const name of signals) process.once(name, () => request(name));
  return { onStop: (name, close) => void closers.push({ name, close }), request, signal: controller.signal, stopped };
}

export interface GuardOptions {
  log: Log;
  metrics?: Metrics | undefined;
  stop: Stop;
}

/** A promise rejection that nobody handles is logged and counted, and the process goes on; an exception outside any promise ends it in order. */
export function installProcessGuards({ log, metrics, stop }: GuardOptions): void {
  process.on('unhandledRejection', (error) => {
    metrics?.unhandled();
    log.error({ err: error }, 'a promise rejection was not handled: a bug');
  });
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'an exception was not caught: a bug; stopping');
    stop.request('uncaught exception', 1);
  });
}

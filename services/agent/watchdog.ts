/**
 * The agent's side of `images/dovecot/bin/watchdog`: a process that outlives the agent, kills Dovecot when the deadline in a
 * file has passed, and says several times a second that it is there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../operator/runtime/log.js';
import { monotonic } from './clock.js';

export interface Watchdog {
  /** Looks whether it lives, and starts it again if it doesn't. Dovecot may only be open while this is true. */
  check(): boolean;
  /** Until when the process group may live. Written before it opens anything, and with each renewal. */
  setDeadline(group: number, deadline: number): void;
  /** There is no Dovecot that would have to die. */
  clear(): void;
}

export interface WatchdogOptions {
  /** Command and arguments; the folder is added. */
  readonly command: readonly string[];
  /** In memory, kept while the pod lives. */
  readonly folder: string;
  readonly log: Log;
  /** No sign of life for so long: it is dead or stopped. Default 1500 ms. */
  readonly silenceMs?: number;
  /** For it to start, on a busy machine. Default 5 s. */
  readonly startMs?: number;
}

/** Starts the watchdog. It is left running when the agent ends. */
export function startWatchdog({ command, folder, log, silenceMs = 1_500, startMs = 5_000 }: WatchdogOptions): Watchdog {
  const file = join(folder, 'deadline');
  let child: ChildProcess | undefined;
  let startedAt = 0;

  const start = (): void => {
    child?.kill('SIGKILL');
    startedAt = monotonic();
    const [program = '', ...args] = command;
    child = spawn(program, [...args, folder], { detached: true, stdio: ['ignore', 'ignore', 'inherit'] });
    child.on('error', (error) => log.error({ err: error }, 'the watchdog can not be started'));
    child.unref();
  };
  const isAlive = (): boolean => {
    const [pid, at] = readNumbers(join(folder, 'watchdog'));
    return pid === child?.pid && at !== undefined && monotonic() - at < silenceMs;
  };
  start();
  return {
    check: () => {
      if (isAlive()) return true;
      if (monotonic() - startedAt > startMs || child?.exitCode !== null || child.signalCode !== null) {
        log.error('the watchdog gives no sign of life; starting another');
        start();
      }
      return false;
    },
    setDeadline: (group, deadline) => {
      writeFileSync(`${file}.new`, `${group} ${Math.floor(deadline)}\n`);
      renameSync(`${file}.new`, file);
    },
    clear: () => rmSync(file, { force: true }),
  };
}

/** The numbers of a file's first line; none when there is no such file. */
export function readNumbers(path: string): readonly number[] {
  try {
    return readFileSync(path, 'utf8').trim().split(' ').map(Number);
  } catch {
    return [];
  }
}

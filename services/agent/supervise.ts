/**
 * Dovecot as the agent's child, in the mode that the lease allows and in no other. It runs in a process group of its own;
 * another mode means that the whole group is killed and another one started.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../operator/runtime/log.js';
import { monotonic } from './clock.js';
import type { Wanted } from './lease-state.js';
import { killAll, killGroup } from './processes.js';
import { readNumbers, type Watchdog } from './watchdog.js';

export type Mode = Wanted['mode'];

export interface SupervisorOptions {
  /** Command and arguments that stay in the foreground. */
  readonly command: readonly string[];
  /** /run/agent. */
  readonly folder: string;
  /** Prefixes of programs that may touch mail: none of them survives a change of mode. */
  readonly programs: readonly string[];
  readonly watchdog: Watchdog;
  /** The text of `mode.conf`. */
  readonly config: (mode: Mode, epoch: number) => string;
  /** Before a Dovecot is started that takes mail: the volume's record. Rejects: it isn't started. */
  readonly prepare: (mode: Mode, epoch: number) => Promise<void>;
  /** Answers whether the Dovecot that has been started is up in this mode. */
  readonly probe: (mode: Mode) => Promise<boolean>;
  /** After each change of `current()`. */
  readonly onChange: () => void;
  /** It ends again and again, or can't be started. */
  readonly onUnfit: (reason: string) => void;
  readonly log: Log;
}

export interface Current {
  readonly mode: Mode;
  readonly epoch: number;
  /** It answers. */
  readonly up: boolean;
}

export interface Supervisor {
  /** Kills what is left of an agent before this one. Rejects when something can't be killed. */
  begin(): Promise<void>;
  /**
   * What Dovecot has to be from now on. What must not be any more is killed before this returns; `gently`: it is asked to end
   * first, and has a moment for it, at most until its deadline.
   */
  set(wanted: Wanted, gently?: boolean): void;
  current(): Current;
  /** Its configuration is another one now: it is killed and started again. */
  restart(): void;
  /** No process of any Dovecot is left. */
  isDown(): boolean;
  /** Looks after the watchdog and the process. To be called several times a second. */
  tick(): void;
}

interface Running {
  readonly group: number;
  readonly child: ChildProcess;
  readonly mode: Mode;
  epoch: number;
  readonly startedAt: number;
  up: boolean;
  killed: boolean;
  /** Asked to end. */
  leaving: boolean;
  ended: boolean;
}

const NOTHING: Current = { mode: 'stopped', epoch: 0, up: false };
/** A Dovecot that lives for so long has been all right. */
const GOOD_MS = 10_000;
const FAILURES = 5;
/** Longer than it takes to start a watchdog. Meanwhile the agent itself keeps to the deadline. */
const UNWATCHED_MS = 6_000;
/** For Dovecot to say goodbye to its sessions. */
const GENTLE_MS = 1_000;

const isOpen = (mode: Mode): boolean => mode === 'opening' || mode === 'primary';

/** Starts nothing yet. */
export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { folder, watchdog, log } = options;
  let wanted: Wanted = { mode: 'stopped', epoch: 0, deadline: 0 };
  let running: Running | undefined;
  let failures = 0;
  let notBefore = 0;
  let working = false;
  let watchedAt = monotonic();
  const groupFile = join(folder, 'dovecot.pgid');

  const fits = (): boolean =>
    running !== undefined && running.mode === wanted.mode && !running.killed && !running.leaving;

  const set = (next: Wanted, gently = false): void => {
    wanted = next;
    if (running !== undefined && !fits()) dismiss(running, gently);
    else if (running !== undefined && isOpen(running.mode)) renew(running);
    void work();
  };

  const dismiss = (target: Running, gently: boolean): void => {
    if (!gently) kill(target);
    if (target.leaving || target.killed) return;
    target.leaving = true;
    target.up = false;
    target.child.kill('SIGTERM');
    setTimeout(() => kill(target), GENTLE_MS).unref();
    options.onChange();
  };

  const kill = (target: Running): void => {
    target.killed = true;
    target.up = false;
    killGroup(target.group);
    options.onChange();
  };

  const renew = (target: Running): void => {
    watchdog.setDeadline(target.group, wanted.deadline);
    if (target.epoch === wanted.epoch) return;
    // The lease has come to a sole member that was open without one.
    target.epoch = wanted.epoch;
    void options
      .prepare(target.mode, wanted.epoch)
      .then(() => {
        writeMode(target.mode, target.epoch);
        if (!target.ended) target.child.kill('SIGHUP');
      })
      .catch((error: unknown) => unfit('the volume does not take the epoch', error));
  };

  const writeMode = (mode: Mode, epoch: number): void => {
    const file = join(folder, 'mode.conf');
    writeFileSync(`${file}.new`, options.config(mode, epoch), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  };

  const unfit = (reason: string, error: unknown): void => {
    log.error({ err: error }, reason);
    options.onUnfit(reason);
  };

  /** One after the other: bury what isn't wanted, start what is. */
  const work = async (): Promise<void> => {
    if (working) return;
    working = true;
    try {
      while (!fits() && (await advance())) {
        // Until nothing is left to do, or it has to wait.
      }
    } catch (error) {
      unfit('Dovecot can not be killed or started', error);
    } finally {
      working = false;
    }
  };

  /** False: nothing to do now. */
  const advance = async (): Promise<boolean> => {
    if (running !== undefined) {
      if (running.leaving && !running.killed) return false;
      await bury(running);
      return true;
    }
    return mayStart() && start(wanted.mode, wanted.epoch);
  };

  const mayStart = (): boolean => {
    if (wanted.mode === 'stopped' || monotonic() < notBefore) return false;
    return !isOpen(wanted.mode) || watchdog.check();
  };

  const bury = async (target: Running): Promise<void> => {
    killGroup(target.group);
    await killAll(target.group, options.programs);
    rmSync(groupFile, { force: true });
    watchdog.clear();
    if (running === target) running = undefined;
    options.onChange();
  };

  const start = async (mode: Mode, epoch: number): Promise<boolean> => {
    if (!(await isPrepared(mode, epoch))) return false;
    await killAll(undefined, options.programs);
    // Meanwhile the lease may have gone: begin again.
    if (wanted.mode !== mode || wanted.epoch !== epoch) return true;
    writeMode(mode, epoch);
    launch(mode, epoch);
    return true;
  };

  const isPrepared = async (mode: Mode, epoch: number): Promise<boolean> => {
    try {
      if (isOpen(mode)) await options.prepare(mode, epoch);
      return true;
    } catch (error) {
      delay();
      unfit('the volume refuses', error);
      return false;
    }
  };

  /** The process waits at a gate until its group and its deadline are written down: whoever comes next knows whom to kill. */
  const launch = (mode: Mode, epoch: number): void => {
    const child = spawn('/bin/sh', ['-c', 'read -r go && [ "$go" = go ] && exec "$@"', 'dovecot', ...options.command], {
      detached: true,
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    const group = child.pid;
    if (group === undefined) {
      child.once('error', (error) => unfit('Dovecot can not be started', error));
      delay();
      return;
    }
    const target: Running = {
      group,
      child,
      mode,
      epoch,
      startedAt: monotonic(),
      up: false,
      killed: false,
      leaving: false,
      ended: false,
    };
    running = target;
    child.once('exit', (code, signal) => ended(target, code, signal));
    child.on('error', (error) => log.error({ err: error }, 'Dovecot'));
    child.stdin?.on('error', () => undefined);
    writeFileSync(groupFile, `${group}\n`);
    if (isOpen(mode)) watchdog.setDeadline(group, wanted.deadline);
    if (isOpen(mode) && monotonic() >= wanted.deadline) {
      kill(target);
      return;
    }
    child.stdin?.end('go\n');
    options.onChange();
    void probe(target);
  };

  const isRunning = (target: Running): boolean => running === target && !target.killed && !target.ended;

  const probe = async (target: Running): Promise<void> => {
    let up = false;
    while (!up && isRunning(target)) {
      up = await options.probe(target.mode).catch(() => false);
      if (!up) await sleep(20);
    }
    if (!isRunning(target)) return;
    target.up = true;
    log.info({ mode: target.mode, epoch: target.epoch, ms: monotonic() - target.startedAt }, 'Dovecot is up');
    options.onChange();
  };

  const delay = (): void => {
    failures += 1;
    notBefore = monotonic() + Math.min(100 * 2 ** failures, 5_000);
    if (failures === FAILURES) options.onUnfit(`Dovecot has failed ${failures} times in a row`);
  };

  const ended = (target: Running, code: number | null, signal: string | null): void => {
    target.ended = true;
    target.up = false;
    if (target.leaving) target.killed = true;
    if (!target.killed) {
      log.error({ code, signal, mode: target.mode }, 'Dovecot has ended by itself; what it has left is killed');
      target.killed = true;
      if (monotonic() - target.startedAt >= GOOD_MS) failures = 0;
      delay();
    }
    killGroup(target.group);
    options.onChange();
    void work();
  };

  return {
    begin: async () => {
      mkdirSync(folder, { recursive: true });
      const [group] = readNumbers(groupFile);
      await killAll(group !== undefined && group > 1 ? group : undefined, options.programs);
      rmSync(groupFile, { force: true });
      watchdog.clear();
    },
    set,
    restart: () => {
      if (running !== undefined && !running.killed) kill(running);
      void work();
    },
    isDown: () => running === undefined,
    current: () => (running === undefined ? NOTHING : { mode: running.mode, epoch: running.epoch, up: running.up }),
    tick: () => {
      if (watchdog.check()) watchedAt = monotonic();
      else if (
        running !== undefined &&
        isOpen(running.mode) &&
        !running.killed &&
        monotonic() - watchedAt > UNWATCHED_MS
      ) {
        log.error('no watchdog can be had: Dovecot is killed');
        kill(running);
      }
      void work();
    },
  };
}

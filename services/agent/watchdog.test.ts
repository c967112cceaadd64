import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../operator/runtime/log.js';
import { monotonic } from './clock.js';
import { findAll, killAll } from './processes.js';
import { readNumbers, startWatchdog, type Watchdog } from './watchdog.js';

const PROGRAM = join(import.meta.dirname, '../../images/dovecot/bin/watchdog');
let folder: string;
let watchdog: Watchdog;
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'posthorn-watchdog-'));
  watchdog = startWatchdog({ command: ['/usr/bin/perl', PROGRAM], folder, log: silentLog });
});
afterEach(async () => {
  const [pid] = readNumbers(join(folder, 'watchdog'));
  if (pid !== undefined) kill(pid);
  for (const child of children.splice(0)) if (child.pid !== undefined) kill(-child.pid);
  await rm(folder, { recursive: true, force: true });
});

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** A master with a child, in a process group of their own. */
function startGroup(): number {
  const child = spawn('/bin/sh', ['-c', 'sleep 60 & wait'], { detached: true, stdio: 'ignore' });
  children.push(child);
  return child.pid as number;
}

function isThere(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(what: string, look: () => boolean): Promise<void> {
  const end = monotonic() + 10_000;
  while (!look()) {
    if (monotonic() > end) throw new Error(`${what}: not within 10 s`);
    await sleep(10);
  }
}

describe('the watchdog', () => {
  it('kills the whole group when the deadline has passed, and not before', async () => {
    await until('it lives', watchdog.check);
    const group = startGroup();
    const deadline = monotonic() + 800;
    watchdog.setDeadline(group, deadline);
    while (monotonic() < deadline - 50) {
      expect(isThere(group)).toBe(true);
      await sleep(20);
    }
    await until('the group is gone', () => !isThere(group));
    expect(monotonic()).toBeGreaterThanOrEqual(deadline);
  });

  it('lets live what is renewed, and what has no deadline any more', async () => {
    await until('it lives', watchdog.check);
    const group = startGroup();
    watchdog.setDeadline(group, monotonic() + 500);
    await sleep(200);
    watchdog.setDeadline(group, monotonic() + 5_000);
    await sleep(700);
    watchdog.clear();
    expect(isThere(group)).toBe(true);
  });

  it('is started again when it has died', async () => {
    await until('it lives', watchdog.check);
    const [first] = readNumbers(join(folder, 'watchdog')) as [number];
    kill(first);
    await until('it is missed', () => !watchdog.check());
    await until('another lives', watchdog.check);
    expect(readNumbers(join(folder, 'watchdog'))[0]).not.toBe(first);
  });

  it('is nothing to wait for when its file says rubbish', async () => {
    await until('it lives', watchdog.check);
    await writeFile(join(folder, 'deadline'), '-1 0\n');
    await sleep(300);
    expect(watchdog.check()).toBe(true);
  });
});

describe('killing', () => {
  it('leaves nobody of a group, whose master may be dead', async () => {
    const group = startGroup();
    await sleep(50);
    kill(group);
    await killAll(group, []);
    // What is dead and waits for its parent is nobody.
    expect(findAll(group, [])).toEqual([]);
  });
});

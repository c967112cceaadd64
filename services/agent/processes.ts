/** Processes of this container, by /proc. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Kills a process group and everything else whose program is one of `programs` (prefixes of paths), and waits until none of
 * them is left: a master that is killed leaves its sessions behind, and what others have started isn't in its group.
 * @throws when something survives `timeoutMs` (a process that hangs in the kernel, on a volume that doesn't answer).
 */
export async function killAll(
  group: number | undefined,
  programs: readonly string[],
  timeoutMs = 10_000,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    if (group !== undefined) killGroup(group);
    const left = findAll(group, programs);
    for (const pid of left) kill(pid);
    if (left.length === 0) return;
    if (performance.now() > end) throw new Error(`processes ${left.join(', ')} are still there after SIGKILL`);
    await sleep(5);
  }
}

/** At once; what is left is seen to by `killAll`. */
export function killGroup(group: number): void {
  if (group > 1) kill(-group);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}

/** Running members of the group, and running programs, by pid. What is dead and waits for its parent doesn't count. */
export function findAll(group: number | undefined, programs: readonly string[]): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => isAlive(pid, group) || isProgram(pid, programs));
}

function isAlive(pid: number, group: number | undefined): boolean {
  if (group === undefined) return false;
  try {
    // PID (NAME) STATE PPID PGRP …; the name may hold anything.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(pgrp) === group && state !== 'Z' && state !== 'X';
  } catch {
    return false;
  }
}

function isProgram(pid: number, programs: readonly string[]): boolean {
  try {
    const exe = readlinkSync(`/proc/${pid}/exe`);
    return programs.some((program) => exe.startsWith(program));
  } catch {
    return false;
  }
}

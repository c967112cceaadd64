/** Raises UIDs once per mailbox and failover, and notes that in the mailbox's home. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { recent } from '../../lib/recent.js';
import type { AgentState } from '../ports.js';
import { doveadmUser } from './name.js';
import { homeOf } from './sieve.js';

export interface Gaps {
  /**
   * Before the first access to a mailbox in an epoch that began with a failover. Returns whether anything was raised now.
   * @param user its address, for doveadm.
   */
  ensure(user: string, mailbox: string): Promise<boolean>;
}

export interface GapOptions {
  readonly mailRoot: string;
  readonly state: () => AgentState;
  readonly raise: (user: string) => Promise<void>;
}

const MARK = '.epoch';
const REMEMBERED = 100_000;

export function createGaps({ mailRoot, state, raise }: GapOptions): Gaps {
  const done = recent<true>(REMEMBERED, Number.POSITIVE_INFINITY);
  const running = new Map<string, Promise<boolean>>();
  const raiseOnce = async (user: string, mailbox: string, epoch: number): Promise<boolean> => {
    const home = homeOf(mailRoot, mailbox);
    if ((await readMark(home)) >= epoch) return false;
    await raise(doveadmUser({ user, uuid: mailbox }));
    await writeMark(home, epoch);
    return true;
  };
  return {
    ensure: async (user, mailbox) => {
      const { promotion, epoch } = state();
      const key = `${epoch} ${mailbox}`;
      if (promotion !== 'failover' || done.get(key)) return false;
      const before = running.get(key);
      if (before !== undefined) return before;
      const now = raiseOnce(user, mailbox, epoch).finally(() => running.delete(key));
      running.set(key, now);
      const raised = await now;
      done.set(key, true);
      return raised;
    },
  };
}

async function readMark(home: string): Promise<number> {
  const text = await readFile(join(home, MARK), 'utf8').catch(() => '');
  return Number(/^\d+/.exec(text)?.[0] ?? 0);
}

/** A mark that a crash loses costs some more UIDs, no more. */
async function writeMark(home: string, epoch: number): Promise<void> {
  await mkdir(home, { recursive: true, mode: 0o700 });
  const path = join(home, MARK);
  await writeFile(`${path}.tmp`, `${epoch}\n`, { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}

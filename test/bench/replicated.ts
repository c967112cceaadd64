/** What the benchmarks on a shard of three copies have in common: the system of the suite `failover`, and mail to it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { installOperator } from '../e2e/lib/environment.js';
import {
  addressOf,
  ensureFailoverSystem,
  ensureMailboxes,
  type FailoverSystem,
  password,
  removeFailoverSystem,
} from '../e2e/lib/failover-system.js';
import { ensureOutside } from '../e2e/lib/outside.js';
import { folders, logIn, select } from '../ledger/imap.js';
import type { BenchOptions } from './result.js';

/** Installs what is missing; `store` are further fields of `spec.store`. */
export async function ensureReplicated(
  log: BenchOptions['log'],
  people: readonly string[],
  store: object = {},
): Promise<FailoverSystem> {
  log('outside world, operator');
  const outside = await ensureOutside();
  await installOperator();
  log('a MailSystem with three copies of its shard');
  const system = await ensureFailoverSystem(outside, store);
  await ensureMailboxes(people);
  return system;
}

export async function removeReplicated(log: BenchOptions['log']): Promise<void> {
  log('removing the MailSystem');
  await removeFailoverSystem();
}

/** Asks again and again until `probe` answers; one attempt at a time. @returns when, by `performance.now()` */
export async function until(probe: () => Promise<boolean>, everyMs: number, timeoutMs: number): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (await probe().catch(() => false)) return performance.now();
    if (performance.now() > deadline) throw new Error(`nothing for ${timeoutMs} ms`);
    await sleep(everyMs);
  }
}

/** Removes everything from a mailbox, so that the next round reads little. */
export async function clear({ imap }: FailoverSystem, name: string): Promise<void> {
  const session = await logIn(imap, addressOf(name), password);
  try {
    for (const folder of await folders(session)) {
      const { messages } = await select(session, folder);
      if (messages.length === 0) continue;
      await session.command('STORE 1:* +FLAGS.SILENT (\\Deleted)');
      await session.command('EXPUNGE');
    }
  } finally {
    session.close();
  }
}

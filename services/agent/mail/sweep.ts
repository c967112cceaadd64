/** After a failover: every mailbox gets its gap, also those that nobody uses. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Addresses } from './addresses.js';
import type { Gaps } from './gap.js';

/** Between two mailboxes: people's own first accesses go before. */
const PAUSE_MS = 20;

/** Resolves when all have been looked at. @throws when one could not be, or the signal aborts. */
export async function sweep(mailRoot: string, addresses: Addresses, gaps: Gaps, signal: AbortSignal): Promise<void> {
  for await (const mailbox of mailboxesOn(mailRoot)) {
    signal.throwIfAborted();
    const address = await addresses.addressOf(mailbox);
    // One that is deleted, or another shard's by now.
    if (address === undefined) continue;
    if (await gaps.ensure(address, mailbox)) await sleep(PAUSE_MS, undefined, { signal });
  }
}

async function* mailboxesOn(mailRoot: string): AsyncGenerator<string> {
  const root = join(mailRoot, 'mailboxes');
  for (const prefix of await readdir(root).catch(() => [])) {
    for (const mailbox of await readdir(join(root, prefix)).catch(() => [])) {
      if (/^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(mailbox)) yield mailbox;
    }
  }
}

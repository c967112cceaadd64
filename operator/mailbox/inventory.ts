import type { MailboxInventory } from '../directory/rows.js';
import type { AttachedSystem } from '../systems.js';
import type { MailboxDependencies } from './dependencies.js';

/**
 * Compares a directory with the Mailboxes that exist: after a restart, or when a directory becomes reachable. Learns
 * which passwords are in effect, and finds mailboxes whose object was deleted while nobody watched. Objects of
 * namespaces that this operator doesn't watch are none of its business.
 */
export async function compareInventory(deps: MailboxDependencies, system: AttachedSystem): Promise<void> {
  await deps.mailboxes.synced;
  for await (const page of system.directory.listMailboxes()) {
    for (const row of page) deps.known.set(row.uuid, row.passwordSource);
    for (const row of page.filter((candidate) => isOrphan(deps, system, candidate))) tombstoneLater(deps, system, row);
  }
  for (const key of keysInNamespace(deps, system.namespace)) deps.queue.add(key, { background: true });
}

function isOrphan(deps: MailboxDependencies, system: AttachedSystem, { object }: MailboxInventory): boolean {
  return object.namespace === system.namespace && deps.mailboxes.cache.keysByIndex('uid', object.uid).size === 0;
}

function tombstoneLater(deps: MailboxDependencies, system: AttachedSystem, row: MailboxInventory): void {
  const key = `${row.object.namespace}/${row.object.name}`;
  const entry = { uuid: row.uuid, objectUid: row.object.uid, addresses: [], system: system.key };
  deps.gone.set(key, [...(deps.gone.get(key) ?? []), entry]);
  deps.queue.add(key);
}

function keysInNamespace({ mailboxes }: MailboxDependencies, namespace: string): string[] {
  return [...mailboxes.cache.keys()].filter((key) => mailboxes.cache.get(key)?.metadata.namespace === namespace);
}

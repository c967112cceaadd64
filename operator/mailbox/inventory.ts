import type { AttachedSystem } from '../systems.js';
import type { MailboxDependencies } from './controller.js';

/** What the directories are known to have: uuid → source of the password in effect (null: none). */
export type Known = Map<string, string | null>;

/**
 * Compares a directory with the Mailboxes that exist: after a restart, or when a directory becomes reachable. Learns
 * which passwords are in effect, and finds mailboxes whose object was deleted while nobody watched. Objects of
 * namespaces that this operator doesn't watch are none of its business.
 */
export async function compareInventory(deps: MailboxDependencies, system: AttachedSystem): Promise<void> {
  await deps.mailboxes.synced;
  for await (const page of system.directory.listMailboxes()) {
    for (const row of page) {
      deps.known.set(row.uuid, row.passwordSource);
      if (row.object.namespace !== system.namespace) continue;
      if (deps.mailboxes.cache.keysByIndex('uid', row.object.uid).size > 0) continue;
      const key = `${row.object.namespace}/${row.object.name}`;
      deps.gone.set(key, [
        ...(deps.gone.get(key) ?? []),
        { uuid: row.uuid, objectUid: row.object.uid, addresses: [], system: system.key },
      ]);
      deps.queue.add(key);
    }
  }
  for (const key of deps.mailboxes.cache.keys()) {
    if (deps.mailboxes.cache.get(key)?.metadata.namespace === system.namespace)
      deps.queue.add(key, { background: true });
  }
}

import { setImmediate } from 'node:timers/promises';
import type { Mailbox } from '../../crds/mailbox.js';
import { contentHash } from '../directory/inventory.js';
import type { MailboxInventory } from '../directory/rows.js';
import { refKey } from '../runtime/object.js';
import type { AttachedSystem } from '../systems.js';
import { enqueueIndex, type MailboxDependencies } from './dependencies.js';
import { desiredMailbox, uuidOf } from './desired.js';
import { appRow, type KnownPassword } from './password.js';
import { declaredRow } from './row.js';

/** Objects that are compared before others get their turn. */
const YIELD_EVERY = 500;

/**
 * Compares a directory with the objects that exist. Learns which passwords are in effect and what is said of scripts and accounts; removes mailboxes and domains whose
 * object was deleted while nobody watched; lets those Mailboxes look again that the directory doesn't have as declared (after a
 * restore). What lies in namespaces that nobody watches is left alone.
 *
 * @returns whether anything was removed
 */
export async function compareInventory(deps: MailboxDependencies, system: AttachedSystem): Promise<boolean> {
  // Before any status is written: or what was said of a script would come and go at every restart.
  for (const uuid of await deps.reports.readAll(system)) enqueueIndex(deps, 'uuid', uuid);
  const present = new Map<string, MailboxInventory>();
  const orphans: { uuid: string; objectUid: string }[] = [];
  for await (const page of system.directory.listMailboxes()) {
    for (const row of page) {
      present.set(row.uuid, row);
      deps.known.set(row.uuid, { ...passwordsOf(row), system: system.key });
      if (isOrphan(deps, row)) orphans.push({ uuid: row.uuid, objectUid: row.object.uid });
    }
  }
  if (orphans.length > 0) {
    deps.log.info({ system: system.key, mailboxes: orphans.length }, 'deleted mailboxes whose objects are gone');
    await system.directory.tombstoneMailboxes(orphans);
  }
  await enqueueDiffering(deps, system, present);
  return (await removeDomains(deps, system)) || orphans.length > 0;
}

/** The first comparison with a directory; until it has succeeded, nobody else writes there. */
export function learnInventory(deps: MailboxDependencies, system: AttachedSystem): Promise<void> {
  const { directory } = system;
  const under = deps.learned.get(directory);
  if (under !== undefined) return under;
  const learning = compareInventory(deps, system).then(() => undefined);
  deps.learned.set(directory, learning);
  learning.catch(() => deps.learned.delete(directory));
  return learning;
}

/** Every Mailbox in the namespaces of a system is looked at again, after what people change meanwhile. */
export function enqueueNamespaces(deps: MailboxDependencies, systemKey: string): void {
  const namespaces = deps.namespacesOf(systemKey);
  for (const { metadata } of deps.mailboxes.cache.values())
    if (namespaces.has(metadata.namespace ?? '')) deps.queue.add(refKey(metadata), { background: true });
}

function passwordsOf({ object, passwordSource, appPasswordSources }: MailboxInventory): KnownPassword {
  return { objectUid: object.uid, source: passwordSource, apps: appPasswordSources };
}

function isOrphan(deps: MailboxDependencies, { object }: MailboxInventory): boolean {
  return deps.watches(object.namespace) && deps.mailboxes.cache.keysByIndex('uid', object.uid).size === 0;
}

async function enqueueDiffering(
  deps: MailboxDependencies,
  system: AttachedSystem,
  present: ReadonlyMap<string, MailboxInventory>,
): Promise<void> {
  const namespaces = deps.namespacesOf(system.key);
  let count = 0;
  for (const object of [...deps.mailboxes.cache.values()]) {
    count += 1;
    if (count % YIELD_EVERY === 0) await setImmediate();
    if (!namespaces.has(object.metadata.namespace ?? '')) continue;
    const uuid = uuidOf(object);
    if (!isMissing(deps, system, object, present.get(uuid))) continue;
    if (!present.has(uuid)) deps.known.delete(uuid);
    deps.queue.add(refKey(object.metadata), { background: true });
  }
}

function isMissing(
  deps: MailboxDependencies,
  system: AttachedSystem,
  object: Mailbox,
  row: MailboxInventory | undefined,
): boolean {
  const { namespace = '' } = object.metadata;
  const { mailbox } = desiredMailbox(object, { domain: (domain) => deps.hosting(namespace, domain) });
  if (mailbox?.system !== system.key) return false;
  const appPasswords = (object.spec.appPasswords ?? []).map(appRow);
  const declared = contentHash({ ...declaredRow(object, mailbox, system), appPasswords });
  if (row?.contentHash !== declared) return true;
  return deps.passwords.isStale(object, passwordsOf(row));
}

async function removeDomains(deps: MailboxDependencies, system: AttachedSystem): Promise<boolean> {
  const domains = await system.directory.listDomains();
  const gone = domains
    .filter(({ object }) => deps.watches(object.namespace) && !deps.domainExists(object.uid))
    .map(({ domain, object }) => ({ domain, objectUid: object.uid }));
  if (gone.length === 0) return false;
  deps.log.info(
    { system: system.key, domains: gone.map(({ domain }) => domain) },
    'removing domains whose objects are gone',
  );
  await system.directory.removeDomains(gone);
  return true;
}

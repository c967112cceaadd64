import { createHash } from 'node:crypto';
import type { Database } from './connection.js';
import type { DomainRow, MailboxInventory, MailboxRow, RetainedMailbox } from './rows.js';

const DEFAULT_PAGE_SIZE = 1_000;

/**
 * A digest of what a row declares, except the shard and the password. Equal to the directory's
 * (`MailboxInventory.contentHash`) if there is nothing to write.
 */
export function contentHash(
  row: Pick<MailboxRow, 'address' | 'aliases' | 'quotaBytes' | 'deletionPolicy' | 'object'>,
): string {
  const { uid, namespace, name } = row.object;
  const aliases = [...row.aliases].sort();
  const content = [row.address, aliases, row.quotaBytes, row.deletionPolicy, uid, namespace, name];
  return createHash('sha256').update(JSON.stringify(content)).digest('base64url');
}

interface InventoryRecord {
  readonly uuid: string;
  readonly address: string | null;
  readonly aliases: string[];
  readonly shard: string;
  readonly quota_bytes: string | null;
  readonly deletion_policy: 'Retain' | 'Delete';
  readonly password_source: string | null;
  readonly object_uid: string;
  readonly object_namespace: string;
  readonly object_name: string;
}

const PAGE = `
  SELECT m.uuid, m.shard, m.quota_bytes, m.deletion_policy, m.password_source,
         m.object_uid, m.object_namespace, m.object_name,
         (SELECT a.address FROM posthorn.addresses a WHERE a.mailbox = m.uuid AND a.kind = 'mailbox') AS address,
         ARRAY(SELECT a.address FROM posthorn.addresses a WHERE a.mailbox = m.uuid AND a.kind = 'alias') AS aliases
  FROM posthorn.mailboxes m
  WHERE m.deleted_at IS NULL AND ($1::uuid IS NULL OR m.uuid > $1)
  ORDER BY m.uuid LIMIT $2`;

/** See `Directory.listMailboxes`. Each page is a transaction of its own. */
export async function* listMailboxes(
  database: Database,
  pageSize: number = DEFAULT_PAGE_SIZE,
): AsyncGenerator<MailboxInventory[]> {
  let last: string | null = null;
  for (;;) {
    const after: string | null = last;
    const records: InventoryRecord[] = await database.transaction('list mailboxes', async (client) => {
      return (await client.query<InventoryRecord>(PAGE, [after, pageSize])).rows;
    });
    if (records.length > 0) {
      yield records.map(inventory);
    }
    last = records.at(-1)?.uuid ?? null;
    if (records.length < pageSize) {
      return;
    }
  }
}

function inventory(record: InventoryRecord): MailboxInventory {
  const object = { uid: record.object_uid, namespace: record.object_namespace, name: record.object_name };
  const quotaBytes = record.quota_bytes === null ? null : Number(record.quota_bytes);
  return {
    uuid: record.uuid,
    object,
    shard: record.shard,
    passwordSource: record.password_source,
    contentHash: contentHash({
      address: record.address ?? '',
      aliases: record.aliases,
      quotaBytes,
      deletionPolicy: record.deletion_policy,
      object,
    }),
  };
}

/** See `Directory.listDomains`. */
export async function listDomains(database: Database): Promise<DomainRow[]> {
  return database.transaction('list domains', async (client) => {
    const { rows } = await client.query<{
      domain: string;
      uid: string;
      namespace: string;
      name: string;
      selector: string | null;
    }>(`SELECT domain, object_uid AS uid, object_namespace AS namespace, object_name AS name, dkim_selector AS selector
        FROM posthorn.domains ORDER BY domain`);
    return rows.map(({ domain, uid, namespace, name, selector }) => ({
      domain,
      object: { uid, namespace, name },
      dkimSelector: selector,
    }));
  });
}

/** See `Directory.adoptable`. */
export async function adoptable(database: Database, address: string, namespace: string): Promise<RetainedMailbox[]> {
  return database.transaction(`look for deleted mailboxes of ${address}`, async (client) => {
    const { rows } = await client.query<{ uuid: string; deletedAt: Date; purgeAfter: Date | null }>(
      `SELECT uuid, deleted_at AS "deletedAt", purge_after AS "purgeAfter" FROM posthorn.mailboxes
       WHERE address = $1 AND object_namespace = $2 AND deleted_at IS NOT NULL
         AND (purge_after IS NULL OR purge_after > now())
       ORDER BY deleted_at DESC LIMIT 20`,
      [address, namespace],
    );
    return rows;
  });
}

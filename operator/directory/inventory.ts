import { createHash } from 'node:crypto';
import type { Database } from './connection.js';
import type {
  AppPasswordRow,
  DomainRow,
  ForwardRow,
  MailboxInventory,
  MailboxRow,
  MailboxState,
  MemberRow,
  ObjectRef,
  RequireRow,
  RetainedMailbox,
} from './rows.js';

const DEFAULT_PAGE_SIZE = 1_000;

/**
 * A digest of what a row declares, except the shard and the secrets: of app passwords only names and protocols are in
 * it, and `appPasswords: undefined` is none. Equal to the directory's (`MailboxInventory.contentHash`) if there is
 * nothing to write.
 */
export function contentHash(row: DeclaredMailbox): string {
  const { uid, namespace, name } = row.object;
  const aliases = [...row.aliases].sort();
  return digest([row.address, aliases, row.quotaBytes, row.deletionPolicy, uid, namespace, name, details(row)]);
}

/** What `contentHash` looks at. */
export type DeclaredMailbox = Omit<
  MailboxRow,
  'uuid' | 'shard' | 'createdAt' | 'adopt' | 'password' | 'appPasswords'
> & {
  readonly appPasswords?: readonly Pick<AppPasswordRow, 'name' | 'protocols'>[] | undefined;
};

function details(row: DeclaredMailbox): unknown[] {
  return [
    row.state ?? 'Active',
    row.stateUntil == null ? null : new Date(row.stateUntil).toISOString(),
    row.suspendedMail ?? 'Accept',
    row.ldapUser,
    row.sieve ? sieveHash(row.sieve) : null,
    row.require,
    row.sending?.hour,
    row.sending?.day,
    sorted((row.retention ?? []).map(({ folder, days }) => [folder, days])),
    sorted((row.members ?? []).map(({ mailbox, rights, sendAs }) => [mailbox, rights, sendAs])),
    sorted((row.appPasswords ?? []).map(({ name, protocols }) => [name, protocols])),
  ];
}

/** By their first element, which is unique. */
function sorted(entries: unknown[][]): unknown[][] {
  return entries.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
}

/** A digest of what a forward declares. Equal to `ForwardInventory.contentHash` if there is nothing to write. */
export function forwardHash(row: Omit<ForwardRow, 'createdAt'>): string {
  const { uid, namespace, name } = row.object;
  return digest([row.address, [...row.to], row.couriers, row.keepCopy, row.sendAs, row.require, uid, namespace, name]);
}

/** What the directory and `SieveResult` call a script by. */
export function sieveHash(script: string): string {
  return createHash('sha256').update(script).digest('hex');
}

/** SHA-256 of a value as JSON, whatever the order of keys, and whether something is null or not there. */
function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(canonical(value)))
    .digest('base64url');
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== 'object') return value ?? null;
  const entries = Object.entries(value).filter(([, field]) => field != null);
  return Object.fromEntries(
    entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, field]) => [key, canonical(field)]),
  );
}

interface InventoryRecord {
  readonly key: string;
  readonly address: string | null;
  readonly aliases: string[];
  readonly shard: string;
  readonly quota_bytes: string | null;
  readonly deletion_policy: 'Retain' | 'Delete';
  readonly password_source: string | null;
  readonly object_uid: string;
  readonly object_namespace: string;
  readonly object_name: string;
  readonly state: MailboxState;
  readonly state_until: Date | null;
  readonly suspended_mail: 'Accept' | 'Refuse';
  readonly ldap_user: string | null;
  readonly require: RequireRow | null;
  readonly sending_hour: number | null;
  readonly sending_day: number | null;
  readonly retention: { folder: string; days: number }[] | null;
  readonly sieve: string | null;
  readonly members: MemberRow[] | null;
  readonly app_passwords: { name: string; source: string; protocols: string[] | null }[] | null;
}

const PAGE = `
  SELECT m.uuid AS key, m.shard, m.quota_bytes, m.deletion_policy, m.password_source,
         m.object_uid, m.object_namespace, m.object_name, m.state, m.state_until, m.suspended_mail, m.ldap_user,
         m.require, m.sending_hour, m.sending_day, m.retention,
         (SELECT a.address FROM posthorn.addresses a WHERE a.mailbox = m.uuid AND a.kind = 'mailbox') AS address,
         ARRAY(SELECT a.address FROM posthorn.addresses a WHERE a.mailbox = m.uuid AND a.kind = 'alias') AS aliases,
         (SELECT v.script FROM posthorn.sieve v WHERE v.mailbox = m.uuid) AS sieve,
         (SELECT jsonb_agg(jsonb_build_object('mailbox', s.member, 'rights', s.rights, 'sendAs', s.send_as))
          FROM posthorn.members s WHERE s.mailbox = m.uuid) AS members,
         (SELECT jsonb_agg(jsonb_build_object('name', p.name, 'source', p.source, 'protocols', p.protocols))
          FROM posthorn.app_passwords p WHERE p.mailbox = m.uuid) AS app_passwords
  FROM posthorn.mailboxes m
  WHERE m.deleted_at IS NULL AND ($1::uuid IS NULL OR m.uuid > $1)
  ORDER BY m.uuid LIMIT $2`;

/** See `Directory.listMailboxes`. */
export function listMailboxes(database: Database, pageSize?: number): AsyncGenerator<MailboxInventory[]> {
  return listInPages(database, { doing: 'list mailboxes', page: PAGE, map: inventory }, pageSize);
}

/** A list by a query of ($1: key of the last row, $2: page size). Each page is a transaction of its own. */
export async function* listInPages<Row extends { readonly key: string }, Item>(
  database: Database,
  { doing, page, map }: { doing: string; page: string; map: (row: Row) => Item },
  pageSize: number = DEFAULT_PAGE_SIZE,
): AsyncGenerator<Item[]> {
  let last: string | null = null;
  for (;;) {
    const after: string | null = last;
    const rows: Row[] = await database.transaction(doing, async (client) => {
      return (await client.query<Row>(page, [after, pageSize])).rows;
    });
    if (rows.length > 0) {
      yield rows.map(map);
    }
    last = rows.at(-1)?.key ?? null;
    if (rows.length < pageSize) {
      return;
    }
  }
}

function inventory(record: InventoryRecord): MailboxInventory {
  const object = { uid: record.object_uid, namespace: record.object_namespace, name: record.object_name };
  const appPasswords = record.app_passwords ?? [];
  return {
    uuid: record.key,
    object,
    shard: record.shard,
    passwordSource: record.password_source,
    appPasswordSources: Object.fromEntries(appPasswords.map(({ name, source }) => [name, source])),
    contentHash: contentHash(declared(record, object)),
  };
}

function declared(record: InventoryRecord, object: ObjectRef): DeclaredMailbox {
  return {
    object,
    address: record.address ?? '',
    aliases: record.aliases,
    quotaBytes: record.quota_bytes === null ? null : Number(record.quota_bytes),
    deletionPolicy: record.deletion_policy,
    state: record.state,
    stateUntil: record.state_until?.toISOString(),
    suspendedMail: record.suspended_mail,
    ldapUser: record.ldap_user,
    require: record.require,
    sending: { hour: record.sending_hour, day: record.sending_day },
    retention: record.retention ?? [],
    sieve: record.sieve,
    members: record.members ?? [],
    appPasswords: record.app_passwords ?? [],
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
      filter: object | null;
      hour: number | null;
    }>(`SELECT domain, object_uid AS uid, object_namespace AS namespace, object_name AS name, dkim_selector AS selector,
               filter, sending_hour AS hour
        FROM posthorn.domains ORDER BY domain`);
    return rows.map(({ domain, uid, namespace, name, selector, filter, hour }) => ({
      domain,
      object: { uid, namespace, name },
      dkimSelector: selector,
      filter: filter ?? undefined,
      sendingHour: hour ?? undefined,
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

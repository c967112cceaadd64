import type pg from 'pg';
import type { Database } from './connection.js';
import { DirectoryRejected } from './errors.js';
import { laterLsn } from './replication.js';
import type {
  AddressConflict,
  DomainRow,
  MailboxOutcome,
  MailboxRow,
  PasswordRow,
  RefusalReason,
  SettingsRow,
  ShardRow,
  Written,
} from './rows.js';

const MAX_BATCH = 5_000;
const DEFAULT_GRACE_SECONDS = 60;

/** See `Directory.projectMailboxes`; what it does is in migrations/0004_projection.sql. */
export async function projectMailboxes(
  database: Database,
  batch: readonly MailboxRow[],
): Promise<Written<MailboxOutcome[]>> {
  if (batch.length > MAX_BATCH) {
    throw new RangeError(`projectMailboxes: ${batch.length} rows at once, at most ${MAX_BATCH} are possible`);
  }
  try {
    return await projectBatch(database, batch);
  } catch (error) {
    if (!(error instanceof DirectoryRejected && BAD_DATA.test(error.code))) throw error;
    return projectHalves(database, batch, error);
  }
}

/** SQLSTATE classes for values that a type or a constraint doesn't take. */
const BAD_DATA = /^(22|23)/;

/** One bad row must not keep the others out: it is found by halving. */
async function projectHalves(
  database: Database,
  batch: readonly MailboxRow[],
  error: DirectoryRejected,
): Promise<Written<MailboxOutcome[]>> {
  const [only] = batch;
  if (only !== undefined && batch.length === 1) {
    const refused = { uuid: only.uuid, result: 'refused', reason: 'Invalid', message: error.message, conflicts: [] };
    return { value: [refused as MailboxOutcome], lsn: '0/0' };
  }
  const half = Math.ceil(batch.length / 2);
  const first = await projectMailboxes(database, batch.slice(0, half));
  const second = await projectMailboxes(database, batch.slice(half));
  return { value: [...first.value, ...second.value], lsn: laterLsn(first.lsn, second.lsn) };
}

function projectBatch(database: Database, batch: readonly MailboxRow[]): Promise<Written<MailboxOutcome[]>> {
  return database.write(`project ${batch.length} mailboxes`, async (client) => {
    const { rows } = await client.query<OutcomeRecord>('SELECT * FROM posthorn.project_mailboxes($1)', [
      JSON.stringify(batch.map(mailboxRecord)),
    ]);
    const outcomes = new Map(rows.map((row) => [row.ord, row]));
    return batch.map((row, ord) => outcome(row, outcomes.get(ord)));
  });
}

interface OutcomeRecord {
  readonly ord: number;
  readonly result: MailboxOutcome['result'];
  readonly reason: RefusalReason | null;
  readonly shard: string | null;
  readonly conflicts: {
    address: string;
    kind: AddressConflict['kind'] | null;
    owner: AddressConflict['owner'] | null;
  }[];
}

function mailboxRecord(row: MailboxRow, ord: number): Record<string, unknown> {
  return {
    ord,
    uuid: row.uuid,
    address: row.address,
    aliases: row.aliases,
    shard: row.shard,
    quota_bytes: row.quotaBytes,
    deletion_policy: row.deletionPolicy,
    object_uid: row.object.uid,
    object_namespace: row.object.namespace,
    object_name: row.object.name,
    claimed_at: row.createdAt,
    adopt: row.adopt,
    set_password: row.password !== undefined,
    password: row.password?.hash,
    password_source: row.password?.source,
  };
}

function outcome(row: MailboxRow, record: OutcomeRecord | undefined): MailboxOutcome {
  if (record === undefined) {
    throw new Error(`the directory gave no outcome for mailbox ${row.uuid}`);
  }
  return {
    uuid: row.uuid,
    result: record.result,
    reason: record.reason ?? undefined,
    shard: record.shard ?? undefined,
    conflicts: record.conflicts.map(({ address, kind, owner }) => ({
      address,
      kind: kind ?? undefined,
      owner: owner ?? undefined,
    })),
  };
}

/** See `Directory.tombstoneMailboxes`. */
export async function tombstoneMailboxes(
  database: Database,
  gone: readonly { uuid: string; objectUid: string }[],
  graceSeconds: number = DEFAULT_GRACE_SECONDS,
): Promise<Written<string[]>> {
  return database.write(`delete ${gone.length} mailboxes`, (client) =>
    names(
      client,
      `WITH gone AS (
         UPDATE posthorn.mailboxes m
         SET deleted_at = now(),
             purge_after = CASE deletion_policy WHEN 'Delete' THEN now() + make_interval(secs => $2) END
         FROM jsonb_to_recordset($1) AS g (uuid uuid, "objectUid" text)
         WHERE m.uuid = g.uuid AND m.object_uid = g."objectUid" AND m.deleted_at IS NULL
         RETURNING m.uuid
       ), released AS (
         DELETE FROM posthorn.addresses a USING gone WHERE a.mailbox = gone.uuid
       )
       SELECT uuid::text AS name FROM gone`,
      [JSON.stringify(gone), graceSeconds],
    ),
  );
}

/** See `Directory.setPasswords`. */
export async function setPasswords(
  database: Database,
  rows: readonly { uuid: string; password: PasswordRow | null }[],
): Promise<Written<string[]>> {
  const records = rows.map(({ uuid, password }) => ({ uuid, hash: password?.hash, source: password?.source }));
  return database.write(`set the passwords of ${rows.length} mailboxes`, (client) =>
    names(
      client,
      `UPDATE posthorn.mailboxes m SET password = p.hash, password_source = p.source
       FROM jsonb_to_recordset($1) AS p (uuid uuid, hash text, source text)
       WHERE m.uuid = p.uuid AND m.deleted_at IS NULL AND m.password_source IS DISTINCT FROM p.source
       RETURNING m.uuid::text AS name`,
      [JSON.stringify(records)],
    ),
  );
}

/** See `Directory.projectDomains`. */
export async function projectDomains(database: Database, rows: readonly DomainRow[]): Promise<Written<string[]>> {
  const records = rows.map(({ domain, object, dkimSelector }) => ({ domain, ...object, selector: dkimSelector }));
  return database.write(`project ${rows.length} domains`, (client) =>
    names(
      client,
      `INSERT INTO posthorn.domains AS d (domain, object_uid, object_namespace, object_name, dkim_selector)
       SELECT r.domain, r.uid, r.namespace, r.name, r.selector
       FROM jsonb_to_recordset($1) AS r (domain text, uid text, namespace text, name text, selector text)
       LEFT JOIN posthorn.domains o ON o.domain = r.domain
       WHERE o.domain IS NULL OR (o.object_uid, o.object_namespace, o.object_name, o.dkim_selector)
             IS DISTINCT FROM (r.uid, r.namespace, r.name, r.selector)
       ORDER BY r.domain
       ON CONFLICT (domain) DO UPDATE SET
         object_uid = excluded.object_uid, object_namespace = excluded.object_namespace,
         object_name = excluded.object_name, dkim_selector = excluded.dkim_selector
       RETURNING d.domain AS name`,
      [JSON.stringify(records)],
    ),
  );
}

/** See `Directory.removeDomains`. */
export async function removeDomains(
  database: Database,
  gone: readonly { domain: string; objectUid: string }[],
): Promise<Written<{ inUse: string[] }>> {
  const records = JSON.stringify(gone);
  return database.write(`remove ${gone.length} domains`, async (client) => {
    await client.query(
      `DELETE FROM posthorn.domains d USING jsonb_to_recordset($1) AS g (domain text, "objectUid" text)
       WHERE d.domain = g.domain AND d.object_uid = g."objectUid"
         AND NOT EXISTS (SELECT FROM posthorn.addresses a WHERE a.domain = d.domain)`,
      [records],
    );
    const inUse = await names(
      client,
      `SELECT d.domain AS name FROM posthorn.domains d
       JOIN jsonb_to_recordset($1) AS g (domain text, "objectUid" text)
         ON d.domain = g.domain AND d.object_uid = g."objectUid" ORDER BY 1`,
      [records],
    );
    return { inUse };
  });
}

/** See `Directory.projectShards`. */
export async function projectShards(
  database: Database,
  rows: readonly ShardRow[],
): Promise<Written<{ inUse: string[] }>> {
  const records = JSON.stringify(rows);
  return database.write('project the shards', async (client) => {
    await client.query(
      `INSERT INTO posthorn.shards (name, host, lmtp_port, imap_port, sieve_port)
       SELECT r.name, r.host, r."lmtpPort", r."imapPort", r."sievePort" FROM ${SHARD_RECORDS}
       LEFT JOIN posthorn.shards o ON o.name = r.name
       WHERE o.name IS NULL OR (o.host, o.lmtp_port, o.imap_port, o.sieve_port)
             IS DISTINCT FROM (r.host, r."lmtpPort", r."imapPort", r."sievePort")
       ON CONFLICT (name) DO UPDATE SET host = excluded.host, lmtp_port = excluded.lmtp_port,
         imap_port = excluded.imap_port, sieve_port = excluded.sieve_port`,
      [records],
    );
    await client.query(
      `DELETE FROM posthorn.shards s WHERE NOT EXISTS (SELECT FROM ${SHARD_RECORDS} WHERE r.name = s.name)
         AND NOT EXISTS (SELECT FROM posthorn.mailboxes m WHERE m.shard = s.name)`,
      [records],
    );
    const inUse = await names(
      client,
      `SELECT s.name FROM posthorn.shards s
       WHERE NOT EXISTS (SELECT FROM ${SHARD_RECORDS} WHERE r.name = s.name) ORDER BY 1`,
      [records],
    );
    return { inUse };
  });
}

const SHARD_RECORDS =
  'jsonb_to_recordset($1) AS r (name text, host text, "lmtpPort" int, "imapPort" int, "sievePort" int)';

/** See `Directory.projectSettings`. */
export async function projectSettings(database: Database, row: SettingsRow): Promise<Written<boolean>> {
  return database.write('project the settings', async (client) => {
    const { rowCount } = await client.query(
      'UPDATE posthorn.settings SET postmaster = $1 WHERE postmaster IS DISTINCT FROM $1',
      [row.postmaster],
    );
    return rowCount === 1;
  });
}

async function names(client: pg.ClientBase, sql: string, values: unknown[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(sql, values);
  return rows.map((row) => row.name);
}

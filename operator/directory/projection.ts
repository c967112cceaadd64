import { addressConflict, type ConflictRecord, projectApart } from './batch.js';
import { type Database, names } from './connection.js';
import type {
  DomainRow,
  MailboxOutcome,
  MailboxRow,
  PasswordRow,
  RefusalReason,
  SettingsRow,
  Written,
} from './rows.js';

const DEFAULT_GRACE_SECONDS = 60;

/** See `Directory.projectMailboxes`; what it does is in migrations/0010_mailbox_projection.sql. */
export async function projectMailboxes(
  database: Database,
  batch: readonly MailboxRow[],
): Promise<Written<MailboxOutcome[]>> {
  return projectApart(batch, {
    project: (rows) => projectBatch(database, rows),
    refuse: ({ uuid }, message) => ({ uuid, result: 'refused', reason: 'Invalid', message, conflicts: [] }),
  });
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
  readonly conflicts: ConflictRecord[];
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
    ...detailsRecord(row),
  };
}

/** What 0006 has added. All of it is always said: to leave out `state` is how the release before asks for no change. */
function detailsRecord(row: MailboxRow): Record<string, unknown> {
  return {
    state: row.state ?? 'Active',
    state_until: row.stateUntil,
    suspended_mail: row.suspendedMail ?? 'Accept',
    ldap_user: row.ldapUser,
    require: row.require ?? undefined,
    sending_hour: row.sending?.hour,
    sending_day: row.sending?.day,
    retention: row.retention?.length ? row.retention.map(({ folder, days }) => ({ folder, days })) : undefined,
    sieve: row.sieve ?? '',
    members: (row.members ?? []).map(({ mailbox, rights, sendAs }) => ({ member: mailbox, rights, send_as: sendAs })),
    app_passwords: row.appPasswords?.map(({ name, source, hash, protocols }) => ({ name, source, hash, protocols })),
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
    conflicts: record.conflicts.map(addressConflict),
  };
}

/** See `Directory.tombstoneMailboxes`. */
export async function tombstoneMailboxes(
  database: Database,
  gone: readonly { uuid: string; objectUid: string }[],
  graceSeconds: number = DEFAULT_GRACE_SECONDS,
): Promise<Written<string[]>> {
  return database.write(`delete ${gone.length} mailboxes`, async (client) => {
    const deleted = await names(
      client,
      `UPDATE posthorn.mailboxes m
       SET deleted_at = now(),
           purge_after = CASE deletion_policy WHEN 'Delete' THEN now() + make_interval(secs => $2) END
       FROM jsonb_to_recordset($1) AS g (uuid uuid, "objectUid" text)
       WHERE m.uuid = g.uuid AND m.object_uid = g."objectUid" AND m.deleted_at IS NULL
       RETURNING m.uuid::text AS name`,
      [JSON.stringify(gone), graceSeconds],
    );
    await client.query(
      `SELECT posthorn.release(ARRAY(SELECT address FROM posthorn.addresses WHERE mailbox = ANY ($1::uuid[])))`,
      [deleted],
    );
    return deleted;
  });
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
  const records = rows.map(({ domain, object, dkimSelector, filter, sendingHour }) => ({
    domain,
    ...object,
    selector: dkimSelector,
    filter: filter ?? undefined,
    hour: sendingHour,
  }));
  return database.write(`project ${rows.length} domains`, (client) =>
    names(
      client,
      `INSERT INTO posthorn.domains AS d
         (domain, object_uid, object_namespace, object_name, dkim_selector, filter, sending_hour)
       SELECT r.domain, r.uid, r.namespace, r.name, r.selector, r.filter, r.hour
       FROM jsonb_to_recordset($1) AS r
         (domain text, uid text, namespace text, name text, selector text, filter jsonb, hour int)
       LEFT JOIN posthorn.domains o ON o.domain = r.domain
       WHERE o.domain IS NULL
          OR (o.object_uid, o.object_namespace, o.object_name, o.dkim_selector, o.filter, o.sending_hour)
             IS DISTINCT FROM (r.uid, r.namespace, r.name, r.selector, r.filter, r.hour)
       ORDER BY r.domain
       ON CONFLICT (domain) DO UPDATE SET
         object_uid = excluded.object_uid, object_namespace = excluded.object_namespace,
         object_name = excluded.object_name, dkim_selector = excluded.dkim_selector,
         filter = excluded.filter, sending_hour = excluded.sending_hour
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

/** See `Directory.projectSettings`. */
export async function projectSettings(database: Database, row: SettingsRow): Promise<Written<boolean>> {
  const { postmaster, forwardHost, srsDomain, userHour, userDay, domainHour } = row;
  const values = [postmaster, forwardHost, srsDomain, userHour, userDay, domainHour].map((value) => value ?? null);
  return database.write('project the settings', async (client) => {
    const { rowCount } = await client.query(
      `UPDATE posthorn.settings SET (postmaster, forward_host, srs_domain, user_hour, user_day, domain_hour)
         = ROW ($1, $2, $3, $4::int, $5::int, $6::int)
       WHERE (postmaster, forward_host, srs_domain, user_hour, user_day, domain_hour)
         IS DISTINCT FROM ($1::text, $2::text, $3::text, $4::int, $5::int, $6::int)`,
      values,
    );
    return rowCount === 1;
  });
}

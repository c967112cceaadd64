import type { Database } from './connection.js';
import type { Incident, SieveResult, Written } from './rows.js';

/** See `Directory.sieveResults`. */
export async function sieveResults(database: Database, uuids?: readonly string[]): Promise<SieveResult[]> {
  return database.transaction('ask what became of Sieve scripts', async (client) => {
    const { rows } = await client.query<SieveResult>(
      `SELECT mailbox AS uuid, result_hash AS hash, result_error AS error, result_at AS at
       FROM posthorn.sieve WHERE result_hash = hash AND ($1::uuid[] IS NULL OR mailbox = ANY ($1))`,
      [uuids ?? null],
    );
    return rows;
  });
}

/** See `Directory.incidents`. */
export async function incidents(database: Database): Promise<Incident[]> {
  return database.transaction('list incidents', async (client) => {
    const { rows } = await client.query<Incident>(
      `SELECT mailbox AS uuid, kind, detail, since, until, count FROM posthorn.incidents
       WHERE greatest(reported_at, until) > now() - interval '1 day' ORDER BY since, mailbox, kind`,
    );
    return rows;
  });
}

/** See `Directory.fullMailboxes`. */
export async function fullMailboxes(database: Database): Promise<string[]> {
  return database.transaction('ask which mailboxes are full', async (client) => {
    // The first condition is the index's.
    const { rows } = await client.query<{ uuid: string }>(
      `SELECT uuid FROM posthorn.mailboxes
       WHERE over_quota IS DISTINCT FROM false AND over_quota AND deleted_at IS NULL ORDER BY uuid`,
    );
    return rows.map(({ uuid }) => uuid);
  });
}

/** See `Directory.clearIncidents`. */
export async function clearIncidents(
  database: Database,
  settled: readonly { uuid: string; kind: string }[],
): Promise<Written<number>> {
  return database.write(`clear ${settled.length} incidents`, async (client) => {
    const { rowCount } = await client.query(
      `DELETE FROM posthorn.incidents i USING jsonb_to_recordset($1) AS s (uuid uuid, kind text)
       WHERE i.mailbox = s.uuid AND i.kind = s.kind`,
      [JSON.stringify(settled)],
    );
    return rowCount ?? 0;
  });
}

/** See `Directory.maintain`. */
export async function maintain(
  database: Database,
  { srsRotateDays }: { srsRotateDays: number },
): Promise<Written<{ srsRotated: boolean }>> {
  return database.write('maintain', async (client) => {
    const { rows } = await client.query<{ rotated: boolean }>(
      'SELECT posthorn.maintain(make_interval(days => $1)) AS rotated',
      [srsRotateDays],
    );
    return { srsRotated: rows[0]?.rotated === true };
  });
}

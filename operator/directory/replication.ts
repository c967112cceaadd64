import type { Database } from './connection.js';
import { DirectoryUnavailable } from './errors.js';
import type { Lsn } from './rows.js';

/** Whether members have replayed a position. */
export interface Replay {
  readonly ok: boolean;
  /** Names of the members that have not, sorted. */
  readonly lagging: readonly string[];
}

/** See `Directory.currentLsn`. */
export async function currentLsn(database: Database): Promise<Lsn> {
  const { lsn } = await database.write('ask for the position', async () => undefined);
  return lsn;
}

/**
 * Connected members by what they have replayed. A member that has lost its connection counts as lagging for a few
 * seconds more, by its slot (Patroni writes the member's dashes as underscores): until then it may take itself for
 * fresh; after that it defers what it doesn't find.
 */
const LAGGING = `
  SELECT coalesce(application_name, client_addr::text, 'unknown') AS name
  FROM pg_stat_replication
  WHERE state IN ('startup', 'catchup', 'streaming') AND application_name NOT IN ('pg_basebackup', 'pg_receivewal')
    AND (replay_lsn IS NULL OR replay_lsn < $1::pg_lsn)
  UNION
  SELECT replace(slot_name, '_', '-') FROM pg_replication_slots
  WHERE slot_type = 'physical' AND NOT active AND inactive_since > clock_timestamp() - interval '7 seconds'
    AND (restart_lsn IS NULL OR restart_lsn < $1::pg_lsn)
  ORDER BY 1`;

/** See `Directory.replayedEverywhere`. */
export async function replayedEverywhere(database: Database, lsn: Lsn): Promise<Replay> {
  return database.transaction(`ask whether all members have replayed ${lsn}`, async (client) => {
    const leader = await client.query<{ replica: boolean }>('SELECT pg_is_in_recovery() AS replica');
    if (leader.rows[0]?.replica !== false) {
      throw new DirectoryUnavailable('directory: this member is not the leader');
    }
    const { rows } = await client.query<{ name: string }>(LAGGING, [lsn]);
    const lagging = rows.map((row) => row.name);
    return { ok: lagging.length === 0, lagging };
  });
}

/** The later of two positions. */
export function laterLsn(a: Lsn, b: Lsn): Lsn {
  return position(a) < position(b) ? b : a;
}

function position(lsn: Lsn): bigint {
  const [high = '0', low = '0'] = lsn.split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

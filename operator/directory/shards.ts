import { type Database, names } from './connection.js';
import type { MemberState, ShardRow, ShardState, Written } from './rows.js';

const DEFAULT_AGENT_PORT = 10_028;

/** An operator that is frozen in a transaction must not keep a primary from renewing its lease. */
const NO_IDLING = "SET LOCAL idle_in_transaction_session_timeout = '1s'";

/** See `Directory.projectShards`. */
export async function projectShards(
  database: Database,
  rows: readonly ShardRow[],
): Promise<Written<{ inUse: string[]; membersInUse: { shard: string; member: number }[] }>> {
  const shards = JSON.stringify(rows.map(shardRecord));
  const members = JSON.stringify(rows.flatMap(memberRecords));
  const counted = rows.filter((row) => row.members !== undefined).map(({ name }) => name);
  return database.write('project the shards', async (client) => {
    await client.query(NO_IDLING);
    await client.query(WRITE_SHARDS, [shards]);
    await client.query(WRITE_MEMBERS, [members]);
    await client.query(REMOVE_MEMBERS, [members, counted]);
    await client.query(
      `DELETE FROM posthorn.shards s WHERE NOT EXISTS (SELECT FROM ${SHARD_RECORDS} WHERE r.name = s.name)
         AND NOT EXISTS (SELECT FROM posthorn.mailboxes m WHERE m.shard = s.name)
         AND NOT EXISTS (SELECT FROM posthorn.moves v WHERE s.name IN (v.from_shard, v.to_shard)
                         AND v.phase NOT IN ('done', 'failed'))`,
      [shards],
    );
    const inUse = await names(
      client,
      `SELECT s.name FROM posthorn.shards s
       WHERE NOT EXISTS (SELECT FROM ${SHARD_RECORDS} WHERE r.name = s.name) ORDER BY 1`,
      [shards],
    );
    const kept = await client.query<{ shard: string; member: number }>(
      `SELECT h.shard, h.member FROM posthorn.shard_members h
       WHERE h.shard = ANY ($2)
         AND NOT EXISTS (SELECT FROM ${MEMBER_RECORDS} WHERE r.shard = h.shard AND r.member = h.member) ORDER BY 1, 2`,
      [members, counted],
    );
    return { inUse, membersInUse: kept.rows };
  });
}

function shardRecord(row: ShardRow): Record<string, unknown> {
  const { name, host, lmtpPort, imapPort, sievePort } = row;
  const replicas = row.replicas ?? row.members?.length ?? 1;
  const durability = row.durability ?? (replicas > 1 ? 'Replicated' : 'Primary');
  return {
    ...{ name, host, lmtpPort, imapPort, sievePort },
    ...{ replicas, durability, withoutReplica: row.withoutReplica ?? 'Defer' },
  };
}

function memberRecords({ name, members }: ShardRow): Record<string, unknown>[] {
  return (members ?? []).map(({ member, host, port }) => ({
    shard: name,
    member,
    host,
    port: port ?? DEFAULT_AGENT_PORT,
  }));
}

const SHARD_RECORDS = `jsonb_to_recordset($1) AS r (name text, host text, "lmtpPort" int, "imapPort" int, "sievePort" int,
  replicas int, durability text, "withoutReplica" text)`;

const WRITE_SHARDS = `
  INSERT INTO posthorn.shards (name, host, lmtp_port, imap_port, sieve_port, replicas, durability, without_replica)
  SELECT r.name, r.host, r."lmtpPort", r."imapPort", r."sievePort", r.replicas, r.durability, r."withoutReplica"
  FROM ${SHARD_RECORDS}
  LEFT JOIN posthorn.shards o ON o.name = r.name
  WHERE o.name IS NULL
     OR (o.host, o.lmtp_port, o.imap_port, o.sieve_port, o.replicas, o.durability, o.without_replica) IS DISTINCT FROM
        (r.host, r."lmtpPort", r."imapPort", r."sievePort", r.replicas, r.durability, r."withoutReplica")
  ORDER BY r.name
  ON CONFLICT (name) DO UPDATE SET host = excluded.host, lmtp_port = excluded.lmtp_port,
    imap_port = excluded.imap_port, sieve_port = excluded.sieve_port, replicas = excluded.replicas,
    durability = excluded.durability, without_replica = excluded.without_replica`;

const MEMBER_RECORDS = 'jsonb_to_recordset($1) AS r (shard text, member int, host text, port int)';

const WRITE_MEMBERS = `
  INSERT INTO posthorn.shard_members (shard, member, host, port)
  SELECT r.shard, r.member, r.host, r.port FROM ${MEMBER_RECORDS}
  LEFT JOIN posthorn.shard_members o ON o.shard = r.shard AND o.member = r.member
  WHERE (o.host, o.port) IS DISTINCT FROM (r.host, r.port)
  ORDER BY r.shard, r.member
  ON CONFLICT (shard, member) DO UPDATE SET host = excluded.host, port = excluded.port`;

/** Not the one that people are sent to: it has to hand over first. The lease is locked, so it can't become that meanwhile. */
const REMOVE_MEMBERS = `
  WITH held AS MATERIALIZED (
    SELECT l.shard, l.primary_member, l.holder, l.reserved_for FROM posthorn.leases l
    WHERE l.shard = ANY ($2) AND EXISTS (
      SELECT FROM posthorn.shard_members h WHERE h.shard = l.shard
        AND NOT EXISTS (SELECT FROM ${MEMBER_RECORDS} WHERE r.shard = h.shard AND r.member = h.member))
    ORDER BY l.shard FOR NO KEY UPDATE
  )
  DELETE FROM posthorn.shard_members h USING held
  WHERE h.shard = held.shard
    AND NOT EXISTS (SELECT FROM ${MEMBER_RECORDS} WHERE r.shard = h.shard AND r.member = h.member)
    AND h.member IS DISTINCT FROM CASE WHEN held.holder IS NOT NULL THEN held.primary_member ELSE held.reserved_for END`;

interface ShardRecord {
  readonly name: string;
  readonly replicas: number;
  readonly durability: ShardState['durability'];
  readonly without_replica: ShardState['withoutReplica'];
  readonly mailboxes: string;
  readonly primary_member: number | null;
  readonly holder: string | null;
  readonly epoch: string;
  readonly renewals: string;
  readonly reserved_for: number | null;
  readonly wanted: number | null;
  readonly taken_at: Date | null;
  readonly members: (Omit<MemberState, 'registeredAt' | 'reportedAt' | 'lastCompare'> & {
    readonly registeredAt: string | null;
    readonly reportedAt: string | null;
    readonly lastCompare: string | null;
  })[];
}

/** See `Directory.shardStates`. */
export async function shardStates(database: Database): Promise<ShardState[]> {
  return database.transaction('ask how the shards are', async (client) => {
    const { rows } = await client.query<ShardRecord>(`
      SELECT s.name, s.replicas, s.durability, s.without_replica, coalesce(n.mailboxes, 0) AS mailboxes,
        l.primary_member, l.holder, l.epoch, l.renewals, l.reserved_for, l.wanted, l.taken_at,
        coalesce((
          SELECT jsonb_agg(jsonb_build_object(
            'member', h.member, 'host', h.host, 'port', h.port, 'volume', v.volume, 'seeded', v.seeded,
            'registeredAt', v.registered_at, 'inSync', v.in_sync, 'lagChanges', v.lag_changes,
            'lagSeconds', v.lag_seconds, 'lastCompare', v.last_compare, 'divergent', v.divergent,
            'facts', v.facts, 'reportedAt', v.reported_at) ORDER BY h.member)
          FROM posthorn.shard_members h JOIN posthorn.member_states v USING (shard, member) WHERE h.shard = s.name
        ), '[]') AS members
      FROM posthorn.shards s JOIN posthorn.leases l ON l.shard = s.name
      LEFT JOIN (SELECT shard, count(*) AS mailboxes FROM posthorn.mailboxes GROUP BY shard) n ON n.shard = s.name
      ORDER BY s.name`);
    return rows.map(shardState);
  });
}

function shardState(row: ShardRecord): ShardState {
  const date = (text: string | null) => (text === null ? null : new Date(text));
  return {
    ...{ name: row.name, replicas: row.replicas, durability: row.durability, withoutReplica: row.without_replica },
    mailboxes: Number(row.mailboxes),
    ...{ primary: row.holder === null ? null : row.primary_member, reservedFor: row.reserved_for, wanted: row.wanted },
    ...{ holder: row.holder, epoch: Number(row.epoch), renewals: Number(row.renewals), takenAt: row.taken_at },
    members: row.members.map((member) => ({
      ...member,
      registeredAt: date(member.registeredAt),
      reportedAt: date(member.reportedAt),
      lastCompare: date(member.lastCompare),
    })),
  };
}

/** See `Directory.wantPrimary`. */
export async function wantPrimary(database: Database, shard: string, member: number | null): Promise<Written<boolean>> {
  return database.write(`ask shard ${shard} to hand over to member ${member ?? '(none)'}`, async (client) => {
    await client.query(NO_IDLING);
    const { rows } = await client.query<{ wanted: boolean }>('SELECT posthorn.want_primary($1, $2) AS wanted', [
      shard,
      member,
    ]);
    return rows[0]?.wanted === true;
  });
}

/** See `Directory.acceptVolume`. */
export async function acceptVolume(
  database: Database,
  { shard, member, volume }: { shard: string; member: number; volume: string },
): Promise<Written<boolean>> {
  return database.write(`accept volume ${volume} of shard ${shard}, member ${member}`, async (client) => {
    await client.query(NO_IDLING);
    const { rows } = await client.query<{ accepted: boolean }>(
      'SELECT posthorn.accept_volume($1, $2, $3) AS accepted',
      [shard, member, volume],
    );
    return rows[0]?.accepted === true;
  });
}

import { type Database, names } from './connection.js';
import type { MoveRefusal, MoveRequest, MoveState, Written } from './rows.js';

/** See `Directory.startMoves`. */
export async function startMoves(
  database: Database,
  requests: readonly MoveRequest[],
): Promise<Written<{ uuid: string; refused: MoveRefusal | null }[]>> {
  return database.write(`start ${requests.length} moves`, async (client) => {
    const { rows } = await client.query<{ uuid: string; refused: MoveRefusal | null }>(
      `SELECT r.uuid, posthorn.start_move(r.uuid, r."toShard", r."objectUid") AS refused
       FROM jsonb_to_recordset($1) AS r (uuid uuid, "toShard" text, "objectUid" text) ORDER BY r.uuid`,
      [JSON.stringify(requests)],
    );
    return rows;
  });
}

/** See `Directory.cancelMoves`. */
export async function cancelMoves(
  database: Database,
  moves: readonly { uuid: string; why: string }[],
): Promise<Written<string[]>> {
  return database.write(`cancel ${moves.length} moves`, (client) =>
    names(
      client,
      `SELECT r.uuid::text AS name FROM jsonb_to_recordset($1) AS r (uuid uuid, why text)
       WHERE posthorn.cancel_move(r.uuid, r.why)`,
      [JSON.stringify(moves)],
    ),
  );
}

/** See `Directory.forgetMoves`. */
export async function forgetMoves(database: Database, uuids: readonly string[]): Promise<Written<string[]>> {
  return database.write(`forget ${uuids.length} moves`, (client) =>
    names(
      client,
      `DELETE FROM posthorn.moves v WHERE v.mailbox = ANY ($1::uuid[]) AND v.phase IN ('done', 'failed')
       RETURNING v.mailbox::text AS name`,
      [uuids],
    ),
  );
}

/** See `Directory.listMoves`. */
export async function listMoves(database: Database, objectUids?: readonly string[]): Promise<MoveState[]> {
  return database.transaction('list the moves', async (client) => {
    const { rows } = await client.query<MoveState>(
      `SELECT v.mailbox AS uuid, a.address, v.from_shard AS "fromShard", v.to_shard AS "toShard",
         v.object_uid AS "objectUid", v.phase, v.report, v.started_at AS "startedAt", v.phase_at AS "phaseAt",
         v.switched_at AS "switchedAt"
       FROM posthorn.moves v LEFT JOIN posthorn.addresses a ON a.mailbox = v.mailbox AND a.kind = 'mailbox'
       WHERE $1::text[] IS NULL OR v.object_uid = ANY ($1) ORDER BY v.started_at, v.mailbox`,
      [objectUids ?? null],
    );
    return rows;
  });
}

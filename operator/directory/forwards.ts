import { addressConflict, type ConflictRecord, projectApart } from './batch.js';
import { type Database, names } from './connection.js';
import { forwardHash, listInPages } from './inventory.js';

import type { CourierTarget, ForwardInventory, ForwardOutcome, ForwardRow, RequireRow, Written } from './rows.js';

/** See `Directory.projectForwards`; what it does is in migrations/0011_forward_projection.sql. */
export async function projectForwards(
  database: Database,
  batch: readonly ForwardRow[],
): Promise<Written<ForwardOutcome[]>> {
  return projectApart(batch, {
    project: (rows) => projectBatch(database, rows),
    refuse: ({ object }, message) => ({
      uid: object.uid,
      result: 'refused',
      reason: 'Invalid',
      message,
      conflicts: [],
    }),
  });
}

interface OutcomeRecord {
  readonly ord: number;
  readonly result: ForwardOutcome['result'];
  readonly reason: 'AddressConflict' | 'UnknownDomain' | null;
  readonly conflict: ConflictRecord | null;
}

function projectBatch(database: Database, batch: readonly ForwardRow[]): Promise<Written<ForwardOutcome[]>> {
  return database.write(`project ${batch.length} forwards`, async (client) => {
    const { rows } = await client.query<OutcomeRecord>('SELECT * FROM posthorn.project_forwards($1)', [
      JSON.stringify(batch.map(forwardRecord)),
    ]);
    const outcomes = new Map(rows.map((row) => [row.ord, row]));
    return batch.map(({ object }, ord) => outcome(object.uid, outcomes.get(ord)));
  });
}

function forwardRecord(row: ForwardRow, ord: number): Record<string, unknown> {
  return {
    ord,
    uid: row.object.uid,
    address: row.address,
    targets: row.to,
    couriers: row.couriers,
    keep_copy: row.keepCopy,
    send_as: row.sendAs,
    require: row.require ?? undefined,
    object_namespace: row.object.namespace,
    object_name: row.object.name,
    claimed_at: row.createdAt,
  };
}

function outcome(uid: string, record: OutcomeRecord | undefined): ForwardOutcome {
  if (record === undefined) {
    throw new Error(`the directory gave no outcome for forward ${uid}`);
  }
  return {
    uid,
    result: record.result,
    reason: record.reason ?? undefined,
    conflicts: record.conflict === null ? [] : [addressConflict(record.conflict)],
  };
}

/** See `Directory.tombstoneForwards`. */
export async function tombstoneForwards(
  database: Database,
  gone: readonly { uid: string }[],
): Promise<Written<string[]>> {
  return database.write(`delete ${gone.length} forwards`, (client) =>
    names(client, 'SELECT posthorn.remove_forwards($1) AS name', [gone.map(({ uid }) => uid)]),
  );
}

interface InventoryRecord {
  readonly key: string;
  readonly object_namespace: string;
  readonly object_name: string;
  /** The one it has; null when an elder object has taken it. */
  readonly address: string | null;
  readonly targets: string[];
  readonly couriers: CourierTarget[];
  readonly keep_copy: string | null;
  readonly send_as: string | null;
  readonly require: RequireRow | null;
}

const PAGE = `
  SELECT f.uid AS key, f.object_namespace, f.object_name, a.address, f.targets, f.couriers, f.keep_copy, f.send_as,
         f.require
  FROM posthorn.forwards f LEFT JOIN posthorn.addresses a ON a.forward = f.uid
  WHERE $1::text IS NULL OR f.uid > $1
  ORDER BY f.uid LIMIT $2`;

/** See `Directory.listForwards`. */
export function listForwards(database: Database, pageSize?: number): AsyncGenerator<ForwardInventory[]> {
  return listInPages(database, { doing: 'list forwards', page: PAGE, map: inventory }, pageSize);
}

function inventory(record: InventoryRecord): ForwardInventory {
  const object = { uid: record.key, namespace: record.object_namespace, name: record.object_name };
  const forward = {
    address: record.address ?? '',
    to: record.targets,
    couriers: record.couriers,
    keepCopy: record.keep_copy,
    sendAs: record.send_as,
    require: record.require,
  };
  return { object, contentHash: forwardHash({ ...forward, object }), forward };
}

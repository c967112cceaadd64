import { DirectoryRejected } from './errors.js';
import { laterLsn } from './replication.js';
import type { AddressConflict, Written } from './rows.js';

const MAX_BATCH = 5_000;

/** SQLSTATE classes for values that a type or a constraint doesn't take, and for rows that repeat a key. */
const BAD_DATA = /^(21|22|23)/;

/** How a batch is written, and what is said of a row that the database doesn't take. */
export interface Projection<Row, Outcome> {
  project(rows: readonly Row[]): Promise<Written<Outcome[]>>;
  refuse(row: Row, message: string): Outcome;
}

/**
 * Write a batch in one transaction. One bad row must not keep the others out: it is found by halving.
 * @throws RangeError above 5000 rows
 */
export async function projectApart<Row, Outcome>(
  batch: readonly Row[],
  projection: Projection<Row, Outcome>,
): Promise<Written<Outcome[]>> {
  if (batch.length > MAX_BATCH) {
    throw new RangeError(`${batch.length} rows at once, at most ${MAX_BATCH} are possible`);
  }
  try {
    return await projection.project(batch);
  } catch (error) {
    if (!(error instanceof DirectoryRejected && BAD_DATA.test(error.code))) throw error;
    return projectHalves(batch, projection, error);
  }
}

async function projectHalves<Row, Outcome>(
  batch: readonly Row[],
  projection: Projection<Row, Outcome>,
  error: DirectoryRejected,
): Promise<Written<Outcome[]>> {
  const [only] = batch;
  if (only !== undefined && batch.length === 1) {
    return { value: [projection.refuse(only, error.message)], lsn: '0/0' };
  }
  const half = Math.ceil(batch.length / 2);
  const first = await projectApart(batch.slice(0, half), projection);
  const second = await projectApart(batch.slice(half), projection);
  return { value: [...first.value, ...second.value], lsn: laterLsn(first.lsn, second.lsn) };
}

/** A conflict as the database's functions tell it. */
export interface ConflictRecord {
  readonly address: string;
  readonly kind: AddressConflict['kind'] | null;
  readonly owner: AddressConflict['owner'] | null;
}

export function addressConflict({ address, kind, owner }: ConflictRecord): AddressConflict {
  return { address, kind: kind ?? undefined, owner: owner ?? undefined };
}

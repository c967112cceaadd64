import pg from 'pg';
import { directoryError } from './errors.js';
import type { Written } from './rows.js';

/** How the operator reaches the directory's leader. */
export interface DirectoryConnection {
  /** The leader Service, `SYSTEM-postgres.NS.svc.CLUSTER_DOMAIN`. */
  readonly host: string;
  /** The pooler's port, 6432. */
  readonly port: number;
  /** Default `posthorn`. */
  readonly database?: string;
  /** Default `posthorn`, the owner. */
  readonly user?: string;
  /** For `database.external` only: the built-in database takes the client certificate. */
  readonly password?: string;
  /** PEM texts. Without it the connection is in the clear (tests only). */
  readonly tls?: { readonly ca: string; readonly cert?: string; readonly key?: string };
  /** Most connections at a time. Default 4. */
  readonly connections?: number;
  /** Time for one transaction, ms. Default 15000. */
  readonly timeoutMs?: number;
}

/** Runs transactions on the directory. */
export interface Database {
  /**
   * Run `work` in one transaction. Every failure is a DirectoryUnavailable or a DirectoryRejected that begins
   * with `doing`; the connection it happened on is not used again.
   */
  transaction<T>(doing: string, work: (client: pg.ClientBase) => Promise<T>): Promise<T>;
  /** The same, with a position in the write-ahead log that is not before the commit. */
  write<T>(doing: string, work: (client: pg.ClientBase) => Promise<T>): Promise<Written<T>>;
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 3_000;

/** Open a pool. No connection is made before the first transaction. */
export function openDatabase(connection: DirectoryConnection): Database {
  const timeoutMs = connection.timeoutMs ?? 15_000;
  const pool = new pg.Pool({
    host: connection.host,
    port: connection.port,
    database: connection.database ?? 'posthorn',
    user: connection.user ?? 'posthorn',
    ...(connection.password === undefined ? {} : { password: connection.password }),
    ...(connection.tls === undefined ? {} : { ssl: { ...connection.tls, host: connection.host } }),
    max: connection.connections ?? 4,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: timeoutMs + 2_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    allowExitOnIdle: true,
    application_name: 'posthorn-operator',
  });
  // An idle connection that breaks is dropped by the pool; without a listener it would end the process.
  pool.on('error', ignore);
  return {
    transaction: async (doing, work) => (await transaction(pool, timeoutMs, doing, 'COMMIT', work)).value,
    write: async (doing, work) => {
      const { value, end } = await transaction(pool, timeoutMs, doing, COMMIT_WITH_LSN, work);
      return { value, lsn: lsnOf(end) };
    },
    close: async () => {
      if (!pool.ending) await pool.end();
    },
  };
}

/** One round trip: a pooler keeps the server for the whole of a query string. */
const COMMIT_WITH_LSN = 'COMMIT; SELECT pg_current_wal_lsn()::text AS lsn';

/** node-postgres gives one result per statement of a query string. */
function lsnOf(end: unknown): string {
  const results = end as pg.QueryResult<{ lsn?: string }>[];
  return results.at(-1)?.rows[0]?.lsn ?? '0/0';
}

async function transaction<T>(
  pool: pg.Pool,
  timeoutMs: number,
  doing: string,
  commit: string,
  work: (client: pg.ClientBase) => Promise<T>,
): Promise<{ value: T; end: unknown }> {
  let client: pg.PoolClient | undefined;
  try {
    client = await pool.connect();
    // A connection that breaks tells the query and raises an event too, which would end the process if nobody listened.
    client.on('error', ignore);
    // Not as connection parameters: a pooler refuses those, and in transaction mode sessions are shared.
    await client.query(`BEGIN; SET LOCAL statement_timeout = ${timeoutMs}; SET LOCAL lock_timeout = ${timeoutMs}`);
    const value = await work(client);
    const end: unknown = await client.query(commit);
    client.release();
    return { value, end };
  } catch (cause) {
    const error = directoryError(doing, cause);
    client?.release(error);
    throw error;
  } finally {
    client?.off('error', ignore);
  }
}

const ignore = (): void => undefined;

/** The column `name` of what a statement gives. */
export async function names(client: pg.ClientBase, sql: string, values: unknown[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(sql, values);
  return rows.map((row) => row.name);
}

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import type { Database } from './connection.js';
import { DirectoryRejected } from './errors.js';

/** One file of `migrations/`. */
export interface Migration {
  readonly version: number;
  /** File name, `NNNN_name.sql`. */
  readonly name: string;
  readonly sql: string;
  /** SHA-256 of the file, hex. */
  readonly checksum: string;
}

const FOLDER = fileURLToPath(new URL('./migrations/', import.meta.url));
const NAME = /^(\d{4})_[a-z0-9_]+\.sql$/;

/** The advisory lock that makes migrators take turns: any number, but always this one. */
const LOCK = 7_205_151_001;

/** The migrations of this build, in order. Fails on a gap, a duplicate or a stray file. */
export async function readMigrations(folder: string = FOLDER): Promise<Migration[]> {
  const names = (await readdir(folder)).sort();
  return Promise.all(
    names.map(async (name, index) => {
      const version = Number(NAME.exec(name)?.[1]);
      if (version !== index + 1) {
        throw new Error(`${folder}/${name}: expected the name ${String(index + 1).padStart(4, '0')}_name.sql`);
      }
      const sql = await readFile(`${folder}/${name}`, 'utf8');
      return { version, name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

/**
 * Bring the schema up to date: every missing migration in one transaction, so that a failure leaves nothing
 * behind. Migrators that run at the same time take turns. A database that is ahead (a newer operator has been
 * here) is left alone: newer schemas serve the views that this build reads.
 *
 * @returns the names of the migrations that were applied now.
 * @throws DirectoryRejected if an applied migration's file has changed, or SQL is refused; DirectoryUnavailable.
 */
export async function migrate(database: Database, migrations?: readonly Migration[]): Promise<string[]> {
  const wanted = migrations ?? (await readMigrations());
  return database.transaction('migrate the schema', async (client) => {
    const missing = missingMigrations(wanted, await prepare(client));
    for (const migration of missing) {
      await client.query(migration.sql);
      await client.query('INSERT INTO posthorn.schema_version (version, name, checksum) VALUES ($1, $2, $3)', [
        migration.version,
        migration.name,
        migration.checksum,
      ]);
    }
    return missing.map((migration) => migration.name);
  });
}

interface Applied {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
}

async function prepare(client: pg.ClientBase): Promise<Applied[]> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
  const { rows } = await client.query<{ present: boolean }>(
    "SELECT to_regclass('posthorn.schema_version') IS NOT NULL AS present",
  );
  if (rows[0]?.present !== true) {
    await client.query(`
      CREATE SCHEMA IF NOT EXISTS posthorn;
      CREATE TABLE posthorn.schema_version (
        version    integer PRIMARY KEY,
        name       text NOT NULL,
        checksum   text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
      )`);
    return [];
  }
  const applied = await client.query<Applied>('SELECT version, name, checksum FROM posthorn.schema_version');
  return applied.rows;
}

function missingMigrations(wanted: readonly Migration[], applied: readonly Applied[]): Migration[] {
  const done = new Map(applied.map((row) => [row.version, row]));
  return wanted.filter((migration) => {
    const before = done.get(migration.version);
    if (before !== undefined && before.checksum !== migration.checksum) {
      const what = before.name === migration.name ? migration.name : `${before.name}, now ${migration.name},`;
      throw new DirectoryRejected(`directory: migration ${what} has changed since it was applied`, 'PH001');
    }
    return before === undefined;
  });
}

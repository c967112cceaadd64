import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from './connection.js';
import { migrate, readMigrations } from './migrate.js';
import { startPostgres, type TestPostgres } from './testing/postgres.js';

let server: TestPostgres;
const open: Database[] = [];

function connect(): Database {
  const database = openDatabase({ host: '127.0.0.1', port: server.port });
  open.push(database);
  return database;
}

beforeAll(async () => {
  server = await startPostgres();
});

afterAll(async () => {
  await Promise.all(open.map((database) => database.close()));
  await server?.stop();
});

describe('migrate', () => {
  it('takes turns with other migrators, from an empty database, and applies each migration once', async () => {
    const names = (await readMigrations()).map((migration) => migration.name);
    const results = await Promise.all([connect(), connect(), connect()].map((database) => migrate(database)));
    expect(results.map((applied) => applied.length).sort()).toEqual([0, 0, names.length]);
    expect(results.flat()).toEqual(names);
  });

  it('applies nothing the second time', async () => {
    expect(await migrate(connect())).toEqual([]);
  });

  it('refuses an applied migration that has changed', async () => {
    const [first, ...rest] = await readMigrations();
    const changed = { ...first, checksum: 'other' } as NonNullable<typeof first>;
    await expect(migrate(connect(), [changed, ...rest])).rejects.toThrow(/0001_tables.sql has changed/);
  });

  it('leaves nothing behind when one fails', async () => {
    const known = await readMigrations();
    const version = known.length + 1;
    const good = { version, name: 'good.sql', sql: 'CREATE TABLE posthorn.half (a int)', checksum: 'a' };
    const bad = { version: version + 1, name: 'bad.sql', sql: 'SELECT nonsense', checksum: 'b' };
    await expect(migrate(connect(), [...known, good, bad])).rejects.toMatchObject({ name: 'DirectoryRejected' });
    expect(await server.query('posthorn', "SELECT to_regclass('posthorn.half') AS half")).toEqual([{ half: null }]);
    expect(await migrate(connect())).toEqual([]);
  });

  it('leaves a database alone that a newer build has migrated', async () => {
    const known = await readMigrations();
    const newer = { version: known.length + 1, name: 'newer.sql', sql: 'SELECT 1', checksum: 'n' };
    expect(await migrate(connect(), [...known, newer])).toEqual(['newer.sql']);
    expect(await migrate(connect())).toEqual([]);
  });
});

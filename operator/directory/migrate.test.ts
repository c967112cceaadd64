import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from './connection.js';
import { openDirectory } from './directory.js';
import { contentHash } from './inventory.js';
import { migrate, readMigrations } from './migrate.js';
import { mailbox } from './testing/directory.js';
import { startPostgres, type TestPostgres } from './testing/postgres.js';

const UUID = '11111111-1111-4111-8111-111111111111';

const BEFORE_0006 = `
  INSERT INTO posthorn.shards (name, host) VALUES ('a', 'store');
  INSERT INTO posthorn.domains (domain, object_uid, object_namespace, object_name) VALUES ('example.org', 'd', 'mail', 'd');
  INSERT INTO posthorn.mailboxes (uuid, address, shard, password, object_uid, object_namespace, object_name)
    VALUES ('${UUID}', 'a@example.org', 'a', '{X}h', 'u', 'mail', 'a');
  INSERT INTO posthorn.addresses (address, domain, kind, mailbox, claimed_at, claimant) VALUES
    ('a@example.org', 'example.org', 'mailbox', '${UUID}', '2026-01-01', 'u'),
    ('x@example.org', 'example.org', 'alias', '${UUID}', '2026-01-01', 'u')`;

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

  it('takes a directory of the release before along', async () => {
    const other = await startPostgres();
    try {
      const directory = openDirectory({ host: '127.0.0.1', port: other.port });
      const database = openDatabase({ host: '127.0.0.1', port: other.port });
      await migrate(
        database,
        (await readMigrations()).filter(({ version }) => version <= 5),
      );
      await other.query('posthorn', BEFORE_0006);
      await directory.migrate();
      const [first, second] = await Promise.all([
        other.query('posthorn_mx', "SELECT directory_v1.rcpt_verdict('x+y@example.org') AS answer"),
        other.query(
          'posthorn_proxy',
          "SELECT state, may_send, credentials FROM directory_v1.credentials('a@example.org')",
        ),
      ]);
      expect(first).toEqual([{ answer: 'DUNNO' }]);
      const credentials = [{ id: 'password', hash: '{X}h', protocols: null }];
      expect(second).toEqual([{ state: 'Active', may_send: true, credentials }]);
      // What is declared as before is written at most once more, for the age that 0006 has added.
      const row = mailbox('a', {
        uuid: UUID,
        object: { uid: 'u', namespace: 'mail', name: 'a' },
        aliases: ['x@example.org'],
      });
      for await (const [there] of directory.listMailboxes()) expect(there?.contentHash).toBe(contentHash(row));
      for (const result of ['written', 'unchanged']) {
        expect((await directory.projectMailboxes([row])).value).toMatchObject([{ result, conflicts: [] }]);
      }
      await Promise.all([directory.close(), database.close()]);
    } finally {
      await other.stop();
    }
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

import pg from 'pg';
import { readMigrations } from '../../../operator/directory/migrate.js';
import type { TestPostgres } from '../../../operator/directory/testing/postgres.js';

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** Who lives in the directory: shard a, but for `away`. */
export const MAILBOXES = {
  alice: uuid(1),
  bob: uuid(2),
  carol: uuid(3),
  small: uuid(4),
  info: uuid(5),
  sales: uuid(6),
  away: uuid(7),
} as const;
export type Name = keyof typeof MAILBOXES;

/** The directory's migrations, two shards and a few mailboxes, and a heartbeat. */
export async function fillDirectory(postgres: TestPostgres, storeHost: string): Promise<void> {
  const owner = new pg.Client(postgres.as('posthorn'));
  await owner.connect();
  await owner.query('CREATE SCHEMA posthorn');
  for (const { sql } of await readMigrations()) await owner.query(sql);
  await owner.query(`
    INSERT INTO posthorn.shards (name, host) VALUES ('a', '${storeHost}'), ('b', 'elsewhere');
    INSERT INTO posthorn.shard_members (shard, member, host) VALUES ('a', 0, '${storeHost}');
    INSERT INTO posthorn.domains (domain, object_uid, object_namespace, object_name)
      VALUES ('example.org', 'd1', 'mail', 'example')`);
  for (const [who, id] of Object.entries(MAILBOXES)) {
    await owner.query(
      `WITH m AS (INSERT INTO posthorn.mailboxes (uuid, address, shard, quota_bytes, object_uid, object_namespace, object_name)
         VALUES ($1::uuid, $2, $4, $5, $3, 'mail', $3) RETURNING uuid)
       INSERT INTO posthorn.addresses (address, domain, kind, mailbox, claimed_at, claimant)
         SELECT $2, 'example.org', 'mailbox', uuid, now(), $3 FROM m`,
      [id, `${who}@example.org`, who, who === 'away' ? 'b' : 'a', who === 'small' ? 200_000 : null],
    );
  }
  await owner.query('SELECT directory_v1.heartbeat()');
  await owner.end();
}

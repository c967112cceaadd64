import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Directory, openDirectory } from './directory.js';
import { forward, mailbox, setHeartbeatAge, startDirectory, type TestDirectory } from './testing/directory.js';

const BATCH = 500;

let test: TestDirectory;

beforeAll(async () => {
  test = await startDirectory();
});

afterAll(async () => {
  await test?.stop();
});

it('projects 10,000 mailboxes in batches, and lists them', async () => {
  const rows = Array.from({ length: 10_000 }, (_, i) => mailbox(`p${i}`, { aliases: [`alias${i}@example.org`] }));
  const start = performance.now();
  for (let i = 0; i < rows.length; i += BATCH) {
    const { value } = await test.directory.projectMailboxes(rows.slice(i, i + BATCH));
    expect(value.every((row) => row.result === 'written')).toBe(true);
  }
  // 1.5 s on two idle cores, twenty times that on very busy ones.
  expect(performance.now() - start).toBeLessThan(45_000);
  let listed = 0;
  for await (const page of test.directory.listMailboxes()) listed += page.length;
  expect(listed).toBe(10_000);
}, 60_000);

it('projects 2,000 forwards', async () => {
  const rows = Array.from({ length: 2_000 }, (_, i) => forward(`forward${i}`, { keepCopy: `p${i}` }));
  const start = performance.now();
  for (let i = 0; i < rows.length; i += BATCH) {
    const { value } = await test.directory.projectForwards(rows.slice(i, i + BATCH));
    expect(value.every((row) => row.result === 'written')).toBe(true);
  }
  expect(performance.now() - start).toBeLessThan(15_000);
});

describe('with 100,000 addresses', () => {
  beforeAll(async () => {
    await test.server.query(
      'posthorn',
      `WITH made AS (
         INSERT INTO posthorn.mailboxes (uuid, address, shard, password, object_uid, object_namespace, object_name)
         SELECT gen_random_uuid(), 'm' || i || '@example.org', 'a', '{X}h', 'u' || i, 'mail', 'm' || i
         FROM generate_series(1, 80000) i RETURNING uuid, address, object_uid
       ), forwarded AS (
         INSERT INTO posthorn.forwards (uid, address, targets, couriers, keep_copy, object_namespace, object_name, claimed_at)
         SELECT 'f' || i, 'f' || i || '@example.org', ARRAY['m1@example.org', 'x@outside.test'], '[]', 'm1', 'mail', 'f' || i,
                now()
         FROM generate_series(1, 2000) i RETURNING uid, address
       ), reached AS (
         INSERT INTO posthorn.addresses (address, domain, kind, forward, claimed_at, claimant)
         SELECT address, 'example.org', 'forward', uid, now(), uid FROM forwarded
       )
       INSERT INTO posthorn.addresses SELECT address, 'example.org', 'mailbox', uuid, now(), object_uid FROM made`,
    );
    await test.server.query('posthorn', 'ANALYZE posthorn.addresses, posthorn.mailboxes, posthorn.forwards');
  });

  /** How often the large tables were read from end to end. */
  async function scans(): Promise<number> {
    const [row] = await test.server.query<{ scans: number }>(
      'posthorn',
      `SELECT sum(seq_scan)::int AS scans FROM pg_stat_user_tables
       WHERE schemaname = 'posthorn' AND relname IN ('addresses', 'mailboxes', 'forwards')`,
    );
    return row?.scans ?? Number.NaN;
  }

  const LOOKUPS = `
    SELECT directory_v1.rcpt_verdict(a), directory_v1.route(a), directory_v1.sender_logins(a), directory_v1.alias(a),
           directory_v1.submission_rcpt_verdict(a), (SELECT username FROM directory_v1.login(a)), u.home,
           (SELECT canonical FROM directory_v1.recipient(a)), directory_v1.forward_targets(a), u.shared, u.addresses,
           (SELECT mailbox FROM directory_v1.credentials(a)), (SELECT domain FROM directory_v1.sending(a)),
           (SELECT home FROM directory_v1.store_user(a, 'a', 'lmtp')) AS stored, directory_v1.mailbox_of(a),
           directory_v1.address_of(u.uuid), directory_v1.move_target(a, 'a'),
           (SELECT home FROM directory_v1.store_user(u.uuid::text, 'a', 'doveadm')) AS named, directory_v1.lives_here(u.uuid, 'a')
    FROM (SELECT CASE WHEN i % 3 = 0 THEN 'nobody+' WHEN i < 50 THEN 'f' ELSE 'm' END || i * 37 || '@example.org' AS a
          FROM generate_series(1, 500) i) asked
    LEFT JOIN LATERAL (SELECT uuid, home, shared, addresses FROM directory_v1.userdb WHERE username = a OFFSET 0) u ON true`;

  /** The sessions of a pool report their statistics when they end. */
  async function scansBy(work: (directory: Directory) => Promise<void>): Promise<number> {
    await test.directory.close();
    const before = await scans();
    const directory = openDirectory({ host: '127.0.0.1', port: test.server.port });
    await work(directory).finally(directory.close);
    await sleep(200);
    return (await scans()) - before;
  }

  it('no lookup, write or deletion of one mailbox scans a table', async () => {
    const one = mailbox('one', {
      aliases: ['uno@example.org'],
      sieve: 'keep;',
      members: [{ mailbox: 'm1', rights: 'ReadOnly', sendAs: true }],
      appPasswords: [{ name: 'p', source: 's', hash: '{X}h', protocols: null }],
    });
    const rule = forward('rule', { keepCopy: 'm1' });
    const answers: Record<string, unknown>[] = [];
    const count = await scansBy(async (directory) => {
      await setHeartbeatAge(test.server, 0);
      answers.push(...(await test.server.query('posthorn', LOOKUPS)));
      await directory.projectMailboxes([one]);
      await directory.setPasswords([{ uuid: one.uuid, password: { hash: '{X}h', source: 's' } }]);
      await directory.adoptable('one@example.org', 'mail');
      await directory.tombstoneMailboxes([{ uuid: one.uuid, objectUid: one.object.uid }]);
      await directory.projectForwards([rule]);
      await directory.tombstoneForwards([{ uid: rule.object.uid }]);
      await test.server.query('posthorn_store', "SELECT * FROM directory_v1.purgeable('a')");
      await test.server.query('posthorn_store', "SELECT * FROM directory_v1.declared_sieve('a', now())");
    });
    expect(answers.filter((row) => row.home !== null)).toHaveLength(301);
    expect(answers.filter((row) => row.stored !== null)).toHaveLength(301);
    expect(answers.filter((row) => row.named !== null && row.lives_here)).toHaveLength(301);
    expect(answers.filter((row) => row.forward_targets === 'x@outside.test')).toHaveLength(33);
    expect(count).toBe(0);
  });

  it('would notice a scan', async () => {
    const count = await scansBy(async (directory) => {
      await directory.adoptable('one@example.org', 'mail');
      await test.server.query('posthorn', "SELECT FROM posthorn.mailboxes WHERE object_name = 'm1'");
    });
    expect(count).toBe(1);
  });
});

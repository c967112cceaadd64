import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { mailbox, setHeartbeatAge, startDirectory, type TestDirectory } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';

const STALE = '450 4.3.0 directory is catching up, try again';
const alice = mailbox('alice', {
  aliases: ['sales@example.org', 'tagged+exact@example.org'],
  quotaBytes: 1000,
  password: { hash: '{ARGON2ID}$argon2id$x', source: 's' },
});
const root = mailbox('root');

let test: TestDirectory;
let replica: TestPostgres;

beforeAll(async () => {
  test = await startDirectory();
  replica = await test.server.addReplica('replica_1');
  await test.directory.projectMailboxes([alice, root]);
  await test.server.query('posthorn_heartbeat', 'SELECT directory_v1.heartbeat()');
  await caughtUp();
});

afterAll(async () => {
  await test?.stop();
});

async function caughtUp(): Promise<void> {
  const lsn = await test.directory.currentLsn();
  const check = async () => expect(await test.directory.replayedEverywhere(lsn)).toEqual({ ok: true, lagging: [] });
  await vi.waitFor(check, { timeout: 10_000 });
}

async function ask(
  name: string,
  argument: string | null,
  role = 'posthorn_mx',
  server = test.server,
): Promise<string | null> {
  const rows = await server.query<{ answer: string | null }>(role, `SELECT directory_v1.${name}($1) AS answer`, [
    argument,
  ]);
  return rows[0]?.answer ?? null;
}

async function heartbeatAge(seconds: number): Promise<void> {
  await setHeartbeatAge(test.server, seconds);
  await caughtUp();
}

describe('on the leader', () => {
  it.each([
    ['alice@example.org', 'DUNNO'],
    [' Alice@EXAMPLE.org.', 'DUNNO'],
    ['alice+any+thing@example.org', 'DUNNO'],
    ['sales@example.org', 'DUNNO'],
    ['tagged+exact@example.org', 'DUNNO'],
    ['tagged@example.org', '550 5.1.1 <tagged@example.org>: no such address here'],
    ['+alice@example.org', '550 5.1.1 <+alice@example.org>: no such address here'],
    ['a@b@example.org', '550 5.1.1 <a@b@example.org>: no such address here'],
    ['Nobody@Example.org', '550 5.1.1 <Nobody@Example.org>: no such address here'],
    ['postmaster@example.org', '550 5.1.1 <postmaster@example.org>: no such address here'],
    ['bob@example.com', '554 5.7.1 <bob@example.com>: relay access denied'],
    ['alice@sub.example.org', '554 5.7.1 <alice@sub.example.org>: relay access denied'],
    [
      "x'; DROP TABLE posthorn.mailboxes--@example.com",
      "554 5.7.1 <x'; DROP TABLE posthorn.mailboxes--@example.com>: relay access denied",
    ],
    ['a\r\n250 ok@example.com', '554 5.7.1 <a??250 ok@example.com>: relay access denied'],
    ['alice', null],
    ['@example.org', null],
    ['alice@', null],
    ['alice@.', null],
    ['', null],
    [null, null],
  ])('rcpt_verdict(%j) is %j', async (address, verdict) => {
    expect(await ask('rcpt_verdict', address)).toBe(verdict);
  });

  it('submission lets people write to the outside', async () => {
    const verdict = (address: string) => ask('submission_rcpt_verdict', address, 'posthorn_submission');
    expect(await verdict('bob@example.com')).toBe('DUNNO');
    expect(await verdict('alice@example.org')).toBe('DUNNO');
    expect(await verdict('nobody@example.org')).toBe('550 5.1.1 <nobody@example.org>: no such address here');
    expect(await verdict('@example.org')).toBeNull();
  });

  it('routes, aliases, sender logins, hosted domains', async () => {
    expect(await ask('route', 'Alice+x@example.org')).toBe('lmtp:inet:mail-store-a.mail.svc.cluster.local:10024');
    expect(await ask('route', 'nobody@example.org')).toBe('error:5.1.1 no such mailbox');
    expect(await ask('route', 'bob@example.com')).toBeNull();
    expect(await ask('route', 'example.org')).toBeNull();
    expect(await ask('alias', 'Sales@example.org')).toBe('alice@example.org');
    expect(await ask('alias', 'sales+x@example.org')).toBe('alice@example.org');
    expect(await ask('alias', 'alice@example.org')).toBeNull();
    expect(await ask('alias', 'nobody@example.org')).toBeNull();
    expect(await ask('alias', 'bob@example.com')).toBeNull();
    expect(await ask('hosted_domain', 'Example.ORG')).toBe('example.org');
    expect(await ask('hosted_domain', 'example.com', 'posthorn_egress')).toBeNull();
    expect(await ask('hosted_domain', '@example.org')).toBeNull();
    const logins = (address: string) => ask('sender_logins', address, 'posthorn_submission');
    expect(await logins('alice@example.org')).toBe('alice@example.org');
    expect(await logins('alice+list@example.org')).toBe('alice@example.org');
    expect(await logins('sales@example.org')).toBe('alice@example.org');
    expect(await logins('nobody@example.org')).toBeNull();
    expect(await logins('@example.org')).toBeNull();
  });

  it('only the canonical address logs in, and only with a password', async () => {
    const login = (name: string) => test.server.query('posthorn_proxy', 'SELECT * FROM directory_v1.login($1)', [name]);
    expect(await login('ALICE@example.org')).toEqual([
      {
        username: 'alice@example.org',
        password: '{ARGON2ID}$argon2id$x',
        shard: 'a',
        host: 'mail-store-a.mail.svc.cluster.local',
        imap_port: 10143,
        sieve_port: 14190,
      },
    ]);
    for (const name of [
      'sales@example.org',
      'alice+x@example.org',
      'root@example.org',
      'nobody@example.org',
      'alice',
      '',
    ]) {
      expect(await login(name)).toEqual([]);
    }
  });

  it('the store finds homes by uuid', async () => {
    const rows = await test.server.query(
      'posthorn_store',
      "SELECT * FROM directory_v1.userdb WHERE username = 'alice@example.org'",
    );
    const home = `/srv/mail/mailboxes/${alice.uuid.slice(0, 2)}/${alice.uuid}`;
    expect(rows).toEqual([
      {
        username: 'alice@example.org',
        uuid: alice.uuid,
        home,
        shard: 'a',
        quota_bytes: '1000',
        addresses: 'alice@example.org,sales@example.org,tagged+exact@example.org',
        over: false,
        retention: null,
        shared: null,
        may_send: true,
      },
    ]);
  });

  it('postmaster and abuse of every hosted domain lead to the postmaster, unless somebody claims them', async () => {
    await test.directory.projectSettings({ postmaster: 'root@example.org' });
    expect(await ask('rcpt_verdict', 'Postmaster@example.net')).toBe('DUNNO');
    expect(await ask('alias', 'abuse@example.net')).toBe('root@example.org');
    expect(await ask('sender_logins', 'abuse@example.net', 'posthorn_submission')).toBe('root@example.org');
    expect(await ask('rcpt_verdict', 'postmaster@example.com')).toMatch(/^554/);
    expect(await ask('rcpt_verdict', 'hostmaster@example.net')).toMatch(/^550/);
    const claimed = mailbox('own', { aliases: ['abuse@example.net'] });
    await test.directory.projectMailboxes([claimed]);
    expect(await ask('alias', 'abuse@example.net')).toBe('own@example.org');
    await test.directory.tombstoneMailboxes([{ uuid: claimed.uuid, objectUid: claimed.object.uid }]);

    await test.directory.projectSettings({ postmaster: 'admin@example.com' });
    expect(await ask('alias', 'abuse@example.org')).toBeNull();
    expect(await ask('route', 'abuse@example.org')).toBe('retry:4.3.0 nothing here forwards mail');
    expect(await ask('forward_targets', 'abuse@example.org', 'posthorn_forward')).toBe('admin@example.com');
    expect(await ask('sender_logins', 'abuse@example.org', 'posthorn_submission')).toBeNull();
    for (const postmaster of ['gone@example.org', 'postmaster@example.org', null]) {
      await test.directory.projectSettings({ postmaster });
      expect(await ask('rcpt_verdict', 'postmaster@example.org')).toMatch(/^550/);
      expect(await ask('alias', 'postmaster@example.org')).toBeNull();
    }
  });

  it('defers for a minute after its heartbeat stopped, then it is the truth again', async () => {
    for (const [age, verdict] of [
      [0, /^550/],
      [4, /^550/],
      [6, /^450/],
      [55, /^450/],
      [65, /^550/],
    ] as const) {
      await setHeartbeatAge(test.server, age);
      expect(await ask('rcpt_verdict', 'nobody@example.org'), `age ${age}`).toMatch(verdict);
    }
    await test.server.query('posthorn', 'DELETE FROM posthorn.heartbeat');
    expect(await ask('rcpt_verdict', 'nobody@example.org')).toMatch(/^550/);
  });
});

describe('on a replica', () => {
  const onReplica = (name: string, argument: string, role?: string) => ask(name, argument, role, replica);

  it('that is fresh: answers like the leader', async () => {
    await heartbeatAge(0);
    expect(await onReplica('rcpt_verdict', 'alice@example.org')).toBe('DUNNO');
    expect(await onReplica('rcpt_verdict', 'nobody@example.org')).toMatch(/^550 5.1.1/);
    expect(await onReplica('rcpt_verdict', 'bob@example.com')).toMatch(/^554 5.7.1/);
    expect(await onReplica('route', 'nobody@example.org')).toBe('error:5.1.1 no such mailbox');
    expect(await onReplica('alias', 'nobody@example.org')).toBeNull();
    const rows = await replica.query('posthorn_proxy', "SELECT username FROM directory_v1.login('alice@example.org')");
    expect(rows).toEqual([{ username: 'alice@example.org' }]);
  });

  it.each([
    ['behind', 6],
    ['long behind', 100],
    ['ahead in time', -30],
  ])('that is %s: says yes, never no', async (_, age) => {
    await heartbeatAge(age);
    expect(await onReplica('rcpt_verdict', 'alice@example.org')).toBe('DUNNO');
    expect(await onReplica('rcpt_verdict', 'nobody@example.org')).toBe(STALE);
    expect(await onReplica('rcpt_verdict', 'bob@example.com')).toBe(STALE);
    expect(await onReplica('submission_rcpt_verdict', 'nobody@example.org', 'posthorn_submission')).toBe(STALE);
    expect(await onReplica('submission_rcpt_verdict', 'bob@example.com', 'posthorn_submission')).toBe('DUNNO');
    expect(await onReplica('route', 'alice@example.org')).toMatch(/^lmtp:/);
    expect(await onReplica('route', 'nobody@example.org')).toBe('retry:4.3.0 directory is catching up');
    expect(await onReplica('route', 'bob@example.com')).toBe('retry:4.3.0 directory is catching up');
    expect(await onReplica('alias', 'sales@example.org')).toBe('alice@example.org');
    expect(await onReplica('route', 'sales@example.org')).toBe('retry:4.3.0 directory is catching up');
    expect(await onReplica('alias', 'alice@example.org')).toBeNull();
    for (const address of ['nobody@example.org', 'bob@example.com']) {
      await expect(onReplica('alias', address)).rejects.toThrow(/directory is catching up/);
    }
  });

  it('whose heartbeat has never come defers', async () => {
    await test.server.query('posthorn', 'DELETE FROM posthorn.heartbeat');
    await caughtUp();
    expect(await onReplica('rcpt_verdict', 'nobody@example.org')).toBe(STALE);
  });

  it('whose replay is frozen: a mailbox made meanwhile is deferred there, and is not Ready', async () => {
    await heartbeatAge(0);
    await replica.query('postgres', 'SELECT pg_wal_replay_pause()');
    try {
      await expect
        .poll(() => replica.query('postgres', 'SELECT pg_get_wal_replay_pause_state() AS state'))
        .toEqual([{ state: 'paused' }]);
      const late = mailbox('late');
      const { lsn } = await test.directory.projectMailboxes([late]);
      expect(await test.directory.replayedEverywhere(lsn)).toEqual({ ok: false, lagging: ['replica_1'] });
      expect(await ask('rcpt_verdict', 'late@example.org')).toBe('DUNNO');
      // The real clock, not a faked row: the replica cannot see a newer heartbeat than the last one it replayed.
      const beat = setInterval(
        () => void test.server.query('posthorn_heartbeat', 'SELECT directory_v1.heartbeat()'),
        1000,
      );
      await expect
        .poll(() => onReplica('rcpt_verdict', 'late@example.org'), { timeout: 7000, interval: 250 })
        .toBe(STALE);
      clearInterval(beat);
      expect(await onReplica('rcpt_verdict', 'alice@example.org')).toBe('DUNNO');
      await replica.query('postgres', 'SELECT pg_wal_replay_resume()');
      await caughtUp();
      expect(await onReplica('rcpt_verdict', 'late@example.org')).toBe('DUNNO');
    } finally {
      await replica.query('postgres', 'SELECT pg_wal_replay_resume()');
    }
  });

  it('never purges, and takes a heartbeat call quietly', async () => {
    expect(await replica.query('posthorn_store', "SELECT * FROM directory_v1.purgeable('a')")).toEqual([]);
    await replica.query('posthorn_heartbeat', 'SELECT directory_v1.heartbeat()');
    await expect(replica.query('posthorn_store', 'SELECT directory_v1.purged($1)', [alice.uuid])).rejects.toThrow(
      /read-only/,
    );
  });
});

it('a leader whose replica is gone does not look fresh by its own heartbeat', async () => {
  // As when it was frozen and replaced: it waits for a synchronous replica that does not come.
  await test.server.query('posthorn', "UPDATE posthorn.heartbeat SET beat = clock_timestamp() - interval '4 s'");
  await test.server.query('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'gone'");
  await test.server.query('postgres', 'SELECT pg_reload_conf()');
  const client = new pg.Client({ ...test.server.as('posthorn_heartbeat'), options: '-c synchronous_commit=off' });
  await client.connect();
  const beat = client.query('SELECT directory_v1.heartbeat()');
  try {
    await expect.poll(() => ask('rcpt_verdict', 'nobody@example.org'), { timeout: 3000 }).toBe(STALE);
  } finally {
    await test.server.query('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
    await test.server.query('postgres', 'SELECT pg_reload_conf()');
  }
  await beat;
  await client.end();
  expect(await ask('rcpt_verdict', 'nobody@example.org')).toMatch(/^550/);
});

describe('when asking fails', () => {
  it('verdicts and routes defer, the others fail so that the caller asks elsewhere', async () => {
    await test.server.query('posthorn', 'ALTER TABLE posthorn.addresses RENAME TO hidden');
    try {
      expect(await ask('rcpt_verdict', 'alice@example.org')).toBe(STALE);
      expect(await ask('submission_rcpt_verdict', 'alice@example.org', 'posthorn_submission')).toBe(STALE);
      expect(await ask('route', 'alice@example.org')).toBe('retry:4.3.0 directory is catching up');
      await expect(ask('alias', 'sales@example.org')).rejects.toThrow();
      await expect(ask('sender_logins', 'alice@example.org', 'posthorn_submission')).rejects.toThrow();
    } finally {
      await test.server.query('posthorn', 'ALTER TABLE posthorn.hidden RENAME TO addresses');
    }
    expect(await ask('rcpt_verdict', 'alice@example.org')).toBe('DUNNO');
  });

  it('a time-out is a deferral too', async () => {
    const locker = new pg.Client(test.server.as('posthorn'));
    const asker = new pg.Client({ ...test.server.as('posthorn_mx'), statement_timeout: 200 });
    await Promise.all([locker.connect(), asker.connect()]);
    try {
      await locker.query('BEGIN; LOCK TABLE posthorn.addresses');
      const { rows } = await asker.query("SELECT directory_v1.rcpt_verdict('alice@example.org') AS answer");
      expect(rows).toEqual([{ answer: STALE }]);
    } finally {
      await Promise.all([locker.end(), asker.end()]);
    }
  });
});

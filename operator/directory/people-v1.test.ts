import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { contentHash, sieveHash } from './inventory.js';
import type { MailboxInventory, MailboxRow } from './rows.js';
import { mailbox, setHeartbeatAge, startDirectory, type TestDirectory } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';

let test: TestDirectory;
let replica: TestPostgres;

beforeAll(async () => {
  test = await startDirectory();
  replica = await test.server.addReplica('replica_1');
});

afterAll(async () => {
  await test?.stop();
});

beforeEach(async () => {
  await test.server.query('posthorn', 'DELETE FROM posthorn.mailboxes');
  await test.server.query('posthorn', 'DELETE FROM posthorn.revocations');
  await setHeartbeatAge(test.server, 0);
});

async function project(...rows: MailboxRow[]) {
  const { value } = await test.directory.projectMailboxes(rows);
  return value.map(({ result, message }) => message ?? result);
}

function call(role: string, name: string, values: unknown[], server = test.server) {
  const places = values.map((_, i) => `$${i + 1}`).join(', ');
  return server.query(`posthorn_${role}`, `SELECT * FROM directory_v1.${name}(${places})`, values);
}

async function answer(role: string, name: string, values: unknown[], server = test.server): Promise<unknown> {
  const [row] = await call(role, name, values, server);
  return Object.values(row ?? {})[0];
}

async function inventory(): Promise<MailboxInventory[]> {
  const all: MailboxInventory[] = [];
  for await (const page of test.directory.listMailboxes()) all.push(...page);
  return all;
}

async function caughtUp(): Promise<void> {
  const lsn = await test.directory.currentLsn();
  await vi.waitFor(async () => expect(await test.directory.replayedEverywhere(lsn)).toMatchObject({ ok: true }), {
    timeout: 10_000,
  });
}

const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();

const STATES = [
  // state, may log in, may send, others may send as it
  ['Active', true, true, true],
  ['ReceiveOnly', true, false, true],
  ['SendBlocked', true, false, true],
  ['LoginOff', false, false, true],
  ['Suspended', false, false, false],
] as const;

describe('states', () => {
  it.each(STATES)('%s', async (state, mayLogin, maySend, sendAs) => {
    const password = { hash: '{X}h', source: 's' };
    const others = { rights: 'ReadWrite', sendAs: true } as const;
    const a = mailbox('a', { state, password, members: [{ mailbox: 'b', ...others }] });
    await project(a, mailbox('b'));
    const expected = { state, may_login: mayLogin, may_send: maySend };
    expect(await call('proxy', 'credentials', ['A@example.org'])).toMatchObject([expected]);
    expect(await call('submission', 'sending', ['a@example.org'])).toMatchObject([{ state, may_send: maySend }]);
    expect(await call('proxy', 'login', ['a@example.org'])).toHaveLength(mayLogin ? 1 : 0);
    const logins = await answer('submission', 'sender_logins', ['a@example.org']);
    expect(logins).toBe(sendAs ? 'a@example.org,b@example.org' : null);
    expect(await answer('mx', 'rcpt_verdict', ['a@example.org'])).toBe('DUNNO');

    await project({ ...a, stateUntil: inSeconds(-1) });
    const active = { state: 'Active', may_login: true, may_send: true };
    expect(await call('proxy', 'credentials', ['a@example.org'])).toMatchObject([active]);
    await project({ ...a, stateUntil: inSeconds(60) });
    expect(await call('proxy', 'credentials', ['a@example.org'])).toMatchObject([expected]);
  });

  it('an unknown state is refused', async () => {
    const odd = mailbox('odd', { state: 'Asleep' as 'Active' });
    expect(await project(odd, mailbox('b'))).toEqual([expect.stringContaining('mailboxes_state_check'), 'written']);
  });

  it('Suspended refuses mail if it says so, for aliases too, and while it lasts', async () => {
    const a = mailbox('a', { aliases: ['x@example.org'], state: 'Suspended', suspendedMail: 'Refuse' });
    await project(a);
    for (const address of ['a@example.org', 'x+y@example.org']) {
      const verdict = `550 5.7.1 <${address}>: mailbox is not available`;
      expect(await answer('mx', 'rcpt_verdict', [address])).toBe(verdict);
      expect(await answer('mx', 'recipient', [address])).toBe(verdict);
      expect(await answer('submission', 'submission_rcpt_verdict', [address])).toBe(verdict);
    }
    await project({ ...a, stateUntil: inSeconds(-1) });
    expect(await answer('mx', 'rcpt_verdict', ['a@example.org'])).toBe('DUNNO');
    await project({ ...a, state: 'LoginOff' });
    expect(await answer('mx', 'rcpt_verdict', ['a@example.org'])).toBe('DUNNO');
  });

  it('a member that lags refuses nothing, and gives no rights once it is a minute old', async () => {
    await project(mailbox('a', { state: 'Suspended', suspendedMail: 'Refuse' }), mailbox('b'));
    await setHeartbeatAge(test.server, 30);
    await caughtUp();
    expect(await answer('mx', 'rcpt_verdict', ['a@example.org'], replica)).toMatch(/^450/);
    for (const [role, name] of [
      ['proxy', 'credentials'],
      ['submission', 'sending'],
    ] as const) {
      expect(await call(role, name, ['b@example.org'], replica)).toHaveLength(1);
      await expect(call(role, name, ['nobody@example.org'], replica)).rejects.toThrow(/catching up/);
    }
    await expect(call('store', 'revoked', ['-infinity'], replica)).rejects.toThrow(/too old/);
    for (const age of [61, -61]) {
      await setHeartbeatAge(test.server, age);
      await caughtUp();
      await expect(call('proxy', 'credentials', ['b@example.org'], replica)).rejects.toThrow(/too old/);
      await expect(call('submission', 'sending', ['b@example.org'], replica)).rejects.toThrow(/too old/);
      await expect(call('proxy', 'credentials', ['b@example.org'])).rejects.toThrow(/too old/);
    }
    await test.server.query('posthorn', 'DELETE FROM posthorn.heartbeat');
    await caughtUp();
    await expect(call('proxy', 'credentials', ['b@example.org'], replica)).rejects.toThrow(/unknown s old/);
    expect(await call('proxy', 'credentials', ['b@example.org'])).toHaveLength(1);
  });
});

describe('credentials and limits', () => {
  it('credentials are the password and app passwords, with what they are for', async () => {
    const a = mailbox('a', {
      aliases: ['x@example.org'],
      password: { hash: '{X}main', source: 'm' },
      ldapUser: 'uid-a',
      appPasswords: [
        { name: 'phone', source: 'p/1', hash: '{X}phone', protocols: ['imap', 'submission'] },
        { name: 'all', source: 'a/1', hash: '{X}all', protocols: null },
      ],
    });
    await project(a);
    expect(await call('submission', 'credentials', [' A@Example.org.'])).toEqual([
      {
        username: 'a@example.org',
        mailbox: a.uuid,
        state: 'Active',
        may_login: true,
        may_send: true,
        host: 'mail-store-a.mail.svc.cluster.local',
        imap_port: 10143,
        sieve_port: 14190,
        credentials: [
          { id: 'password', hash: '{X}main', protocols: null },
          { id: 'app/all', hash: '{X}all', protocols: null },
          { id: 'app/phone', hash: '{X}phone', protocols: ['imap', 'submission'] },
        ],
        ldap: 'uid-a',
      },
    ]);
    for (const name of ['x@example.org', 'a+b@example.org', 'nobody@example.org', '']) {
      expect(await call('proxy', 'credentials', [name])).toEqual([]);
    }
  });

  it('app passwords follow their sources; a hash is written only when it is new', async () => {
    const app = (source: string, hash?: string) => [{ name: 'phone', source, hash, protocols: null }];
    const hashes = async () => {
      const [row] = await call('proxy', 'credentials', ['a@example.org']);
      const credentials: { hash: string }[] = row?.credentials ?? [];
      return credentials.map(({ hash }) => hash);
    };
    const a = mailbox('a');
    expect(await project({ ...a, appPasswords: app('1', '{X}1') })).toEqual(['written']);
    expect(await project({ ...a, appPasswords: app('1', '{X}other salt') })).toEqual(['unchanged']);
    expect(await project({ ...a, appPasswords: app('1') })).toEqual(['unchanged']);
    expect(await project(a)).toEqual(['unchanged']);
    expect(await hashes()).toEqual(['{X}1']);
    expect(await inventory()).toMatchObject([{ appPasswordSources: { phone: '1' } }]);
    expect(await project({ ...a, appPasswords: app('2', '{X}2') })).toEqual(['written']);
    expect(await hashes()).toEqual(['{X}2']);
    // Its Secret has changed and nobody has the hash: the old one must not go on.
    expect(await project({ ...a, appPasswords: app('3') })).toEqual(['written']);
    expect(await hashes()).toEqual([]);
    await project({ ...a, appPasswords: app('3', '{X}3') });
    expect(await project({ ...a, appPasswords: [] })).toEqual(['written']);
    expect(await hashes()).toEqual([]);
  });

  it('limits are those of the mailbox, else of the system; 0 is a limit', async () => {
    const domain = { domain: 'example.org', object: { uid: 'd', namespace: 'mail', name: 'd' }, dkimSelector: null };
    const limits = async (name: string) => {
      const [row] = await call('submission', 'sending', [`${name}@example.org`]);
      return [row?.hour_limit, row?.day_limit, row?.domain_hour_limit];
    };
    await project(mailbox('a'), mailbox('b', { sending: { hour: 0, day: null } }));
    expect(await limits('a')).toEqual([null, null, null]);
    await test.directory.projectSettings({ postmaster: null, userHour: 300, userDay: 1500, domainHour: 9000 });
    expect(await limits('a')).toEqual([300, 1500, 9000]);
    await test.directory.projectDomains([{ ...domain, sendingHour: 50 }]);
    expect(await limits('b')).toEqual([0, 1500, 50]);
    expect(await test.directory.listDomains()).toContainEqual({ ...domain, sendingHour: 50 });
    expect((await test.directory.projectDomains([{ ...domain, sendingHour: 50 }])).value).toEqual([]);
    await test.directory.projectDomains([domain]);
    await test.directory.projectSettings({ postmaster: null });
  });

  it('an incident throttles until it is over or cleared, and is told', async () => {
    const a = mailbox('a');
    await project(a);
    const state = async () => (await call('submission', 'sending', ['a@example.org']))[0]?.state;
    const report = (detail: string, until: string | null) =>
      call('submission', 'report_incident', ['A@example.org', 'spam', detail, until]);
    await report('seen', null);
    expect(await state()).toBe('Active');
    const until = inSeconds(600);
    await report('600 in an hour', until);
    await report('700 in an hour', until);
    expect(await call('submission', 'sending', ['a@example.org'])).toMatchObject([
      { state: 'Throttled', may_send: false },
    ]);
    expect(await test.directory.incidents()).toEqual([
      {
        uuid: a.uuid,
        kind: 'spam',
        detail: '700 in an hour',
        since: expect.any(Date),
        until: new Date(until),
        count: 2,
      },
    ]);
    await project({ ...a, state: 'Suspended' });
    expect(await state()).toBe('Suspended');
    await project(a);
    expect((await test.directory.clearIncidents([{ uuid: a.uuid, kind: 'spam' }])).value).toBe(1);
    expect(await state()).toBe('Active');
    await report('over', inSeconds(-5));
    expect(await state()).toBe('Active');
    await call('submission', 'report_incident', ['nobody@example.org', 'spam', 'x', null]);
  });
});

describe('quota', () => {
  it('a full mailbox is refused for good, but only by who is sure of it', async () => {
    const a = mailbox('a', { aliases: ['x@example.org'], quotaBytes: 1000 });
    await project(a);
    const verdict = (address = 'a@example.org', server = test.server) =>
      answer('mx', 'rcpt_verdict', [address], server);
    const over = async () => {
      const rows = await test.server.query('posthorn_store', 'SELECT over FROM directory_v1.userdb');
      return rows[0]?.over;
    };
    expect(await over()).toBe(false);
    await call('store', 'quota_state', [a.uuid, true]);
    expect(await verdict()).toBe('552 5.2.2 <a@example.org>: mailbox is full');
    expect(await verdict('x+y@example.org')).toBe('552 5.2.2 <x+y@example.org>: mailbox is full');
    await setHeartbeatAge(test.server, 30);
    await caughtUp();
    expect(await verdict('a@example.org', replica)).toMatch(/^450/);
    await setHeartbeatAge(test.server, 0);
    expect(await project(a)).toEqual(['unchanged']);
    expect(await over()).toBe(true);
    await project({ ...a, quotaBytes: 2000 });
    expect(await over()).toBeNull();
    expect(await verdict()).toBe('DUNNO');
    await call('store', 'quota_state', [a.uuid, false]);
    expect(await over()).toBe(false);
  });
});

describe('Sieve', () => {
  const declared = async (since: string) => {
    const rows = await call('store', 'declared_sieve', ['a', since]);
    return rows.sort((l, r) => (String(l.username) < String(r.username) ? -1 : 1));
  };
  const result = (uuid: string, script: string, error: string | null) =>
    call('store', 'sieve_result', [uuid, sieveHash(script), error]);

  it('scripts reach the store with each change, also the last', async () => {
    const a = mailbox('a', { sieve: 'keep;' });
    await project(a, mailbox('b'), mailbox('c', { sieve: 'stop;' }));
    const all = await declared('-infinity');
    expect(all).toMatchObject([
      { username: 'a@example.org', script: 'keep;', hash: sieveHash('keep;') },
      { username: 'c@example.org' },
    ]);
    expect(all[0]).toMatchObject({ mailbox: a.uuid, home: expect.stringContaining(a.uuid) });
    await test.server.query('posthorn', "UPDATE posthorn.sieve SET changed_at = now() - interval '1 minute'");
    expect(await declared(inSeconds(0))).toEqual([]);
    expect(await project({ ...a, sieve: null })).toEqual(['written']);
    expect(await declared(inSeconds(0))).toMatchObject([{ username: 'a@example.org', script: null, hash: null }]);
    expect(await declared('-infinity')).toMatchObject([{ username: 'c@example.org' }]);
    expect(await call('store', 'declared_sieve', ['b', '-infinity'])).toEqual([]);
  });

  it('what the compiler said is heard of the declared script only', async () => {
    const a = mailbox('a', { sieve: 'fileinto;' });
    await project(a);
    expect(await test.directory.sieveResults()).toEqual([]);
    await result(a.uuid, 'fileinto;', 'line 1: fileinto what?');
    await result(a.uuid, 'another', null);
    const told = { uuid: a.uuid, hash: sieveHash('fileinto;'), error: 'line 1: fileinto what?', at: expect.any(Date) };
    expect(await test.directory.sieveResults()).toEqual([told]);
    expect(await test.directory.sieveResults([a.uuid])).toEqual([told]);
    expect(await test.directory.sieveResults([mailbox('x').uuid])).toEqual([]);
    await project({ ...a, sieve: 'keep;' });
    expect(await test.directory.sieveResults()).toEqual([]);
    await result(a.uuid, 'keep;', null);
    expect(await test.directory.sieveResults()).toMatchObject([{ error: null }]);
  });
});

describe('shared mailboxes', () => {
  const shared = async (name: string, server = test.server) => {
    const sql = 'SELECT shared FROM directory_v1.userdb WHERE username = $1';
    return (await server.query('posthorn_store', sql, [`${name}@example.org`]))[0]?.shared;
  };
  const member = (name: string, rights: 'ReadWrite' | 'ReadOnly' = 'ReadWrite', sendAs = false) => ({
    mailbox: name,
    rights,
    sendAs,
  });

  it('are seen by members of the same namespace and shard, while they are open', async () => {
    await test.directory.projectShards([
      { name: 'a', host: 'mail-store-a.mail.svc.cluster.local', lmtpPort: 10024, imapPort: 10143, sievePort: 14190 },
      { name: 'b', host: 'b', lmtpPort: 10024, imapPort: 10143, sievePort: 14190 },
    ]);
    const office = mailbox('office', { members: [member('ann'), member('bea', 'ReadOnly')] });
    const rooms = mailbox('rooms', { members: [member('ann')], retention: [{ folder: 'Trash', days: 30 }] });
    const foreign = mailbox('foreign', {
      members: [member('ann')],
      object: { uid: 'f', namespace: 'other', name: 'foreign' },
    });
    const far = mailbox('far', { members: [member('ann')], shard: 'b' });
    // Members may come later than the mailbox that they share.
    await project(office, rooms, foreign, far);
    await project(mailbox('ann'), mailbox('bea'), mailbox('cat'));
    const seen = (box: MailboxRow, name: string, rights = 'ReadWrite') => ({ uuid: box.uuid, name, rights });
    expect(await shared('ann')).toEqual([seen(office, 'office'), seen(rooms, 'rooms')]);
    expect(await shared('bea')).toEqual([seen(office, 'office', 'ReadOnly')]);
    expect(await shared('cat')).toBeNull();
    await project({ ...office, state: 'LoginOff' });
    expect(await shared('bea')).toBeNull();
    await project({ ...office, state: 'LoginOff', stateUntil: inSeconds(-1) });
    expect(await shared('bea')).toHaveLength(1);
    await test.directory.tombstoneMailboxes([{ uuid: rooms.uuid, objectUid: rooms.object.uid }]);
    expect(await shared('ann')).toEqual([seen(office, 'office')]);
    // Made again while the old one is still there: names must differ.
    const again = {
      ...mailbox('office2', { members: [member('ann')] }),
      object: { uid: 'n', namespace: 'mail', name: 'office' },
    };
    await project(again);
    const names = ((await shared('ann')) as { name: string }[]).map(({ name }) => name);
    expect(names.sort()).toEqual([office, again].map(({ uuid }) => `office.${uuid.slice(0, 8)}`).sort());
    await setHeartbeatAge(test.server, 61);
    await caughtUp();
    expect(await shared('ann', replica)).toBeNull();
  });

  it('send-as is for members that have it, of an alias too', async () => {
    const list = async (address: string) => answer('submission', 'sender_logins', [address]);
    const office = mailbox('office', {
      aliases: ['info@example.org'],
      members: [member('ann', 'ReadOnly', true), member('bea')],
    });
    await project(office, mailbox('ann'), mailbox('bea'));
    expect(await list('office@example.org')).toBe('ann@example.org,office@example.org');
    expect(await list('Info+x@example.org')).toBe('ann@example.org,office@example.org');
    await project({ ...office, members: [] });
    expect(await list('office@example.org')).toBe('office@example.org');
  });
});

describe('revocations', () => {
  /** Who has been revoked by `change`. */
  async function revokedBy(change: () => Promise<unknown>): Promise<string[]> {
    await test.server.query('posthorn', 'DELETE FROM posthorn.revocations');
    await change();
    const rows = await call('proxy', 'revoked', [inSeconds(0)]);
    return rows.map(({ username }) => String(username)).sort();
  }

  const password = { hash: '{X}1', source: '1' };
  const app = (hash: string, protocols: string[] | null = null) => [{ name: 'p', source: hash, hash, protocols }];
  const box = mailbox('box', {
    password,
    appPasswords: app('{X}a'),
    aliases: ['x@example.org'],
    members: [{ mailbox: 'ann', rights: 'ReadWrite', sendAs: false }],
  });
  const BOX = ['box@example.org'];
  const ANN = ['ann@example.org'];

  const CHANGES: [string, Partial<MailboxRow>, string[]][] = [
    ['nothing', {}, []],
    ['a new state', { state: 'LoginOff' }, [...ANN, ...BOX]],
    ['another password', { password: { hash: '{X}2', source: '2' } }, BOX],
    ['no password', { password: null }, BOX],
    ['another app password', { appPasswords: app('{X}b') }, BOX],
    ['an app password for less', { appPasswords: app('{X}a', ['imap']) }, BOX],
    ['an app password less', { appPasswords: [] }, BOX],
    ['another main address', { address: 'new@example.org' }, BOX],
    ['its alias as its main address', { address: 'x@example.org', aliases: ['box@example.org'] }, BOX],
    ['an alias less', { aliases: [] }, []],
    ['a member less', { members: [] }, ANN],
    ['a member with less rights', { members: [{ mailbox: 'ann', rights: 'ReadOnly', sendAs: false }] }, ANN],
    ['a member with send-as', { members: [{ mailbox: 'ann', rights: 'ReadWrite', sendAs: true }] }, []],
    ['another quota', { quotaBytes: 5 }, []],
  ];

  it.each(CHANGES)('%s', async (_, change, expected) => {
    await project(box, mailbox('ann'));
    const hash = contentHash(box);
    expect(await inventory()).toContainEqual(expect.objectContaining({ uuid: box.uuid, contentHash: hash }));
    expect(await revokedBy(() => project({ ...box, ...change }))).toEqual(expected);
  });

  it('a deletion, and a main address that an elder takes', async () => {
    await project(box, mailbox('ann'));
    const gone = { uuid: box.uuid, objectUid: box.object.uid };
    expect(await revokedBy(() => test.directory.tombstoneMailboxes([gone]))).toEqual([...ANN, ...BOX]);
    await project(box);
    expect(await revokedBy(() => project(mailbox('elder', { age: 9, aliases: BOX })))).toEqual(BOX);
  });

  it('setPasswords, and a change by hand', async () => {
    await project(box);
    const set = { uuid: box.uuid, password: { hash: '{X}9', source: '9' } };
    expect(await revokedBy(() => test.directory.setPasswords([set]))).toEqual(BOX);
    const sql = "UPDATE posthorn.mailboxes SET state = 'Suspended'";
    expect(await revokedBy(() => test.server.query('posthorn', sql))).toContain('box@example.org');
  });

  it('a state that ends, and first passwords, revoke nothing', async () => {
    await project({ ...box, state: 'SendBlocked', password: null });
    expect(await revokedBy(() => project({ ...box, password }))).toEqual([]);
  });

  it('looks back 20 s further, a day at most, and old entries are removed', async () => {
    const at = (age: string) =>
      test.server.query(
        'posthorn',
        `INSERT INTO posthorn.revocations (username, at) VALUES ($1::text, now() - $1::text::interval)`,
        [age],
      );
    for (const age of ['15 s', '25 s', '2 h', '25 h']) await at(age);
    const asked = async (since: string) => (await call('store', 'revoked', [since])).map(({ username }) => username);
    expect(await asked(inSeconds(0))).toEqual(['15 s']);
    expect(await asked('-infinity')).toEqual(['2 h', '25 s', '15 s']);
    await test.directory.maintain({ srsRotateDays: 90 });
    const left = await test.server.query('posthorn', 'SELECT username FROM posthorn.revocations');
    expect(left).toHaveLength(3);
    await setHeartbeatAge(test.server, 6);
    await expect(asked('-infinity')).rejects.toThrow(/too old/);
  });
});

describe('the inventory', () => {
  it('tells each declared change by the hash, and a batch of the release before changes none of it', async () => {
    const full = mailbox('full', {
      state: 'SendBlocked',
      stateUntil: '2099-01-01T00:00:00Z',
      suspendedMail: 'Refuse',
      ldapUser: 'full',
      sieve: 'keep;',
      retention: [
        { folder: 'Trash', days: 3 },
        { folder: 'Junk', days: 9 },
      ],
      members: [{ mailbox: 'ann', rights: 'ReadOnly', sendAs: true }],
      require: { from: ['b.test', 'a.test'], otherwise: 'Tag' },
      sending: { hour: 5, day: 7 },
      appPasswords: [{ name: 'p', source: 's', hash: '{X}h', protocols: ['imap'] }],
    });
    const changes: Partial<MailboxRow>[] = [
      { state: 'LoginOff' },
      { stateUntil: null },
      { suspendedMail: 'Accept' },
      { ldapUser: null },
      { sieve: 'stop;' },
      { retention: [] },
      { members: [] },
      { require: null },
      { sending: null },
      { appPasswords: [{ name: 'p', source: 's', hash: '{X}h', protocols: null }] },
    ];
    for (const change of [{}, ...changes]) {
      const row = { ...full, ...change };
      await project(row);
      expect(await inventory(), JSON.stringify(change)).toMatchObject([{ contentHash: contentHash(row) }]);
      expect(await project(row)).toEqual(['unchanged']);
      await project(full);
    }
    expect(new Set(changes.map((change) => contentHash({ ...full, ...change }))).size).toBe(changes.length);
    expect(contentHash({ ...full, retention: [...(full.retention ?? [])].reverse() })).toBe(contentHash(full));

    const { uuid, address, aliases, object, createdAt } = full;
    const before = {
      ...{ ord: 0, uuid, address, aliases, shard: 'a', quota_bytes: 77, deletion_policy: 'Retain', adopt: false },
      ...{ object_uid: object.uid, object_namespace: object.namespace, object_name: object.name },
      ...{ claimed_at: createdAt, set_password: false },
    };
    const sql = 'SELECT result FROM posthorn.project_mailboxes($1)';
    expect(await test.server.query('posthorn', sql, [JSON.stringify([before])])).toEqual([{ result: 'written' }]);
    expect(await inventory()).toMatchObject([{ contentHash: contentHash({ ...full, quotaBytes: 77 }) }]);
    const fresh = {
      ...before,
      uuid: mailbox('x').uuid,
      address: 'new@example.org',
      object_uid: 'u',
      object_name: 'new',
    };
    expect(await test.server.query('posthorn', sql, [JSON.stringify([fresh])])).toEqual([{ result: 'written' }]);
  });
});

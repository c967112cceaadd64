import { beforeAll, describe, expect, it } from 'vitest';
import { caughtUp, inSeconds, inventory, mailbox, setHeartbeatAge } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';
import { useDirectory } from './testing/use.js';

const directory = useDirectory();
const { project, call, answer } = directory;
let replica: TestPostgres;

beforeAll(async () => {
  replica = await directory.test.server.addReplica('replica_1');
});

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
    await setHeartbeatAge(directory.test.server, 30);
    await caughtUp(directory.test);
    expect(await answer('mx', 'rcpt_verdict', ['a@example.org'], replica)).toMatch(/^450/);
    for (const [role, name] of [
      ['proxy', 'credentials'],
      ['submission', 'sending'],
    ] as const) {
      expect(await call(role, name, ['b@example.org'], replica)).toHaveLength(1);
      await expect(call(role, name, ['nobody@example.org'], replica)).rejects.toThrow(/catching up/);
    }
    expect(await answer('submission', 'sender_logins', ['b@example.org'], replica)).toBe('b@example.org');
    await expect(call('store', 'revoked', ['-infinity'], replica)).rejects.toThrow(/too old/);
    for (const age of [61, -61]) {
      await setHeartbeatAge(directory.test.server, age);
      await caughtUp(directory.test);
      await expect(call('proxy', 'credentials', ['b@example.org'], replica)).rejects.toThrow(/too old/);
      await expect(call('submission', 'sending', ['b@example.org'], replica)).rejects.toThrow(/too old/);
      await expect(call('submission', 'sender_logins', ['b@example.org'], replica)).rejects.toThrow(/too old/);
      await expect(call('proxy', 'credentials', ['b@example.org'])).rejects.toThrow(/too old/);
    }
    await directory.test.server.query('posthorn', 'DELETE FROM posthorn.heartbeat');
    await caughtUp(directory.test);
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
        epoch: '0',
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
    expect(await inventory(directory.test)).toMatchObject([{ appPasswordSources: { phone: '1' } }]);
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
    await directory.test.directory.projectSettings({
      postmaster: null,
      userHour: 300,
      userDay: 1500,
      domainHour: 9000,
    });
    expect(await limits('a')).toEqual([300, 1500, 9000]);
    await directory.test.directory.projectDomains([{ ...domain, sendingHour: 50 }]);
    expect(await limits('b')).toEqual([0, 1500, 50]);
    expect(await directory.test.directory.listDomains()).toContainEqual({ ...domain, sendingHour: 50 });
    expect((await directory.test.directory.projectDomains([{ ...domain, sendingHour: 50 }])).value).toEqual([]);
    await directory.test.directory.projectDomains([domain]);
    await directory.test.directory.projectSettings({ postmaster: null });
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
    expect(await directory.test.directory.incidents()).toEqual([
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
    expect((await directory.test.directory.clearIncidents([{ uuid: a.uuid, kind: 'spam' }])).value).toBe(1);
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
    const verdict = (address = 'a@example.org', server = directory.test.server) =>
      answer('mx', 'rcpt_verdict', [address], server);
    const over = async () => {
      const rows = await directory.test.server.query('posthorn_store', 'SELECT over FROM directory_v1.userdb');
      return rows[0]?.over;
    };
    expect(await over()).toBe(false);
    await call('store', 'quota_state', [a.uuid, true]);
    expect(await verdict()).toBe('552 5.2.2 <a@example.org>: mailbox is full');
    expect(await verdict('x+y@example.org')).toBe('552 5.2.2 <x+y@example.org>: mailbox is full');
    await setHeartbeatAge(directory.test.server, 30);
    await caughtUp(directory.test);
    expect(await verdict('a@example.org', replica)).toMatch(/^450/);
    await setHeartbeatAge(directory.test.server, 0);
    expect(await project(a)).toEqual(['unchanged']);
    expect(await over()).toBe(true);
    await project({ ...a, quotaBytes: 2000 });
    expect(await over()).toBeNull();
    expect(await verdict()).toBe('DUNNO');
    await call('store', 'quota_state', [a.uuid, false]);
    expect(await over()).toBe(false);
  });
});

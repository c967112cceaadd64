import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { caughtUp, inSeconds, mailbox, setHeartbeatAge, shard } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';
import { useDirectory } from './testing/use.js';

const directory = useDirectory();
const { project, call, answer } = directory;
let replica: TestPostgres;

beforeAll(async () => {
  replica = await directory.test.server.addReplica('replica_1');
});

beforeEach(async () => {
  await directory.test.directory.projectShards([shard('a', 1), shard('b', 1)]);
});

const of = async (name: string, { on = 'a', protocol = 'lmtp', server = directory.test.server } = {}) =>
  (await call('store', 'store_user', [`${name}@example.org`, on, protocol], server))[0];

describe("the store's view of a mailbox", () => {
  it('is what Dovecot takes as it is', async () => {
    const ann = mailbox('ann', { aliases: ['zoe@example.org', 'bob@example.org'], quotaBytes: 300_000_000 });
    await project(ann, mailbox('free'));
    expect(await of('ann')).toEqual({
      home: `/srv/mail/mailboxes/${ann.uuid.slice(0, 2)}/${ann.uuid}`,
      uuid: ann.uuid,
      addresses: 'ann@example.org,bob@example.org,zoe@example.org',
      may_send: true,
      full: false,
      full_mask: 't*',
      quota_storage_size: '300000000B',
      quota_storage_grace: '52428800B',
      userdb_import: null,
    });
    expect(await of('free')).toMatchObject({
      full_mask: '',
      quota_storage_size: 'unlimited',
      quota_storage_grace: '0B',
    });
    await answer('store', 'quota_state', [ann.uuid, true]);
    expect(await of('ann')).toMatchObject({ full: true });
    await project({ ...ann, quotaBytes: 90 }); // nobody knows whether it is full now
    expect(await of('ann')).toMatchObject({ full: false, quota_storage_grace: '30B' });
  });

  it('is nobody elsewhere, by another name, or after its end', async () => {
    const ann = mailbox('ann', { aliases: ['bob@example.org'] });
    await project(ann);
    expect(await of('ann', { on: 'b' })).toBeUndefined();
    expect(await of('bob')).toBeUndefined();
    expect(await of('nobody')).toBeUndefined();
    await directory.test.directory.tombstoneMailboxes([{ uuid: ann.uuid, objectUid: ann.object.uid }]);
    expect(await of('ann')).toBeUndefined();
  });

  it('knows who may send', async () => {
    const ann = mailbox('ann', { state: 'SendBlocked' });
    await project(ann);
    expect(await of('ann')).toMatchObject({ may_send: false });
    await project({ ...ann, stateUntil: inSeconds(-1) });
    expect(await of('ann')).toMatchObject({ may_send: true });
    await answer('submission', 'report_incident', ['ann@example.org', 'spam', '', inSeconds(60)]);
    expect(await of('ann')).toMatchObject({ may_send: false });
  });

  it('has a namespace for each shared mailbox, as many as fit', async () => {
    const office = mailbox('office', {
      members: [
        { mailbox: 'ann', rights: 'ReadWrite', sendAs: false },
        { mailbox: 'bea', rights: 'ReadOnly', sendAs: false },
      ],
    });
    await project(office, mailbox('ann'), mailbox('bea'));
    const settings = (n: string, { uuid, object }: typeof office) => [
      ...[`namespace/${n}/prefix=Shared/${object.name}/`, `namespace/${n}/type=public`],
      `namespace/${n}/mail_path=/srv/mail/mailboxes/${uuid.slice(0, 2)}/${uuid}/mail`,
      ...[`namespace/${n}/subscriptions=no`, `namespace/${n}/ignore_on_failure=yes`, `namespace/${n}/quota_ignore=yes`],
    ];
    const [write, read] = [settings('s1', office), settings('s1', office)];
    write.push('namespace/s1/acl/anyone/acl_rights=lrwstipekx');
    expect((await of('ann'))?.userdb_import).toBe(['namespace+=s1', ...write].join('\t'));
    expect((await of('bea'))?.userdb_import).toBe(['namespace+=s1', ...read].join('\t'));
    expect((await of('office'))?.userdb_import).toBeNull();

    await project(
      ...Array.from({ length: 40 }, (_, i) =>
        mailbox(`room${String(i).padStart(2, '0')}`, {
          members: [{ mailbox: 'ann', rights: 'ReadWrite', sendAs: false }],
        }),
      ),
    );
    const many = String((await of('ann'))?.userdb_import);
    expect(many.length).toBeLessThan(8_000);
    expect(many.length).toBeGreaterThan(6_000);
    expect(many).toMatch(/^namespace\+=s1,s2,s3,.*,s2\d\t/);
    await setHeartbeatAge(directory.test.server, 61);
    expect((await of('ann'))?.userdb_import).toBeNull();
  });

  it('is not told by a replica that is a minute old', async () => {
    await project(mailbox('ann'));
    await caughtUp(directory.test);
    expect(await of('ann', { server: replica })).toBeDefined();
    await setHeartbeatAge(directory.test.server, 61);
    await caughtUp(directory.test);
    expect(await of('ann', { server: replica })).toBeUndefined();
    expect(await of('ann')).toBeDefined();
  });
});

it('a mailbox that moves is opened by dsync on both shards, and by nobody else while it switches', async () => {
  const ann = mailbox('ann');
  await project(ann);
  const holder = randomUUID();
  await answer('store', 'register_member', ['a', 0, holder, 0]);
  await answer('store', 'take_lease', ['a', 0, holder, holder, 0, 0]);
  const seen = async () => {
    const places: string[] = [];
    for (const on of ['a', 'b']) {
      for (const protocol of ['lmtp', 'imap', 'doveadm']) {
        if (await of('ann', { on, protocol })) places.push(`${on} ${protocol}`);
      }
    }
    return places.join(', ');
  };
  const step = (from: string, to: string) =>
    answer('store', 'move_step', [ann.uuid, 'a', holder, 1, from, to, '{"toEpoch": 0}']);
  expect(await seen()).toBe('a lmtp, a imap, a doveadm');
  await directory.test.directory.startMoves([{ uuid: ann.uuid, toShard: 'b', objectUid: 'm' }]);
  expect(await seen()).toBe('a lmtp, a imap, a doveadm, b doveadm');
  await step('syncing', 'switching');
  expect(await seen()).toBe('a doveadm, b doveadm');
  expect(await step('switching', 'settling')).toBe(true);
  expect(await seen()).toBe('a doveadm, b lmtp, b imap, b doveadm');
  await step('settling', 'done');
  expect(await seen()).toBe('b lmtp, b imap, b doveadm');
});

describe('a mailbox by its UUID', () => {
  const named = async (name: string, { on = 'a', protocol = 'doveadm', server = directory.test.server } = {}) =>
    (await call('store', 'store_user', [name, on, protocol], server))[0];

  it('is the same whoever has its address, for doveadm and on its shard only', async () => {
    const ann = mailbox('ann');
    await project(ann, mailbox('bob'));
    const byAddress = await of('ann', { protocol: 'doveadm' });
    expect(byAddress?.uuid).toBe(ann.uuid);
    expect(await named(ann.uuid)).toEqual(byAddress);
    expect(await named(`${ann.uuid}@uuid.invalid`)).toEqual(byAddress);
    for (const protocol of ['imap', 'lmtp', 'sieve']) expect(await named(ann.uuid, { protocol })).toBeUndefined();
    expect(await named(ann.uuid, { on: 'b' })).toBeUndefined();
    expect(await named(randomUUID())).toBeUndefined();
    expect(await named(`${ann.uuid}@example.org`)).toBeUndefined();
    expect(await named(`x${ann.uuid}`)).toBeUndefined();

    // Renamed, and the address given to another: a member that lags says the same about the UUIDs.
    await caughtUp(directory.test);
    await replica.query('postgres', 'SELECT pg_wal_replay_pause()');
    const other = mailbox('other', { address: 'ann@example.org' });
    try {
      await project({ ...ann, address: 'amy@example.org' });
      expect(await project(other)).toEqual(['written']);
      expect(await of('ann', { protocol: 'doveadm' })).toMatchObject({ uuid: other.uuid });
      expect(await of('ann', { protocol: 'doveadm', server: replica })).toMatchObject({ uuid: ann.uuid });
      for (const server of [directory.test.server, replica]) {
        expect(await named(ann.uuid, { server })).toMatchObject({ uuid: ann.uuid, home: byAddress?.home });
      }
      expect(await named(other.uuid, { server: replica })).toBeUndefined();
    } finally {
      await replica.query('postgres', 'SELECT pg_wal_replay_resume()');
    }
  });

  it('is found on both shards while it moves', async () => {
    const ann = mailbox('ann');
    await project(ann);
    const target = (name: string) => answer('store', 'move_target', [name, 'b']);
    expect(await target(ann.uuid)).toBe(false);
    expect(await answer('store', 'lives_here', [ann.uuid, 'b'])).toBe(false);
    await directory.test.directory.startMoves([{ uuid: ann.uuid, toShard: 'b', objectUid: 'm' }]);
    for (const on of ['a', 'b']) {
      expect(await named(ann.uuid, { on })).toMatchObject({ uuid: ann.uuid });
      expect(await answer('store', 'lives_here', [ann.uuid, on])).toBe(true);
    }
    expect(await target(ann.uuid)).toBe(true);
    expect(await target(`${ann.uuid}@uuid.invalid`)).toBe(true);
    expect(await answer('store', 'lives_here', [ann.uuid, 'c'])).toBe(false);
    expect(await here('b')).toEqual([]);
  });

  const here = (on: string) => call('store', 'shard_mailboxes', [on]);

  it('stays reachable after its end as long as it may be adopted again, and no longer', async () => {
    const [ann, bob] = [mailbox('ann'), mailbox('bob', { deletionPolicy: 'Delete' })];
    await project(ann, bob);
    const tombstone = (box: typeof ann, graceSeconds?: number) =>
      directory.test.directory.tombstoneMailboxes([{ uuid: box.uuid, objectUid: box.object.uid }], graceSeconds);
    await tombstone(ann);
    await tombstone(bob, 3600);
    for (const { uuid } of [ann, bob]) {
      expect(await named(uuid)).toMatchObject({ uuid, may_send: false, userdb_import: null });
      expect(await answer('store', 'lives_here', [uuid, 'a'])).toBe(true);
    }
    expect(await of('ann', { protocol: 'doveadm' })).toBeUndefined();
    const gone = { username: null };
    expect(await here('a')).toHaveLength(2);
    expect(await here('a')).toEqual(
      expect.arrayContaining([
        { uuid: ann.uuid, ...gone },
        { uuid: bob.uuid, ...gone },
      ]),
    );
    await directory.test.server.query(
      'posthorn',
      "UPDATE posthorn.mailboxes SET purge_after = now() + interval '30 seconds' WHERE purge_after IS NOT NULL",
    );
    expect(await named(bob.uuid)).toBeUndefined();
    expect(await answer('store', 'lives_here', [bob.uuid, 'a'])).toBe(false);
    const again = { ...mailbox('ann'), uuid: ann.uuid, adopt: true };
    expect(await project(again)).toEqual(['written']);
    expect(await here('a')).toEqual([{ uuid: ann.uuid, username: 'ann@example.org' }]);
    await caughtUp(directory.test);
    await expect(call('store', 'shard_mailboxes', ['a'], replica)).rejects.toThrow('may not know all');
  });
});

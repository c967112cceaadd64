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

import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { MailboxRow } from './rows.js';
import { caughtUp, mailbox, memberHost, setHeartbeatAge, shard } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';
import { useDirectory } from './testing/use.js';

const directory = useDirectory();
const { project, answer, call } = directory;
let replica: TestPostgres;

beforeAll(async () => {
  replica = await directory.test.server.addReplica('replica_1');
});

/** Who has the lease of a shard, in epoch 1, with a copy that is in sync. */
interface Primary {
  readonly shard: string;
  readonly holder: string;
  readonly volume: string;
}

let a: Primary;
let b: Primary;
let ann: MailboxRow;

beforeEach(async () => {
  await directory.test.directory.projectShards([]);
  await directory.test.directory.projectShards([shard('a', 2), shard('b', 2)]);
  [a, b] = [await primaryOf('a'), await primaryOf('b')];
  ann = mailbox('ann', { sieve: 'keep;' });
  await project(ann);
});

async function primaryOf(name: string): Promise<Primary> {
  const [holder, volume] = [randomUUID(), randomUUID()];
  await answer('store', 'register_member', [name, 0, volume, 0]);
  expect(await answer('store', 'take_lease', [name, 0, holder, volume, 0, 0])).toBe('1');
  const copy = randomUUID();
  await answer('store', 'register_member', [name, 1, copy, 0]);
  await answer('store', 'member_seeded', [name, holder, 1, 1, copy, true]);
  await inSync({ shard: name, holder, volume }, true);
  return { shard: name, holder, volume };
}

async function inSync({ shard: name, holder }: Primary, isInSync: boolean) {
  const report = JSON.stringify({ members: [{ member: 1, inSync: isInSync }] });
  expect(await answer('store', 'report_replication', [name, holder, 1, report])).toBe(true);
}

const start = async (toShard = 'b', objectUid = 'move') =>
  (await directory.test.directory.startMoves([{ uuid: ann.uuid, toShard, objectUid }])).value[0]?.refused;
const step = (from: string, to: string, { by = a, report = {} as object, epoch = 1 } = {}) =>
  answer('store', 'move_step', [ann.uuid, by.shard, by.holder, epoch, from, to, JSON.stringify(report)]);
const switchOver = () => step('switching', 'settling', { report: { toEpoch: 1 } });
const route = (server?: TestPostgres) => answer('mx', 'route', ['ann@example.org'], server);
const routeTo = (name: string) => `lmtp:inet:${memberHost(name, 0)}:10024`;
const login = async () => (await call('proxy', 'credentials', ['ann@example.org']))[0];
/** A minute later. */
async function purgeList(name: string) {
  await directory.test.server.query('posthorn', "UPDATE posthorn.tombstones SET at = at - interval '61 seconds'");
  return call('store', 'purge_list', [name, '-infinity']);
}
const waiting = async (name: string) => (await purgeList(name)).map((row) => [row.mailbox, row.waiting]);
const done = (name: string, member: number) => answer('store', 'purge_done', [name, member, ann.uuid]);

/** Moves ann to b, all the way. */
async function moveAway() {
  expect(await start()).toBeNull();
  await step('syncing', 'switching');
  await switchOver();
  expect(await step('settling', 'done')).toBe(true);
}

describe('a mailbox that moves', () => {
  it('is shut while it changes its shard, and open before and after', async () => {
    expect(await start()).toBeNull();
    expect(await call('store', 'moves', ['a'])).toMatchObject([
      {
        ...{ mailbox: ann.uuid, username: 'ann@example.org', phase: 'syncing', report: {} },
        ...{ to_shard: 'b', to_host: memberHost('b', 0), to_port: 10028, to_epoch: '1' },
      },
    ]);
    expect(await call('store', 'moves', ['b'])).toEqual([]);
    expect(await answer('store', 'lease', ['a'])).toMatchObject({ moves: 1 });
    expect(await route()).toBe(routeTo('a'));
    expect(await step('syncing', 'syncing', { report: { messages: 5 } })).toBe(true);
    expect(await step('syncing', 'switching')).toBe(true);
    expect(await route()).toBe('retry:4.3.0 mailbox is being moved');
    await expect(login()).rejects.toThrow('no store now');
    expect(await call('submission', 'credentials', ['ann@example.org'])).toHaveLength(1);
    expect(await switchOver()).toBe(true);
    expect(await route()).toBe(routeTo('b'));
    expect(await login()).toMatchObject({ host: memberHost('b', 0) });
    expect(await step('settling', 'done')).toBe(true);
    expect(await call('store', 'moves', ['a'])).toEqual([]);
    expect(await directory.test.directory.listMoves(['move'])).toMatchObject([
      {
        uuid: ann.uuid,
        fromShard: 'a',
        toShard: 'b',
        phase: 'done',
        report: { messages: 5 },
        switchedAt: expect.any(Date),
      },
    ]);
    // The operator's next projection leaves it there.
    expect(await project({ ...ann, quotaBytes: 5 })).toEqual(['written']);
    expect(await route()).toBe(routeTo('b'));
    await caughtUp(directory.test);
    expect(await route(replica)).toBe(routeTo('b'));
  });

  it('its declared script comes after it', async () => {
    await directory.test.server.query('posthorn', "UPDATE posthorn.sieve SET changed_at = now() - interval '1 hour'");
    const scripts = () => call('store', 'declared_sieve', ['b', new Date().toISOString()]);
    expect(await scripts()).toEqual([]);
    await moveAway();
    expect(await scripts()).toMatchObject([{ username: 'ann@example.org', script: 'keep;' }]);
  });

  it('each step can be made again, and only by whoever has the lease of the shard that it leaves', async () => {
    await start();
    expect(await step('syncing', 'switching', { by: b })).toBe(false);
    expect(await step('syncing', 'switching', { by: { ...a, holder: b.holder } })).toBe(false);
    expect(await step('syncing', 'switching', { epoch: 2 })).toBe(false);
    expect(await step('syncing', 'switching')).toBe(true);
    expect(await step('syncing', 'switching')).toBe(true);
    expect(await step('syncing', 'syncing')).toBe(false);
    expect(await switchOver()).toBe(true);
    expect(await switchOver()).toBe(true);
    expect(await step('switching', 'syncing')).toBe(false);
    await expect(step('syncing', 'settling')).rejects.toThrow('does not go from syncing to settling');
    await expect(step('done', 'syncing')).rejects.toThrow('does not go');
  });

  it('does not change its shard when another has become primary there', async () => {
    await start();
    await step('syncing', 'switching');
    expect(await step('switching', 'settling', { report: { toEpoch: 2 } })).toBe(false);
    expect(await step('switching', 'settling')).toBe(false);
    expect(await step('switching', 'syncing')).toBe(true);
    expect(await route()).toBe(routeTo('a'));
  });

  it('is kept where it was until all copies of the other shard have it, and its primary is still the same', async () => {
    await start();
    await step('syncing', 'switching');
    expect(await switchOver()).toBe(true);
    await inSync(b, false);
    expect(await step('settling', 'done')).toBe(false);
    await inSync(b, true);
    expect(await step('settling', 'done', { report: { toEpoch: 2 } })).toBe(false);
    const seeded = (isSeeded: boolean) =>
      directory.test.server.query(
        'posthorn',
        "UPDATE posthorn.member_states SET seeded = $1 WHERE shard = 'b' AND member = 1",
        [isSeeded],
      );
    await seeded(false);
    expect(await step('settling', 'done')).toBe(false);
    await seeded(true);
    // Another primary there: everything has to be looked at again.
    await answer('store', 'release_lease', ['b', 0, b.holder, 1, null]);
    const { renewals } = (await answer('store', 'lease', ['b'])) as { renewals: number };
    expect(await answer('store', 'take_lease', ['b', 0, b.holder, b.volume, 1, renewals])).toBe('2');
    expect(await step('settling', 'done')).toBe(false);
    expect(await waiting('a')).toEqual([]);
    expect(await step('settling', 'settling', { report: { toEpoch: 2 } })).toBe(true);
    expect(await step('settling', 'done')).toBe(true);
    expect(await waiting('a')).toEqual([[ann.uuid, [0, 1]]]);
  });

  it('comes back', async () => {
    await start();
    await step('syncing', 'switching');
    await switchOver();
    expect(await step('settling', 'switching')).toBe(true);
    expect(await route()).toBe('retry:4.3.0 mailbox is being moved');
    expect(await step('switching', 'failed', { report: { message: 'differs' } })).toBe(true);
    expect(await route()).toBe(routeTo('a'));
    expect(await waiting('b')).toEqual([[ann.uuid, [0, 1]]]);
    const [move] = await directory.test.directory.listMoves();
    expect(move).toMatchObject({ phase: 'failed', report: { message: 'differs' }, switchedAt: null });
  });

  it('two that change places at the same time both arrive', async () => {
    const bob = { ...mailbox('bob'), shard: 'b' };
    await project(bob);
    for (let round = 0; round < 5; round += 1) {
      await directory.test.directory.startMoves([
        { uuid: ann.uuid, toShard: 'b', objectUid: 'x' },
        { uuid: bob.uuid, toShard: 'a', objectUid: 'x' },
      ]);
      const stepOf = (uuid: string, by: Primary, from: string, to: string) =>
        answer('store', 'move_step', [uuid, by.shard, by.holder, 1, from, to, '{"toEpoch": 1}']);
      const both = (from: string, to: string) =>
        Promise.all([stepOf(ann.uuid, a, from, to), stepOf(bob.uuid, b, from, to)]);
      for (const [from, to] of [
        ['syncing', 'switching'],
        ['switching', 'settling'],
        ['settling', 'switching'],
        ['switching', 'failed'],
      ] as const) {
        expect(await both(from, to)).toEqual([true, true]);
      }
      await directory.test.server.query('posthorn', "UPDATE posthorn.tombstones SET waiting = '{}'");
    }
  });
});

describe('the operator', () => {
  it('starts a move once, and is told why not', async () => {
    expect(await start()).toBeNull();
    expect(await start()).toBeNull();
    expect(await start('b', 'other')).toBe('Moving');
    expect(await directory.test.directory.listMoves()).toHaveLength(1);
    await directory.test.directory.cancelMoves([{ uuid: ann.uuid, why: 'no' }]);
    expect(await start('a')).toBe('AlreadyThere');
    expect(await start('c')).toBe('UnknownShard');
    const nobody = { uuid: randomUUID(), toShard: 'b', objectUid: 'x' };
    expect((await directory.test.directory.startMoves([nobody])).value[0]?.refused).toBe('UnknownMailbox');
  });

  it('cancels what has not changed its shard', async () => {
    await start();
    await step('syncing', 'switching');
    const cancel = async () =>
      (await directory.test.directory.cancelMoves([{ uuid: ann.uuid, why: 'asked to' }])).value;
    expect(await cancel()).toEqual([ann.uuid]);
    expect(await switchOver()).toBe(false);
    expect(await route()).toBe(routeTo('a'));
    expect(await directory.test.directory.listMoves()).toMatchObject([
      { phase: 'failed', report: { message: 'asked to' } },
    ]);
    expect((await directory.test.directory.forgetMoves([ann.uuid])).value).toEqual([ann.uuid]);
    await done('b', 0);
    await done('b', 1);
    await moveAway();
    expect(await cancel()).toEqual([]);
  });

  it('keeps a shard that a mailbox is leaving', async () => {
    await start();
    await step('syncing', 'switching');
    await switchOver();
    expect((await directory.test.directory.projectShards([shard('b', 2)])).value.inUse).toEqual(['a']);
    expect(await step('settling', 'done')).toBe(true);
    expect((await directory.test.directory.projectShards([shard('b', 2)])).value.inUse).toEqual([]);
    expect(await directory.test.directory.listMoves()).toEqual([]);
  });

  it('ends the move of a mailbox that is deleted', async () => {
    await start();
    await step('syncing', 'switching');
    await directory.test.directory.tombstoneMailboxes([{ uuid: ann.uuid, objectUid: ann.object.uid }]);
    expect(await switchOver()).toBe(false);
    expect(await directory.test.directory.listMoves()).toMatchObject([{ phase: 'failed', address: null }]);
    expect(await waiting('b')).toEqual([[ann.uuid, [0, 1]]]);
  });
});

describe('what has to go', () => {
  it('is a copy where a mailbox no longer lives, on each member; before that it does not come back', async () => {
    await moveAway();
    expect(await waiting('a')).toEqual([[ann.uuid, [0, 1]]]);
    expect(await waiting('b')).toEqual([]);
    [a, b] = [b, a];
    expect(await start('a')).toBe('CopyLeft');
    await done('a', 1);
    expect(await start('a')).toBe('CopyLeft');
    await done('a', 0);
    expect(await waiting('a')).toEqual([[ann.uuid, []]]);
    expect(await start('a')).toBeNull();
    expect(await waiting('a')).toEqual([]);
    await step('syncing', 'switching');
    expect(await switchOver()).toBe(true);
    expect(await route()).toBe(routeTo('a'));
  });

  it('is a purged mailbox, on every member: another may be primary by now', async () => {
    await directory.test.directory.tombstoneMailboxes([{ uuid: ann.uuid, objectUid: ann.object.uid }], -1);
    expect(await waiting('a')).toEqual([]);
    await directory.test.server.query('posthorn', 'UPDATE posthorn.mailboxes SET purge_after = now()');
    await answer('store', 'purged', [ann.uuid]);
    expect(await purgeList('a')).toMatchObject([
      { mailbox: ann.uuid, home: `/srv/mail/mailboxes/${ann.uuid.slice(0, 2)}/${ann.uuid}`, waiting: [0, 1] },
    ]);
    // A third member may bring an old volume.
    await directory.test.directory.projectShards([shard('a', 3), shard('b', 2)]);
    await done('a', 0);
    await done('a', 1);
    expect(await waiting('a')).toEqual([[ann.uuid, [2]]]);
    const now = new Date(Date.now() + 120_000).toISOString();
    expect(await call('store', 'purge_list', ['a', now])).toEqual([]);
  });

  it('stays for a minute, in which syncs of a move that was ended are cut off', async () => {
    await start();
    await step('syncing', 'failed');
    expect(await call('store', 'purge_list', ['b', '-infinity'])).toEqual([]);
    expect(await start()).toBe('CopyLeft');
    expect(await waiting('b')).toEqual([[ann.uuid, [0, 1]]]);
  });

  it('is told by a leader whose heartbeat beats, and by nobody else', async () => {
    await moveAway();
    expect(await waiting('a')).toHaveLength(1);
    await caughtUp(directory.test);
    expect(await call('store', 'purge_list', ['a', '-infinity'], replica)).toEqual([]);
    await setHeartbeatAge(directory.test.server, 10);
    expect(await waiting('a')).toEqual([]);
  });
});

it('a shard is the target while a move to it is under way', async () => {
  const target = (name: string, shardName: string) => answer('store', 'move_target', [name, shardName]);
  expect(await target('ann@example.org', 'b')).toBe(false);
  await start();
  expect(await target('Ann@example.org', 'b')).toBe(true);
  expect(await target('ann@example.org', 'a')).toBe(false);
  expect(await target('bob@example.org', 'b')).toBe(false);
  await step('syncing', 'failed');
  expect(await target('ann@example.org', 'b')).toBe(false);
});

import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { caughtUp, mailbox, memberHost, setHeartbeatAge, shard } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';
import { useDirectory } from './testing/use.js';

const directory = useDirectory();
const { project, answer, call } = directory;
let replica: TestPostgres;

beforeAll(async () => {
  replica = await directory.test.server.addReplica('replica_1');
});

const SERVICE = 'mail-store-a.mail.svc.cluster.local';

interface Lease {
  readonly epoch: number;
  readonly primary: number | null;
  readonly holder: string | null;
  readonly renewals: number;
  readonly reservedFor: number | null;
  readonly wanted: number | null;
  readonly members: { member: number; volume: string | null; seeded: boolean; inSync: boolean }[];
}

/** A store pod as the directory sees it. */
function pod(member: number, volume: string = randomUUID()) {
  const holder = randomUUID();
  return {
    member,
    volume,
    holder,
    register: (highest = 0) => ask<Lease>('register_member', ['a', member, volume, highest]),
    /** The volume has been started so often, now by this process. */
    boot: (boots: number, process = randomUUID()) =>
      ask<Lease>('register_member', ['a', member, volume, 0, process, boots]),
    /** As it is now, unless it is said how it was seen. */
    take: async (epoch: number, seen?: number) => {
      const renewals = seen ?? (await lease()).renewals;
      const taken = await ask<string | null>('take_lease', ['a', member, holder, volume, epoch, renewals]);
      return taken === null ? null : Number(taken);
    },
    renew: (epoch: number) => ask<Lease | null>('renew_lease', ['a', member, holder, epoch]),
    release: (epoch: number, to: number | null = null) =>
      ask<boolean>('release_lease', ['a', member, holder, epoch, to]),
    seeded: (epoch: number, other: { member: number; volume: string }, seeded = true) =>
      ask<boolean>('member_seeded', ['a', holder, epoch, other.member, other.volume, seeded]),
    report: (epoch: number, members: object[]) =>
      ask<boolean>('report_replication', ['a', holder, epoch, JSON.stringify({ members })]),
  };
}

const ask = <T>(name: string, values: unknown[]) => answer('store', name, values) as Promise<T>;
const lease = () => ask<Lease>('lease', ['a']);

beforeEach(async () => {
  const { test } = directory;
  await test.server.query('posthorn', 'DELETE FROM posthorn.moves');
  await test.directory.projectShards([]);
  await test.directory.projectShards([shard('a', 3)]);
});

/** Member 0 is the primary of epoch 1, and 1 is seeded. */
async function settled() {
  const [first, second] = [pod(0), pod(1)];
  await first.register();
  await second.register();
  expect(await first.take(0, 0)).toBe(1);
  expect(await first.seeded(1, second)).toBe(true);
  return { first, second };
}

describe('the first primary', () => {
  it('is member 0, with whatever volume', async () => {
    const [first, second] = [pod(0), pod(1)];
    expect(await second.register()).toMatchObject({ epoch: 0, primary: null, holder: null, replicas: 3 });
    expect(await second.take(0, 0)).toBeNull();
    expect(await first.take(0, 0)).toBeNull(); // not registered
    expect(await first.register()).toMatchObject({ members: [{ seeded: true }, { seeded: false }, { volume: null }] });
    expect(await first.take(0, 0)).toBe(1);
    expect(await lease()).toMatchObject({ epoch: 1, primary: 0, holder: first.holder });
    expect(await second.take(1)).toBeNull(); // not seeded
  });

  it('a member that is not declared cannot register', async () => {
    await expect(pod(5).register()).rejects.toThrow('no member 5 of shard a');
    await expect(ask('lease', ['nowhere'])).rejects.toThrow('no shard nowhere');
  });
});

describe('a lease', () => {
  it('is renewed by its holder only, and told whole', async () => {
    const { first, second } = await settled();
    const { renewals } = await lease();
    const renewed = await first.renew(1);
    expect(renewed).toEqual({
      epoch: 1,
      primary: 0,
      holder: first.holder,
      renewals: expect.any(Number),
      reservedFor: null,
      wanted: null,
      durability: 'Replicated',
      withoutReplica: 'Defer',
      replicas: 3,
      moves: 0,
      members: [
        { ...told(0), volume: first.volume, seeded: true },
        { ...told(1), volume: second.volume, seeded: true },
        { ...told(2), volume: null, seeded: false },
      ],
    });
    expect(renewed?.renewals).toBeGreaterThan(renewals);
    expect(await first.renew(2)).toBeNull();
    expect(await second.renew(1)).toBeNull();
    expect(await pod(0, first.volume).renew(1)).toBeNull();
    expect(await lease()).toMatchObject({ renewals: renewed?.renewals });
  });

  const told = (member: number) => ({
    member,
    host: memberHost('a', member),
    port: 10028,
    inSync: false,
    lagChanges: null,
    lagSeconds: null,
  });

  it('is taken only as it was seen; the former holder has it no longer', async () => {
    const { first, second } = await settled();
    const { renewals } = await lease();
    await first.renew(1);
    expect(await second.take(1, renewals)).toBeNull(); // it was renewed meanwhile
    expect(await second.take(0)).toBeNull();
    expect(await second.take(1)).toBe(2);
    expect(await first.renew(1)).toBeNull();
    expect(await first.renew(2)).toBeNull();
    expect(await first.release(1)).toBe(false);
    expect(await first.seeded(1, second, false)).toBe(false);
    expect(await first.report(1, [{ member: 1, inSync: true }])).toBe(false);
    expect(await second.renew(2)).toMatchObject({ primary: 1 });
  });

  it('goes to one of many who want it at the same moment', async () => {
    const { first, second } = await settled();
    const clients = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const client = new pg.Client(directory.test.server.as('posthorn_store'));
        await client.connect();
        return client;
      }),
    );
    try {
      for (let round = 0; round < 30; round += 1) {
        const { epoch, renewals } = await lease();
        const results = await Promise.all(
          clients.map((client, i) => {
            const { member, volume } = i % 2 === 0 ? first : second;
            const values = ['a', member, randomUUID(), volume, epoch, renewals];
            return client.query<{ taken: string | null }>(
              'SELECT directory_v1.take_lease($1, $2, $3, $4, $5, $6) AS taken',
              values,
            );
          }),
        );
        const taken = results.map(({ rows }) => rows[0]?.taken).filter((value) => value !== null);
        expect(taken).toEqual([String(epoch + 1)]);
      }
    } finally {
      await Promise.all(clients.map((client) => client.end()));
    }
  });

  it('a renewal and somebody who takes it never both succeed', async () => {
    const { first, second } = await settled();
    let [holder, other, epoch] = [first, second, 1];
    for (let round = 0; round < 60; round += 1) {
      const { renewals } = await lease();
      const [renewed, taken] = await Promise.all([holder.renew(epoch), other.take(epoch, renewals)]);
      expect((renewed === null) === (taken !== null)).toBe(true);
      if (taken !== null) [holder, other, epoch] = [other, holder, taken];
    }
    expect((await lease()).epoch).toBe(epoch);
  });

  it('leaves no trace of renewals: the row is rewritten in its page, and no look-up reads it', async () => {
    const { first } = await settled();
    const { server } = directory.test;
    const before = await server.query('posthorn', 'SELECT xmin::text FROM posthorn.shards');
    const client = new pg.Client(server.as('posthorn_store'));
    await client.connect();
    for (let i = 0; i < 500; i += 1) {
      await client.query('SELECT directory_v1.renew_lease($1, $2, $3, $4)', ['a', 0, first.holder, 1]);
    }
    await client.end();
    expect(await server.query('posthorn', 'SELECT xmin::text FROM posthorn.shards')).toEqual(before);
    // A page more, should a snapshot be open that still needs old versions.
    const [size] = await server.query<{ pages: number }>(
      'posthorn',
      "SELECT (pg_relation_size('posthorn.leases') / 8192)::int AS pages",
    );
    expect(size?.pages).toBeLessThanOrEqual(2);
  });

  it('given back, it waits for whom it is reserved; who watches begins anew', async () => {
    const { first, second } = await settled();
    expect(await second.release(1)).toBe(false);
    const { renewals } = await lease();
    expect(await first.release(1, 1)).toBe(true);
    expect(await lease()).toMatchObject({ epoch: 1, primary: 0, holder: null, reservedFor: 1 });
    expect(await first.renew(1)).toBeNull();
    expect(await first.release(1, 1)).toBe(false);
    expect(await second.take(1, renewals)).toBeNull();
    expect(await second.take(1)).toBe(2);
    expect(await lease()).toMatchObject({ primary: 1, holder: second.holder, reservedFor: null });
  });

  it('is never had from a replica', async () => {
    const { first, second } = await settled();
    await caughtUp(directory.test);
    const values = { lease: ['a'], renew_lease: ['a', 0, first.holder, 1] };
    const more = {
      take_lease: ['a', 1, second.holder, second.volume, 1, 0],
      release_lease: ['a', 0, first.holder, 1, null],
      register_member: ['a', 0, first.volume, 1],
      report_member: ['a', 0, first.volume, '{}'],
      member_seeded: ['a', first.holder, 1, 1, second.volume, true],
      report_replication: ['a', first.holder, 1, '{}'],
      moves: ['a'],
      move_step: [randomUUID(), 'a', first.holder, 1, 'syncing', 'switching', null],
    };
    for (const [name, args] of Object.entries({ ...values, ...more })) {
      await expect(answer('store', name, args, replica), name).rejects.toMatchObject({ code: '25006' });
    }
  });
});

describe('volumes', () => {
  it('another volume has to be filled before its member is promoted', async () => {
    const { first, second } = await settled();
    await first.report(1, [{ member: 1, inSync: true, lagChanges: 0 }]);
    expect((await second.register()).members[1]).toMatchObject({ seeded: true, inSync: true });
    const empty = pod(1);
    expect((await empty.register()).members[1]).toMatchObject({ volume: empty.volume, seeded: false, inSync: false });
    expect(await empty.take(1)).toBeNull();
    expect(await second.take(1)).toBeNull(); // the volume that was
    expect(await first.seeded(1, second)).toBe(false); // compared with a volume that isn't there any more
    expect(await first.seeded(1, empty)).toBe(true);
    expect(await empty.take(1)).toBe(2);
  });

  it('an empty one does not even help member 0 once there was a primary', async () => {
    const { second } = await settled();
    const empty = pod(0);
    await empty.register();
    expect(await empty.take(1)).toBeNull();
    expect(await directory.test.directory.acceptVolume({ shard: 'a', member: 0, volume: second.volume })).toMatchObject(
      {
        value: false,
      },
    );
    expect(await directory.test.directory.acceptVolume({ shard: 'a', ...empty })).toMatchObject({ value: true });
    expect(await empty.take(1)).toBe(2);
  });

  it('a directory of an earlier time goes on above the epochs that volumes have seen', async () => {
    const { first, second } = await settled();
    // Nor does it know who was the last primary.
    expect(await second.register(7)).toMatchObject({ epoch: 7, holder: null, primary: null });
    expect(await first.renew(1)).toBeNull();
    expect(await first.take(1)).toBeNull();
    await second.register(6);
    expect(await second.take(7)).toBe(8);
    await expect(second.register(2 ** 50)).rejects.toThrow('an epoch that there cannot be');
    expect(await second.renew(8)).toMatchObject({ epoch: 8 });
  });

  it('one that was rolled back has to be compared before its member is promoted', async () => {
    const { first, second } = await settled();
    const sure = async () => (await lease()).members.map(({ seeded, inSync }) => (seeded ? 1 : 0) + (inSync ? 1 : 0));
    await first.report(1, [{ member: 1, inSync: true }]);
    const third = randomUUID();
    for (const [boots, process] of [[1], [2], [4, third], [4, third]] as const) await second.boot(boots, process);
    await second.register();
    expect(await sure()).toEqual([1, 2, 0]);
    // Started as often as is known already, by another process: from a snapshot of the time before the last start.
    expect(await second.boot(4)).toMatchObject({ members: [{ seeded: true }, { seeded: false, inSync: false }, {}] });
    expect(await second.take(1)).toBeNull();
    await first.seeded(1, second);
    await first.report(1, [{ member: 1, inSync: true }]);
    await second.boot(5);
    expect(await sure()).toEqual([1, 2, 0]);
    await second.boot(3);
    expect(await sure()).toEqual([1, 0, 0]);
    // It is counted from there.
    await first.seeded(1, second);
    await second.boot(4);
    expect(await sure()).toEqual([1, 1, 0]);
  });

  it('of copies that were all rolled back one is taken as it is', async () => {
    const { first, second } = await settled();
    for (const one of [first, second]) await one.boot(5);
    await first.boot(2);
    await second.boot(2);
    expect((await lease()).members.map(({ seeded }) => seeded)).toEqual([false, true, false]);
  });
});

describe('people and mail', () => {
  const route = (server?: TestPostgres) => answer('mx', 'route', ['ann@example.org'], server);
  const place = async () => (await call('proxy', 'credentials', ['ann@example.org']))[0];

  it('go to the primary', async () => {
    await project(mailbox('ann'));
    expect(await route()).toBe(`lmtp:inet:${SERVICE}:10024`);
    expect(await place()).toMatchObject({ host: SERVICE, epoch: '0' });
    const { first, second } = await settled();
    expect(await route()).toBe(`lmtp:inet:${memberHost('a', 0)}:10024`);
    expect(await place()).toMatchObject({ host: memberHost('a', 0), epoch: '1' });
    await second.take(1);
    expect(await route()).toBe(`lmtp:inet:${memberHost('a', 1)}:10024`);
    expect(await place()).toMatchObject({ host: memberHost('a', 1), epoch: '2' });
    expect(await call('proxy', 'shard_epochs', [])).toEqual([{ shard: 'a', epoch: '2', host: memberHost('a', 1) }]);
    await second.release(2, 0);
    expect(await place()).toMatchObject({ host: memberHost('a', 0), epoch: '2' });
    expect(await first.take(2)).toBe(3);
    await caughtUp(directory.test);
    expect(await route(replica)).toBe(`lmtp:inet:${memberHost('a', 0)}:10024`);
  });

  it('wait while there is none; but submission needs none', async () => {
    await project(mailbox('ann'));
    const { first } = await settled();
    await first.release(1);
    expect(await route()).toBe('retry:4.3.0 shard has no primary now');
    await expect(place()).rejects.toThrow('no store now');
    expect(await call('submission', 'credentials', ['ann@example.org'])).toMatchObject([{ may_send: true, host: '' }]);
    expect(await call('proxy', 'shard_epochs', [])).toMatchObject([{ host: null }]);
    expect(await call('proxy', 'credentials', ['nobody@example.org'])).toEqual([]);
  });

  it('of a shard with one member go to its Service, whoever holds what', async () => {
    await directory.test.directory.projectShards([shard('a', 1)]);
    await project(mailbox('ann'));
    const first = pod(0);
    await first.register();
    await first.take(0, 0);
    expect(await route()).toBe(`lmtp:inet:${SERVICE}:10024`);
    expect(await place()).toMatchObject({ host: SERVICE, epoch: '1' });
    await first.release(1);
    expect(await route()).toBe(`lmtp:inet:${SERVICE}:10024`);
  });

  it('the store finds mailboxes by address and back', async () => {
    const ann = mailbox('ann', { aliases: ['bob@example.org'] });
    await project(ann);
    const of = (address: string) => answer('store', 'mailbox_of', [address]);
    for (const address of ['ann@example.org', 'Ann+List@Example.org.', 'bob@example.org']) {
      expect(await of(address)).toBe(ann.uuid);
    }
    for (const address of ['+x@example.org', 'nobody@example.org', 'ann', '']) expect(await of(address)).toBeNull();
    expect(await answer('store', 'address_of', [ann.uuid])).toBe('ann@example.org');
    expect(await answer('store', 'address_of', [randomUUID()])).toBeNull();
    await directory.test.directory.tombstoneMailboxes([{ uuid: ann.uuid, objectUid: ann.object.uid }]);
    expect(await answer('store', 'address_of', [ann.uuid])).toBeNull();
    await setHeartbeatAge(directory.test.server, 61);
    await expect(of('ann@example.org')).rejects.toThrow('too old');
  });
});

describe('the operator', () => {
  it('writes only what differs, and removes members, but not the primary', async () => {
    const { first, second } = await settled();
    const { directory: operator, server } = directory.test;
    const versions = () =>
      server.query(
        'posthorn',
        `SELECT xmin::text, name FROM posthorn.shards UNION ALL SELECT xmin::text, host FROM posthorn.shard_members
         UNION ALL SELECT xmin::text, shard FROM posthorn.leases ORDER BY 1, 2`,
      );
    const before = await versions();
    expect(await operator.projectShards([shard('a', 3)])).toMatchObject({ value: { inUse: [], membersInUse: [] } });
    expect(await versions()).toEqual(before);
    const only = { ...shard('a', 3), members: [{ member: 1, host: memberHost('a', 1) }], replicas: 1 };
    const kept = { value: { inUse: [], membersInUse: [{ shard: 'a', member: 0 }] } };
    expect(await operator.projectShards([only])).toMatchObject(kept);
    expect((await lease()).members.map(({ member }) => member)).toEqual([0, 1]);
    await first.release(1, 1);
    await second.take(1);
    expect(await operator.projectShards([only])).toMatchObject({ value: { membersInUse: [] } });
    expect((await lease()).members.map(({ member }) => member)).toEqual([1]);
    expect(await operator.projectShards([])).toMatchObject({ value: { inUse: [] } });
  });

  it('is told how shards are', async () => {
    const { first, second } = await settled();
    const at = '2026-11-24T10:00:00.000Z';
    await first.report(1, [
      { member: 1, inSync: true, lagChanges: 2, lagSeconds: 0.5, lastCompare: at, divergent: 0 },
      { member: 7, inSync: true },
    ]);
    expect(await ask('report_member', ['a', 1, second.volume, '{"usedBytes": 5}'])).toBe(true);
    expect(await ask('report_member', ['a', 1, randomUUID(), '{}'])).toBe(false);
    await project(mailbox('ann'));
    const [state] = await directory.test.directory.shardStates();
    expect(state).toMatchObject({ name: 'a', mailboxes: 1, primary: 0, epoch: 1, replicas: 3, holder: first.holder });
    expect(state?.members[1]).toMatchObject({ inSync: true, lagChanges: 2, lagSeconds: 0.5, divergent: 0 });
    expect(state?.members[1]).toMatchObject({ lastCompare: new Date(at), facts: { usedBytes: 5 } });
    await first.report(1, [{ member: 1, inSync: false }]);
    const [after] = await directory.test.directory.shardStates();
    expect(after?.members[1]).toMatchObject({ inSync: false, lagChanges: 2 });
  });

  it('asks for a handover, which is over when there is another primary', async () => {
    const { first, second } = await settled();
    const want = async (member: number | null) => (await directory.test.directory.wantPrimary('a', member)).value;
    expect(await want(0)).toBe(false);
    expect(await want(2)).toBe(false); // not seeded
    expect(await want(1)).toBe(true);
    expect(await want(1)).toBe(true);
    expect(await first.renew(1)).toMatchObject({ wanted: 1 });
    expect(await want(null)).toBe(true);
    expect(await first.renew(1)).toMatchObject({ wanted: null });
    await want(1);
    await first.release(1, 1);
    await second.take(1);
    expect(await lease()).toMatchObject({ wanted: null, primary: 1 });
  });
});

/** What becomes of a lease when the directory's leader is cut off, or is replaced by a member that has forgotten something. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { callOn, caughtUp, shard, startDirectory, type TestDirectory } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';

let test: TestDirectory;
let leader: TestPostgres;
const [first, second] = [store(0), store(1)];

beforeEach(async () => {
  test = await startDirectory();
  leader = test.server;
  await test.directory.projectShards([shard('a', 2)]);
  await first.register(0);
  await second.register(0);
  expect(await first.take(0)).toBe('1');
  expect(await ask('member_seeded', ['a', first.holder, 1, 1, second.volume, true])).toBe(true);
});

afterEach(async () => {
  await test?.stop();
});

function store(member: number) {
  const [holder, volume] = [randomUUID(), randomUUID()];
  return {
    holder,
    volume,
    register: (highest: number) => ask('register_member', ['a', member, volume, highest]),
    renew: (epoch: number) => ask('renew_lease', ['a', member, holder, epoch]),
    take: async (epoch: number) => {
      const { renewals } = (await ask('lease', ['a'])) as { renewals: number };
      return ask('take_lease', ['a', member, holder, volume, epoch, renewals]);
    },
  };
}

async function ask(name: string, values: unknown[]): Promise<unknown> {
  return Object.values((await callOn(leader, 'store', name, values))[0] ?? {})[0];
}

/** No more WAL for the replica; what the leader writes from now on is lost with it. */
async function cut(replica: TestPostgres): Promise<void> {
  await replica.query('postgres', "ALTER SYSTEM SET primary_conninfo = ''");
  await replica.query('postgres', 'SELECT pg_reload_conf()');
  const connected = () => leader.query('postgres', 'SELECT FROM pg_stat_replication');
  await expect.poll(connected, { timeout: 10_000 }).toEqual([]);
}

async function promote(replica: TestPostgres): Promise<void> {
  await replica.query('postgres', 'SELECT pg_promote()');
  leader = replica;
}

it('who was forgotten as primary does not go on, and its volume lifts the directory above the lost epoch', async () => {
  const replica = await leader.addReplica('replica_1');
  await caughtUp(test);
  await cut(replica);
  // Only without a synchronous replica is this possible at all.
  expect(await second.take(1)).toBe('2');
  expect(await second.renew(2)).toMatchObject({ epoch: 2 });
  await promote(replica);
  expect(await ask('lease', ['a'])).toMatchObject({ epoch: 1, holder: first.holder });
  expect(await second.renew(2)).toBeNull();
  // Its process ends, the next one knows from its volume that there was an epoch 2.
  expect(await second.register(2)).toMatchObject({ epoch: 2, holder: null });
  expect(await first.renew(1)).toBeNull();
  expect(await first.take(1)).toBeNull();
  expect(await second.take(2)).toBe('3');
  const places = await callOn(leader, 'proxy', 'shard_epochs', []);
  expect(places).toMatchObject([{ epoch: '3', host: expect.stringContaining('mail-store-a-1.') }]);
});

it('a renewal that was seen and forgotten never looks like another', async () => {
  const replica = await leader.addReplica('replica_1');
  await caughtUp(test);
  await cut(replica);
  const seen = (await first.renew(1)) as { renewals: number };
  await promote(replica);
  expect(await first.renew(1)).toMatchObject({ epoch: 1 });
  const values = ['a', 1, second.holder, second.volume, 1, seen.renewals];
  expect(await ask('take_lease', values)).toBeNull();
});

it('a leader without its synchronous replica confirms nothing, whatever the session asks for', async () => {
  const before = await ask('lease', ['a']);
  await leader.query('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'gone'");
  await leader.query('postgres', 'SELECT pg_reload_conf()');
  const waiting = [
    ["SELECT directory_v1.renew_lease('a', 0, $1, 1)", [first.holder]],
    ["SELECT directory_v1.release_lease('a', 0, $1, 1, 1)", [first.holder]],
  ] as const;
  const clients = waiting.map(
    () => new pg.Client({ ...leader.as('posthorn_store'), options: '-c synchronous_commit=off' }),
  );
  await Promise.all(clients.map((client) => client.connect()));
  try {
    let answered = 0;
    const asked = waiting.map(([sql, values], i) =>
      clients[i]?.query(sql, [...values]).then(() => {
        answered += 1;
      }),
    );
    await sleep(1_000);
    expect(answered).toBe(0);
    expect(await ask('lease', ['a'])).toEqual(before);
    await leader.query('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
    await leader.query('postgres', 'SELECT pg_reload_conf()');
    await Promise.all(asked);
    expect(await ask('lease', ['a'])).toMatchObject({ holder: null, reservedFor: 1 });
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
});

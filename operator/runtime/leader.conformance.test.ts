import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Client, createClient } from './client.js';
import { type Leader, type LeaderOptions, runLeaderElection } from './leader.js';
import { silentLog } from './log.js';
import { builtin, type KubeObject } from './object.js';
import { type FaultProxy, startProxy } from './testing/proxy.js';
import { createNamespace, eventually, sharedApiServer, sharedClient } from './testing/shared.js';

interface Lease extends KubeObject {
  spec: { holderIdentity: string; leaseTransitions: number };
}

const times = { leaseMs: 2_000, renewMs: 1_200, retryMs: 150 };
let direct: Client;
let namespace: string;
const open: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
  direct = await sharedClient();
});
afterAll(() => direct.close());
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

interface Candidate {
  leader: Leader;
  proxy: FaultProxy;
  lost: string[];
}

/** A candidate with a network of its own. */
async function candidate(identity: string, options: Partial<LeaderOptions> = {}): Promise<Candidate> {
  const proxy = await startProxy(await sharedApiServer());
  const client = createClient(proxy.connection);
  const lost: string[] = [];
  const onLost = (reason: string): void => void lost.push(reason);
  const leader = runLeaderElection({
    client,
    namespace,
    name: 'test',
    identity,
    onLost,
    log: silentLog,
    ...times,
    ...options,
  });
  open.push(
    () => proxy.close(),
    () => client.close(),
    () => leader.stop(),
  );
  return { leader, proxy, lost };
}

const lease = (): Promise<Lease> => direct.get<Lease>(builtin.lease, { namespace, name: 'test' });

it('one of two leads, never both; after a crash the other takes over', async () => {
  namespace = await createNamespace(direct, 'leader');
  const a = await candidate('a');
  const b = await candidate('b');
  let both = 0;
  const watcher = setInterval(() => (both += a.leader.isLeader() && b.leader.isLeader() ? 1 : 0), 2);
  open.push(() => clearInterval(watcher));
  await Promise.race([a.leader.acquired, b.leader.acquired]);
  const [first, second] = a.leader.isLeader() ? [a, b] : [b, a];
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  expect([first.leader.isLeader(), second.leader.isLeader()]).toEqual([true, false]);

  first.proxy.refuse(true);
  first.proxy.cut();
  const crashed = Date.now();
  await second.leader.acquired;
  const took = Date.now() - crashed;
  expect(took).toBeGreaterThan(times.leaseMs - times.retryMs * 3);
  expect(took).toBeLessThan(times.leaseMs * 2.5);
  expect(first.leader.isLeader()).toBe(false);
  await eventually(() => expect(first.lost).toHaveLength(1));
  expect(both).toBe(0);
  expect((await lease()).spec.leaseTransitions).toBe(1);
});

it('a stalled network is a loss too, noticed before anyone else may lead', async () => {
  namespace = await createNamespace(direct, 'leader');
  const a = await candidate('a');
  await a.leader.acquired;
  const b = await candidate('b');
  a.proxy.stall(true);
  await eventually(() => expect(a.lost).toHaveLength(1));
  expect(b.leader.isLeader()).toBe(false);
  a.proxy.stall(false);
  await b.leader.acquired;
  expect(a.leader.isLeader()).toBe(false);
});

it('a graceful stop hands over at once', async () => {
  namespace = await createNamespace(direct, 'leader');
  const long = { leaseMs: 15_000, renewMs: 10_000, retryMs: 150 };
  const a = await candidate('a', long);
  await a.leader.acquired;
  const b = await candidate('b', long);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const stopped = Date.now();
  await a.leader.stop();
  expect(a.leader.isLeader()).toBe(false);
  await b.leader.acquired;
  expect(Date.now() - stopped).toBeLessThan(2_000);
  expect(a.lost).toEqual([]);
});

it('survives conflicts from somebody who edits the lease, errors and lost answers', async () => {
  namespace = await createNamespace(direct, 'leader');
  const a = await candidate('a', { leaseMs: 6_000, renewMs: 5_000 });
  await a.leader.acquired;
  let turn = 0;
  a.proxy.intercept(({ method }) => {
    if (method === 'GET') return undefined;
    turn += 1;
    return [undefined, { status: 500 }, { status: 0, afterForwarding: true, cut: true }][turn % 3];
  });
  for (let edit = 0; edit < 10; edit += 1) {
    const patch = { metadata: { labels: { edit: String(edit) } } };
    await direct.patchMerge(builtin.lease, { namespace, name: 'test' }, patch, { fieldManager: 'test' });
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect(turn).toBeGreaterThan(5);
  expect(a.lost).toEqual([]);
  expect(a.leader.isLeader()).toBe(true);
  expect((await lease()).metadata.labels).toEqual({ edit: '9' });
});

it('gives way when another has taken the lease', async () => {
  namespace = await createNamespace(direct, 'leader');
  const a = await candidate('a');
  await a.leader.acquired;
  await direct.patchMerge(
    builtin.lease,
    { namespace, name: 'test' },
    { spec: { holderIdentity: 'thief' } },
    { fieldManager: 'test' },
  );
  await eventually(() => expect(a.lost[0]).toContain('thief'));
  expect(a.leader.isLeader()).toBe(false);
});

it('is no longer the leader when its process was frozen, before anything of it has run', async () => {
  namespace = await createNamespace(direct, 'leader');
  let frozen = 0;
  const clock = {
    now: () => performance.now() + frozen,
    wall: () => new Date(),
    after: (ms: number, run: () => void) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
  };
  const a = await candidate('a', { clock });
  await a.leader.acquired;
  expect(a.leader.isLeader()).toBe(true);
  frozen = times.renewMs;
  expect(a.leader.isLeader()).toBe(false);
});

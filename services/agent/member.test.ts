import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { shard as shardRow } from '../../operator/directory/testing/directory.js';
import { useDirectory } from '../../operator/directory/testing/use.js';
import type { Member } from './member.js';
import type { Role } from './ports.js';
import { findAll } from './processes.js';
import { createShard, type Pod, type Shard } from './testing/members.js';

const directory = useDirectory();
let count = 0;
let name = '';
let shard: Shard;
let members: Member[] = [];

beforeEach(async () => {
  name = `s${++count}`;
  shard = await createShard(name, directory.test.server);
});
afterEach(async () => {
  await Promise.all(members.splice(0).map((member) => member.stop()));
  await shard.remove();
});

async function project(replicas: number): Promise<void> {
  const shards = Array.from({ length: count }, (_, index) =>
    shardRow(`s${index + 1}`, `s${index + 1}` === name ? replicas : 1),
  );
  await directory.test.directory.projectShards([shardRow('a'), ...shards]);
}

async function start(pod: Pod): Promise<Member> {
  const member = await shard.start(pod);
  members.push(member);
  return member;
}

async function until<T>(what: string, look: () => T | undefined | false, withinMs = 6_000): Promise<T> {
  const end = performance.now() + withinMs;
  for (;;) {
    const found = look();
    if (found) return found;
    if (performance.now() > end) throw new Error(`${what}: not within ${withinMs} ms`);
    await sleep(10);
  }
}

const becomes = (member: Member, role: Role, withinMs?: number) =>
  until(`member ${member.state().member} becomes ${role}`, () => member.state().role === role, withinMs);

/** Pids of the fake Dovecot of a pod that write. */
function writers(pod: Pod): Set<string> {
  const file = join(pod.run, 'writes');
  if (!existsSync(file)) return new Set();
  return new Set(readFileSync(file, 'utf8').split('\n').filter(Boolean));
}

const size = (pod: Pod): number =>
  existsSync(join(pod.run, 'writes')) ? readFileSync(join(pod.run, 'writes')).length : 0;

/** A primary and replicas that are seeded and in sync. */
async function startAll(replicas: number): Promise<{ pods: Pod[]; all: Member[] }> {
  await project(replicas);
  const pods = await Promise.all(Array.from({ length: replicas }, (_, member) => shard.pod(member)));
  const all: Member[] = [];
  for (const pod of pods) all.push(await start(pod));
  const [primary, ...others] = all as [Member, ...Member[]];
  await becomes(primary, 'primary');
  for (const other of others) {
    await becomes(other, 'replica');
    await seed(primary, other);
  }
  return { pods, all };
}

const post = (member: Member, path: string, body: object) =>
  fetch(`http://127.0.0.1:${member.port}${path}`, { method: 'POST', body: JSON.stringify(body) });

async function seed(primary: Member, other: Member): Promise<void> {
  const { member, volume } = other.state();
  expect(await (await post(primary, '/v1/seeded', { member, volume, seeded: true })).json()).toEqual({ ok: true });
  const report = { members: [{ member, inSync: true, lagChanges: 0, lagSeconds: 0 }] };
  expect(await (await post(primary, '/v1/report', report)).json()).toEqual({ ok: true });
  await until('the replica knows it', () => other.state().seeded);
  await until('the primary knows it', () =>
    primary.state().peers.some((peer) => peer.member === member && peer.inSync),
  );
}

async function lease(): Promise<{ epoch: number; primary: number; holder: string | null }> {
  return (await directory.answer('posthorn_store'.replace('posthorn_', ''), 'lease', [name])) as never;
}

describe('a shard with one member', () => {
  it('is primary at once, and again after a restart', async () => {
    await project(1);
    const pod = await shard.pod(0);
    const began = performance.now();
    const first = await start(pod);
    await becomes(first, 'primary');
    expect(performance.now() - began).toBeLessThan(2_000);
    expect(first.state()).toMatchObject({ epoch: 1, replicas: 1, peers: [], promotion: 'restart' });
    expect(readFileSync(join(pod.run, 'role'), 'utf8')).toBe('primary\n');
    await members.splice(0)[0]?.stop();
    expect(await lease()).toMatchObject({ holder: null, epoch: 1 });
    const second = await start(pod);
    await becomes(second, 'primary', 1_500);
    expect(second.state()).toMatchObject({ epoch: 2, volume: first.state().volume });
  });

  it('goes on without the directory, starts without it, and takes a lease when it is back', async () => {
    await project(1);
    const pod = await shard.pod(0);
    const first = await start(pod);
    await becomes(first, 'primary');
    pod.cut(true);
    await sleep(3_000);
    expect(first.state().role).toBe('primary');
    expect(writers(pod).size).toBe(1);
    await members.splice(0)[0]?.stop();
    const second = await start(pod);
    await becomes(second, 'primary', 3_000);
    expect(second.state().epoch).toBe(1);
    pod.cut(false);
    await until('it has a lease again', () => second.state().epoch === 2);
    expect(second.state().role).toBe('primary');
    // The Dovecot that was there has been told; nobody was cut off.
    expect(writers(pod).size).toBe(2);
    await until('mode.conf', () => readFileSync(join(pod.run, 'mode.conf'), 'utf8').includes('POSTHORN_EPOCH = 2'));
  });

  it('refuses to be primary with an empty volume in place of its own', async () => {
    await project(1);
    const first = await start(await shard.pod(0));
    await becomes(first, 'primary');
    await members.splice(0)[0]?.stop();
    const other = await start(await shard.pod(0));
    await sleep(2_500);
    expect(other.state()).toMatchObject({ role: 'stopped', seeded: false });
  });
});

describe('a shard with replicas', () => {
  it('kills Dovecot with all that it has started before another member is primary', async () => {
    const { pods, all } = await startAll(2);
    const [first, second] = all as [Member, Member];
    const [firstPod, secondPod] = pods as [Pod, Pod];
    firstPod.cut(true);
    await until('the primary gives up', () => first.state().role !== 'primary', 3_000);
    const written = size(firstPod);
    expect(second.state().role).not.toBe('primary');
    await becomes(second, 'primary');
    expect(second.state()).toMatchObject({ epoch: 2, promotion: 'failover' });
    expect(shard.calls).toContain('1 replays for epoch 2');
    expect(size(firstPod)).toBeLessThanOrEqual(written + 16);
    expect([...writers(secondPod)].some((line) => line.startsWith('primary'))).toBe(true);
    firstPod.cut(false);
    await becomes(first, 'replica');
    expect(first.state().epoch).toBe(2);
  });

  it('goes on without the directory as long as the others promise', async () => {
    const { pods, all } = await startAll(3);
    const [first, ...others] = all as [Member, Member, Member];
    for (const pod of pods) pod.cut(true);
    await sleep(4_000);
    expect(first.state()).toMatchObject({ role: 'primary', epoch: 1 });
    expect(writers(pods[0] as Pod).size).toBe(1);
    shard.unreachable.add(2);
    await until('one promise is missing', () => first.state().role !== 'primary', 3_000);
    for (const pod of pods) pod.cut(false);
    await until('somebody is primary', () => all.some((member) => member.state().role === 'primary'));
    expect(others.length + 1 - all.filter((member) => member.state().role === 'primary').length).toBe(2);
  });

  it('hands over in order when it is asked', async () => {
    const { pods, all } = await startAll(2);
    const [first, second] = all as [Member, Member];
    await directory.project({ ...(await import('../../operator/directory/testing/directory.js')).mailbox('jo') });
    const began = performance.now();
    expect(await (await post(first, '/v1/handover', {})).json()).toEqual({ to: 1 });
    await becomes(second, 'primary', 3_000);
    expect(performance.now() - began).toBeLessThan(2_000);
    expect(second.state()).toMatchObject({ epoch: 2, promotion: 'planned' });
    expect(shard.calls).toContain('0 syncs 0 to 1');
    await becomes(first, 'replica');
    expect(pods).toHaveLength(2);
  });

  it('hands over when the directory wants it, and when its pod is stopped', async () => {
    const { all } = await startAll(2);
    const [first, second] = all as [Member, Member];
    await directory.test.directory.wantPrimary(name, 1);
    await becomes(second, 'primary');
    await becomes(first, 'replica');
    const report = { members: [{ member: 0, inSync: true, lagChanges: 0, lagSeconds: 0 }] };
    await post(second, '/v1/report', report);
    await until('it is in sync', () => second.state().peers[0]?.inSync);
    members = members.filter((member) => member !== second);
    await second.stop();
    await becomes(first, 'primary', 1_500);
    expect(first.state()).toMatchObject({ epoch: 3, promotion: 'planned' });
  });

  it('starts a Dovecot again that has died, with all its children killed', async () => {
    const { pods, all } = await startAll(2);
    const [pod] = pods as [Pod];
    const [first] = all as [Member];
    const [group] = readFileSync(join(pod.run, 'deadline'), 'utf8').split(' ').map(Number) as [number];
    process.kill(group, 'SIGKILL');
    await until('another one', () => writers(pod).size === 2);
    await becomes(first, 'primary');
    expect(first.state().epoch).toBe(1);
    expect(findAll(group, [])).toEqual([]);
  });

  it('gives up what does not work here', async () => {
    const { pods, all } = await startAll(2);
    const [first, second] = all as [Member, Member];
    const [pod] = pods as [Pod];
    await writeFile(join(pod.run, 'broken'), '');
    process.kill(-(readFileSync(join(pod.run, 'deadline'), 'utf8').split(' ').map(Number)[0] as number), 'SIGKILL');
    await becomes(second, 'primary', 10_000);
    expect(first.state().role).not.toBe('primary');
  });
});

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../directory/testing/postgres.js';
import type { Client } from '../../runtime/client.js';
import { builtin, type KubeObject } from '../../runtime/object.js';
import { createNamespace, eventually, installCrds, sharedClient } from '../../runtime/testing/shared.js';
import { CRDS, type Kubectl, kubectl, startOperator, type TestOperator } from '../../testing/operator.js';
import type { PodObject } from '../observe.js';
import { roleLabel } from './observe.js';

let client: Client;
let namespace: string;
let postgres: TestPostgres;
let operator: TestOperator;
let k: Kubectl;
let nodes: [string, string];
const by = { fieldManager: 'test' };

/** The agents of a shard with two members: all that they do in the directory. */
const volumes = [randomUUID(), randomUUID()];
let term: { member: number; holder: string; epoch: number } | undefined;
let renewing: NodeJS.Timeout | undefined;

const store = async <T>(sql: string, values: unknown[] = []): Promise<T> =>
  (await postgres.query<{ answer: T }>('posthorn_store', `SELECT directory_v1.${sql} AS answer`, values))[0]
    ?.answer as T;
const renew = async (): Promise<void> => {
  if (term === undefined) return;
  await store('renew_lease($1, $2, $3, $4)', ['a', term.member, term.holder, term.epoch]).catch(() => undefined);
};
async function take(member: number): Promise<void> {
  const lease = await store<{ epoch: number; renewals: number }>('lease($1)', ['a']);
  const holder = randomUUID();
  const values = ['a', member, holder, volumes[member], lease.epoch, lease.renewals];
  const epoch = Number(await store('take_lease($1, $2, $3, $4, $5, $6)', values));
  expect(epoch).toBe(lease.epoch + 1);
  term = { member, holder, epoch };
}
const replication = (member: number, inSync: boolean, lagChanges = 0) =>
  store('report_replication($1, $2, $3, $4)', [
    'a',
    term?.holder,
    term?.epoch,
    JSON.stringify({ members: [{ member, inSync, lagChanges, lagSeconds: inSync ? 0 : 70 }] }),
  ]);

async function createPod(member: number, revision = 'r1'): Promise<void> {
  const name = `mail-store-a-${member}`;
  const labels = {
    'app.kubernetes.io/name': 'posthorn',
    'app.kubernetes.io/instance': 'mail',
    'app.kubernetes.io/component': 'store',
    'posthorn.dev/shard': 'a',
    'controller-revision-hash': revision,
  };
  const spec = {
    nodeName: nodes[member],
    terminationGracePeriodSeconds: 0,
    containers: ['dovecot', 'replicator'].map((container) => ({ name: container, image: 'none' })),
  };
  await client.create(
    builtin.pod,
    { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels }, spec } as KubeObject,
    by,
  );
  const lastTransitionTime = '2026-01-01T00:00:00Z';
  const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime }];
  await client.patchStatus(builtin.pod, { namespace, name }, { status: { phase: 'Running', conditions } }, by);
}

const pod = (member: number) => client.find<PodObject>(builtin.pod, { namespace, name: `mail-store-a-${member}` });
const role = async (member: number) => (await pod(member))?.metadata.labels?.[roleLabel];
const wanted = async () => (await store<{ wanted: number | null }>('lease($1)', ['a'])).wanted;
const cordon = (node: string, unschedulable: boolean) =>
  client.patchMerge(builtin.node, { name: node }, { spec: { unschedulable } }, by);
const replicas = () => k.get('system', 'mail').then(({ status }) => status?.shards?.[0]);

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, CRDS);
  postgres = await startPostgres();
  namespace = await createNamespace(client, 'shards');
  nodes = [`${namespace}-0`, `${namespace}-1`];
  for (const name of nodes) {
    await client.create(builtin.node, { apiVersion: 'v1', kind: 'Node', metadata: { name } }, by);
    // The API server adds the taint not-ready, which kubelet would have taken away.
    await client.patchMerge(builtin.node, { name }, { spec: { taints: null } }, by);
  }
  k = kubectl(client, namespace);
  operator = await startOperator({ namespace, postgres });
  await k.system('mail', { store: { shards: [{ name: 'a', replicas: 2 }] } });
  await k.until('system', 'mail', 'DirectoryReady', 'True');
  renewing = setInterval(() => void renew(), 500);
  for (const member of [0, 1]) {
    await createPod(member);
    await store('register_member($1, $2, $3, 0)', ['a', member, volumes[member]]);
  }
});
afterAll(async () => {
  clearInterval(renewing);
  await operator?.stop();
  await postgres?.stop();
  for (const name of nodes ?? []) await client.delete(builtin.node, { name }).catch(() => undefined);
  client?.close();
});

describe('a shard with two copies', () => {
  it('is projected with its members', async () => {
    const lease = await store<{ replicas: number; durability: string; withoutReplica: string; members: object[] }>(
      'lease($1)',
      ['a'],
    );
    expect(lease).toMatchObject({ replicas: 2, durability: 'Replicated', withoutReplica: 'Degrade' });
    expect(lease.members).toMatchObject(
      [0, 1].map((member) => ({
        member,
        port: 10028,
        host: `mail-store-a-${member}.mail-store-a.${namespace}.svc.cluster.local`,
      })),
    );
  });

  it('says that it has no primary, then who is it, and how far its copy is', async () => {
    await k.until('system', 'mail', 'ReplicasReady', 'False', 'NoPrimary');
    await take(0);
    await replication(1, false, 0);
    await k.until('system', 'mail', 'ReplicasReady', 'False', 'Filling');
    await eventually(async () => expect([await role(0), await role(1)]).toEqual(['primary', undefined]), 20_000);
    await store('member_seeded($1, $2, $3, 1, $4, true)', ['a', term?.holder, term?.epoch, volumes[1]]);
    await replication(1, true);
    await k.until('system', 'mail', 'ReplicasReady', 'True', 'InSync');
    expect(await replicas()).toMatchObject({
      name: 'a',
      primary: 'mail-store-a-0',
      epoch: 1,
      members: [
        { pod: 'mail-store-a-0', state: 'Primary', node: nodes[0] },
        { pod: 'mail-store-a-1', state: 'InSync', node: nodes[1] },
      ],
    });
  });

  it('has budgets that no two of select the same pod', async () => {
    const { items } = await client.list<KubeObject & { spec: { selector: object } }>(builtin.podDisruptionBudget, {
      namespace,
    });
    const mine = items.filter(({ metadata }) => metadata.name.startsWith('mail-store-a'));
    expect(mine.map(({ metadata: { name }, spec }) => ({ name, ...spec }))).toMatchObject([
      {
        name: 'mail-store-a',
        minAvailable: 0,
        selector: { matchExpressions: [{ key: roleLabel, operator: 'NotIn', values: ['primary'] }] },
      },
      {
        name: 'mail-store-a-primary',
        maxUnavailable: 0,
        selector: { matchExpressions: [{ key: roleLabel, operator: 'In', values: ['primary'] }] },
      },
    ]);
  });

  it('at rest is written by nobody', async () => {
    await sleep(12_000);
    const before = operator.proxy.writes().length;
    await sleep(15_000);
    const written = operator.proxy.writes().slice(before);
    expect(written.map(({ path }) => path)).toEqual([]);
  }, 40_000);

  it('after a failover has its label on the new primary, says so once, in status and as an Event', async () => {
    await take(1);
    await eventually(async () => expect([await role(0), await role(1)]).toEqual([undefined, 'primary']), 20_000);
    await eventually(
      async () => expect(await replicas()).toMatchObject({ primary: 'mail-store-a-1', epoch: 2 }),
      20_000,
    );
    const told = async () =>
      (await client.list<KubeObject & { reason: string; message: string }>(builtin.event, { namespace })).items.filter(
        ({ reason }) => reason === 'PrimaryChanged',
      );
    await eventually(async () =>
      expect((await told()).map(({ message }) => message)).toEqual([
        'Primary of shard a is now mail-store-a-1 (epoch 2), was mail-store-a-0.',
      ]),
    );
  });

  it('moves its primary away from a cordoned node, to a copy that is in sync; and not when it is uncordoned again', async () => {
    await replication(0, false);
    await cordon(nodes[1], true);
    await k.until('system', 'mail', 'ReplicasReady', 'False', 'Behind');
    expect(await wanted()).toBeNull();
    await replication(0, true);
    await eventually(async () => expect(await wanted()).toBe(0), 20_000);
    await cordon(nodes[1], false);
    await eventually(async () => expect(await wanted()).toBeNull(), 20_000);
  });

  it('is rolled: the replica, then a handover, then the former primary', async () => {
    const set = { namespace, name: 'mail-store-a' };
    const { metadata } = await client.get(builtin.statefulSet, set);
    const status = {
      observedGeneration: metadata.generation,
      replicas: 2,
      updateRevision: 'r2',
      currentRevision: 'r1',
    };
    await client.patchStatus(builtin.statefulSet, set, { status }, by);
    await eventually(async () => expect(await pod(0)).toBeUndefined(), 20_000);
    await sleep(3_000);
    expect(await pod(1)).toBeDefined();
    await createPod(0, 'r2');
    await eventually(async () => expect(await wanted()).toBe(0), 20_000);
    expect(await pod(1)).toBeDefined();
    await take(0);
    await replication(1, true);
    await eventually(async () => expect(await pod(1)).toBeUndefined(), 20_000);
    expect(await role(0)).toBe('primary');
    await createPod(1, 'r2');
    await k.until('system', 'mail', 'ReplicasReady', 'True');
  });

  it('whose volumes are all new stays closed until one is accepted', async () => {
    term = undefined;
    volumes[0] = randomUUID();
    volumes[1] = randomUUID();
    for (const member of [0, 1]) await store('register_member($1, $2, $3, 0)', ['a', member, volumes[member]]);
    const { status } = await k.until('system', 'mail', 'ReplicasReady', 'False', 'VolumeRefused');
    const value = `mail-store-a-1=${volumes[1]}`;
    expect(status?.conditions?.find(({ type }) => type === 'ReplicasReady')?.message).toContain(`${volumes[1]}`);
    await k.patch('system', 'mail', { metadata: { annotations: { 'posthorn.dev/accept-volume': value } } });
    await eventually(async () => {
      const { members } = await store<{ members: { seeded: boolean }[] }>('lease($1)', ['a']);
      expect(members.map(({ seeded }) => seeded)).toEqual([false, true]);
    }, 20_000);
    await take(1);
    await k.until('system', 'mail', 'ReplicasReady', 'False', 'Filling');
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../directory/testing/postgres.js';
import type { Client } from '../runtime/client.js';
import { builtin, type KubeObject, type ResourceType } from '../runtime/object.js';
import { createNamespace, eventually, installCrds, sharedClient } from '../runtime/testing/shared.js';
import { CRDS, type Kubectl, kubectl, startOperator, type TestOperator } from '../testing/operator.js';
import { patroniConfigMaps } from './teardown.js';
import type { ClaimObject, StatefulSetObject } from './volumes.js';

let client: Client;
let namespace: string;
let postgres: TestPostgres;
let operator: TestOperator;
let k: Kubectl;
const by = { fieldManager: 'test' };
const storageClass: ResourceType = {
  group: 'storage.k8s.io',
  version: 'v1',
  plural: 'storageclasses',
  kind: 'StorageClass',
  namespaced: false,
};

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, CRDS);
  postgres = await startPostgres();
  namespace = await createNamespace(client, 'mailsystem');
  k = kubectl(client, namespace);
  operator = await startOperator({ namespace, postgres });
});
afterAll(async () => {
  await operator?.stop();
  await postgres?.stop();
  client?.close();
});

const labels = (system: string, component: string) => ({
  'app.kubernetes.io/name': 'posthorn',
  'app.kubernetes.io/instance': system,
  'app.kubernetes.io/component': component,
});

async function createClass(allowVolumeExpansion: boolean): Promise<string> {
  const name = `${namespace}-${allowVolumeExpansion ? 'grows' : 'fixed'}`;
  const object = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner: 'test',
    allowVolumeExpansion,
  };
  await client.applyServerSide(storageClass, object, by);
  return name;
}

/** A claim as the StatefulSet controller makes it, bound as the volume controller does. */
async function boundClaim(name: string, storageClassName: string, storage: string): Promise<void> {
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace, labels: labels(name.split('-')[1] ?? '', 'mx') },
    spec: { accessModes: ['ReadWriteOnce'], storageClassName, resources: { requests: { storage } }, volumeName: name },
  };
  await client.create(builtin.persistentVolumeClaim, claim, by);
  const status = { phase: 'Bound', capacity: { storage }, accessModes: ['ReadWriteOnce'] };
  await client.patchStatus(builtin.persistentVolumeClaim, { namespace, name }, { status }, by);
}

const findSet = (name: string) => client.find<StatefulSetObject>(builtin.statefulSet, { namespace, name });
const templateSize = (set: StatefulSetObject | undefined) =>
  set?.spec?.volumeClaimTemplates?.[0]?.spec?.resources?.requests?.storage;
const request = async (name: string) =>
  (await client.get<ClaimObject>(builtin.persistentVolumeClaim, { namespace, name })).spec?.resources?.requests
    ?.storage;

function untilSet(name: string, check: (set: StatefulSetObject | undefined) => void): Promise<void> {
  return eventually(async () => check(await findSet(name)), 30_000);
}

describe('a larger queue', () => {
  it('enlarges the claims, and makes the StatefulSet anew without its pods', async () => {
    const storageClassName = await createClass(true);
    await k.system('grow', { queue: { size: '2Gi', storageClassName } });
    await k.until('system', 'grow', 'VolumesReady', 'True', 'AsDeclared');
    await boundClaim('queue-grow-mx-0', storageClassName, '2Gi');
    const before = await findSet('grow-mx');
    expect(templateSize(before)).toBe('2Gi');

    await k.patch('system', 'grow', { spec: { queue: { size: '4Gi' } } });
    await eventually(async () => expect(await request('queue-grow-mx-0')).toBe('4Gi'));
    for (const name of ['grow-mx', 'grow-submission', 'grow-egress', 'grow-forward']) {
      // It is deleted with its pods orphaned; the garbage collector, which this API server hasn't got, ends that. A look
      // that was under way meanwhile may make it once more in its old size.
      await untilSet(name, (set) => expect(set?.metadata.finalizers).toContain('orphan'));
      await eventually(async () => {
        const set = await findSet(name);
        if (set?.metadata.finalizers?.includes('orphan'))
          await client.patchMerge(builtin.statefulSet, { namespace, name }, { metadata: { finalizers: null } }, by);
        expect(templateSize(set)).toBe('4Gi');
      }, 30_000);
    }
    expect((await findSet('grow-mx'))?.metadata.uid).not.toBe(before?.metadata.uid);
    expect(templateSize(await findSet('grow-redis'))).toBe('1Gi');
    await k.until('system', 'grow', 'VolumesReady', 'True', 'Resizing');
    await k.until('system', 'grow', 'Applied', 'True');
  });

  it('that the StorageClass refuses is said, and keeps no other change', async () => {
    const storageClassName = await createClass(false);
    await k.system('fixed', { queue: { size: '2Gi', storageClassName } });
    await k.until('system', 'fixed', 'VolumesReady', 'True', 'AsDeclared');
    await boundClaim('queue-fixed-mx-0', storageClassName, '2Gi');
    const before = await findSet('fixed-mx');

    await k.patch('system', 'fixed', { spec: { queue: { size: '4Gi' }, mx: { replicas: 2 } } });
    const { status } = await k.until('system', 'fixed', 'VolumesReady', 'False', 'ResizeRefused');
    expect(status?.conditions?.find((c) => c.type === 'VolumesReady')?.message).toContain('queue-fixed-mx-0');
    await k.until('system', 'fixed', 'Applied', 'True');
    const after = await findSet('fixed-mx');
    expect(after?.metadata.uid).toBe(before?.metadata.uid);
    expect(after?.spec).toMatchObject({ replicas: 2 });
    expect(templateSize(after)).toBe('2Gi');
  });
});

describe('the deletion of a MailSystem', () => {
  const configMap = (name: string) => client.find(builtin.configMap, { namespace, name });

  async function withPatroni(name: string, deletionPolicy: string): Promise<void> {
    await k.system(name, { deletionPolicy, database: { members: 1 } });
    await k.until('system', name, 'DirectoryReady', 'True');
    for (const map of patroniConfigMaps(name)) {
      await client.create(
        builtin.configMap,
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: map, namespace } },
        by,
      );
    }
    const spec = { containers: [{ name: 'postgres', image: 'postgres' }], terminationGracePeriodSeconds: 0 };
    const metadata = { name: `${name}-postgres-0`, namespace, labels: labels(name, 'postgres') };
    await client.create(builtin.pod, { apiVersion: 'v1', kind: 'Pod', metadata, spec } as KubeObject, by);
  }

  it('with Delete stops the database, then removes what Patroni keeps of it', async () => {
    await withPatroni('gone', 'Delete');
    await k.delete('system', 'gone');
    await k.until('system', 'gone', 'Deleting', 'False', 'Stopping');
    expect(await findSet('gone-postgres')).toBeUndefined();
    expect(await configMap('gone-postgres-config')).toBeDefined();
    await client.delete(builtin.pod, { namespace, name: 'gone-postgres-0' });
    await k.untilGone('system', 'gone');
    for (const map of patroniConfigMaps('gone')) expect(await configMap(map)).toBeUndefined();
  });

  it('with Retain leaves it', async () => {
    await withPatroni('kept', 'Retain');
    await k.delete('system', 'kept');
    await k.untilGone('system', 'kept');
    for (const map of patroniConfigMaps('kept')) expect(await configMap(map)).toBeDefined();
  });
});

describe('what servers need to know of the system', () => {
  type Settings = Record<'forward_host' | 'srs_domain' | 'user_hour' | 'user_day' | 'domain_hour', unknown>;
  const settings = async () => (await postgres.query<Settings>('posthorn', 'SELECT * FROM posthorn.settings'))[0];
  const srsKeys = async () =>
    (await postgres.query<{ n: number }>('posthorn', 'SELECT count(*)::int AS n FROM posthorn.srs_secrets'))[0]?.n;

  it('is in the directory, with a secret for sender addresses; certificates are there', async () => {
    await k.system('known', { limits: { sending: { userHour: 7, domainHour: 9 } } });
    await k.until('system', 'known', 'DirectoryReady', 'True');
    await eventually(async () =>
      expect(await settings()).toMatchObject({
        forward_host: `known-forward.${namespace}.svc.cluster.local`,
        srs_domain: 'mx.example.org',
        user_hour: 7,
        user_day: 1500,
        domain_hour: 9,
      }),
    );
    expect(await srsKeys()).toBe(1);
    for (const role of ['forward', 'courier'])
      expect(await client.find(builtin.secret, { namespace, name: `known-tls-${role}` })).toBeDefined();
    for (const type of ['ForwardReady', 'CourierReady'])
      await k.until('system', 'known', type, 'False', 'PodsNotReady');

    await k.patch('system', 'known', { spec: { srs: { domain: 'SRS.example.org' }, limits: null } });
    await eventually(async () =>
      expect(await settings()).toMatchObject({ srs_domain: 'srs.example.org', user_hour: 300, domain_hour: null }),
    );
    expect(await srsKeys()).toBe(1);
    await k.delete('system', 'known');
    await k.untilGone('system', 'known');
  });
});

describe('a child that somebody has changed', () => {
  it('is put back within seconds', async () => {
    await k.system('tidy');
    await k.until('system', 'tidy', 'Applied', 'True');
    await client.delete(builtin.service, { namespace, name: 'tidy-mx' });
    await eventually(async () => {
      expect(await client.find(builtin.service, { namespace, name: 'tidy-mx' })).toBeDefined();
    }, 20_000);
  });
});

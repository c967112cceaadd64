import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ApplySetOptions, type ApplySetResult, applySet, inventoryLabel, liveFromApi } from './apply.js';
import { type Client, createClient } from './client.js';
import { builtin, type KubeObject, type ResourceType } from './object.js';
import { type FaultProxy, startProxy } from './testing/proxy.js';
import { createNamespace, installCrd, sharedApiServer, sharedClient } from './testing/shared.js';
import { type Widget, widget, widgetCrd, widgets } from './testing/widget.js';

let direct: Client;
let proxy: FaultProxy;
let client: Client;
let namespace: string;
let owner: Widget;
const by = { fieldManager: 'a-person' };

beforeAll(async () => {
  direct = await sharedClient();
  await installCrd(direct, widgetCrd);
});
beforeEach(async () => {
  proxy = await startProxy(await sharedApiServer());
  client = createClient(proxy.connection);
  namespace = await createNamespace(direct, 'apply');
  owner = await direct.create(widgets, widget(namespace, 'owner'), by);
});
afterEach(async () => {
  client.close();
  await proxy.close();
});
afterAll(() => direct.close());

const pruneTypes = [
  builtin.configMap,
  builtin.secret,
  builtin.service,
  builtin.statefulSet,
  builtin.persistentVolumeClaim,
];

function apply(desired: KubeObject[], options: Partial<ApplySetOptions> = {}): Promise<ApplySetResult> {
  const common = { client, fieldManager: 'test', owner, inventory: 'set', pruneTypes, live: liveFromApi(client) };
  return applySet({ ...common, desired, ...options });
}

const configMap = (name: string, data: Record<string, string> = { a: '1' }): KubeObject & { data: object } => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
});

const secret = (name: string): KubeObject & { stringData: object } => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name },
  stringData: { password: 'p' },
});

/** Full of what the server defaults and rewrites. */
const workload: KubeObject[] = [
  configMap('config'),
  secret('key'),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: {
      selector: { app: 'web' },
      ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      publishNotReadyAddresses: true,
    },
  } as KubeObject,
  {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'web', creationTimestamp: null },
    spec: {
      serviceName: 'web',
      replicas: 1,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' }, annotations: {} },
        spec: {
          containers: [
            {
              name: 'web',
              image: 'web:1',
              args: [],
              env: [
                { name: 'A', value: '' },
                { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
              ],
              ports: [{ containerPort: 8080 }],
              resources: { requests: { cpu: '1000m', memory: '0.5Gi' }, limits: { memory: 1_073_741_824 } },
              readinessProbe: { exec: { command: ['true'] }, periodSeconds: 5, initialDelaySeconds: 0 },
              volumeMounts: [
                { name: 'data', mountPath: '/data' },
                { name: 'tmp', mountPath: '/tmp' },
              ],
              securityContext: { capabilities: { drop: ['ALL'] } },
            },
          ],
          volumes: [
            { name: 'tmp', emptyDir: { sizeLimit: '1024Mi' } },
            { name: 'config', configMap: { name: 'config' } },
          ],
        },
      },
      volumeClaimTemplates: [
        {
          metadata: { name: 'data' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1024Mi' } } },
        },
      ],
    },
  } as unknown as KubeObject,
];

describe('a set of objects', () => {
  it('is made once, owned and labelled, and never written again while nothing changes', async () => {
    const first = await apply(workload);
    expect(first.errors).toEqual([]);
    expect(first.applied).toEqual(
      ['ConfigMap', 'Secret', 'Service', 'StatefulSet'].map(
        (kind, at) => `${kind} ${namespace}/${workload[at]?.metadata.name}`,
      ),
    );
    const made = await direct.get<KubeObject>(builtin.statefulSet, { namespace, name: 'web' });
    expect(made.metadata.ownerReferences).toMatchObject([
      { kind: 'Widget', name: 'owner', uid: owner.metadata.uid, controller: true },
    ]);
    expect(made.metadata.labels?.[inventoryLabel]).toBe('set');
    proxy.seen.length = 0;
    for (let round = 0; round < 3; round += 1) expect((await apply(workload)).unchanged).toHaveLength(4);
    expect(proxy.writes()).toEqual([]);
  });

  it('is not written after a restart either, when nothing is remembered', async () => {
    await apply(workload);
    const restarted = createClient(proxy.connection);
    proxy.seen.length = 0;
    const result = await apply(workload, { client: restarted, live: liveFromApi(restarted) });
    expect(result).toMatchObject({ applied: [], errors: [] });
    expect(proxy.writes()).toEqual([]);
    restarted.close();
  });

  it('follows what is wanted, and removes fields that no longer are', async () => {
    await apply([configMap('config', { a: '1', b: '2' })]);
    const result = await apply([configMap('config', { a: '3' })]);
    expect(result.applied).toHaveLength(1);
    expect(await direct.get(builtin.configMap, { namespace, name: 'config' })).toMatchObject({ data: { a: '3' } });
    expect(
      (await direct.get<KubeObject & { data: object }>(builtin.configMap, { namespace, name: 'config' })).data,
    ).toEqual({ a: '3' });
  });

  it.each([
    ['a value', builtin.configMap, 'config', { data: { a: 'edited' } }],
    ['a removed key', builtin.configMap, 'config', { data: null }],
    [
      'a label',
      builtin.configMap,
      'config',
      { metadata: { labels: { [inventoryLabel]: 'set', other: 'kept' }, annotations: null } },
    ],
    ['the owner', builtin.configMap, 'config', { metadata: { ownerReferences: null } }],
    ['a Secret', builtin.secret, 'key', { stringData: { password: 'stolen' } }],
    ['replicas', builtin.statefulSet, 'web', { spec: { replicas: 5 } }],
  ])('is repaired when somebody edits it: %s', async (_what, type, name, patch) => {
    await apply(workload);
    const before = await direct.get<KubeObject & Record<string, unknown>>(type, { namespace, name });
    await direct.patchMerge(type, { namespace, name }, patch, by);
    const result = await apply(workload);
    expect(result.applied).toEqual([`${type.kind} ${namespace}/${name}`]);
    const after = await direct.get<KubeObject & Record<string, unknown>>(type, { namespace, name });
    expect([after.data, after.spec, after.metadata.ownerReferences]).toEqual([
      before.data,
      before.spec,
      before.metadata.ownerReferences,
    ]);
    expect((await apply(workload)).applied).toEqual([]);
  });

  it('is made again when somebody deletes a part of it, and leaves alone what others add', async () => {
    await apply(workload);
    await direct.delete(builtin.configMap, { namespace, name: 'config' });
    await direct.patchMerge(
      builtin.service,
      { namespace, name: 'web' },
      { metadata: { annotations: { 'a.person/note': 'hi' } } },
      by,
    );
    expect((await apply(workload)).applied).toEqual([`ConfigMap ${namespace}/config`]);
    const service = await direct.get<KubeObject>(builtin.service, { namespace, name: 'web' });
    expect(service.metadata.annotations?.['a.person/note']).toBe('hi');
  });
});

describe('pruning', () => {
  it('deletes what is no longer wanted, but no Secret and no volume unless told to', async () => {
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'data' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    } as KubeObject;
    await apply([configMap('keep'), configMap('drop'), secret('old'), claim], {
      ownerless: ({ kind }) => kind === 'PersistentVolumeClaim',
    });
    expect(
      (await direct.get<KubeObject>(builtin.persistentVolumeClaim, { namespace, name: 'data' })).metadata
        .ownerReferences,
    ).toBeUndefined();
    const result = await apply([configMap('keep')]);
    expect(result.pruned).toEqual([`ConfigMap ${namespace}/drop`]);
    expect(result.retained.sort()).toEqual([`PersistentVolumeClaim ${namespace}/data`, `Secret ${namespace}/old`]);
    expect((await apply([configMap('keep')], { allowPrune: ['Secret'] })).pruned).toEqual([`Secret ${namespace}/old`]);
    expect(await direct.find(builtin.persistentVolumeClaim, { namespace, name: 'data' })).toBeDefined();
  });

  it('does not delete an object that was made anew since the cache last heard of it', async () => {
    await apply([configMap('again')]);
    const live = liveFromApi(client);
    const stale = await live.list(builtin.configMap, namespace, 'set');
    await direct.delete(builtin.configMap, { namespace, name: 'again' });
    await apply([configMap('again')]);
    const list = async (type: ResourceType) => (type.kind === 'ConfigMap' ? stale : []);
    const result = await apply([], { live: { ...live, list } });
    expect(result.pruned).toEqual([]);
    expect(result.errors).toMatchObject([{ status: 409 }]);
    expect(await direct.find(builtin.configMap, { namespace, name: 'again' })).toBeDefined();
  });

  it('does not touch other inventories, other owners, or anything at all after a failure', async () => {
    const other = await direct.create(widgets, widget(namespace, 'other'), by);
    await apply([configMap('theirs')], { inventory: 'another' });
    await apply([configMap('of-other')], { owner: other });
    await apply([configMap('mine')]);
    const broken = { ...configMap('broken'), data: { a: 1 } } as unknown as KubeObject;
    const failed = await apply([broken]);
    expect(failed.errors).toHaveLength(1);
    expect(failed.pruned).toEqual([]);
    expect((await apply([])).pruned).toEqual([`ConfigMap ${namespace}/mine`]);
    for (const name of ['theirs', 'of-other'])
      expect(await direct.find(builtin.configMap, { namespace, name })).toBeDefined();
  });
});

describe('an object that somebody else made', () => {
  it('is not overwritten, unless it may be adopted; the others are applied all the same', async () => {
    await direct.create(
      builtin.configMap,
      { ...configMap('config', { theirs: 'x' }), metadata: { namespace, name: 'config' } },
      by,
    );
    const result = await apply([configMap('config'), configMap('other')]);
    expect(result.errors.map(String)).toEqual([expect.stringContaining('exists and was not made for "set"')]);
    expect(result.applied).toEqual([`ConfigMap ${namespace}/other`]);
    expect((await apply([configMap('config'), configMap('other')], { adopt: () => true })).applied).toHaveLength(1);
  });
});

it('gets through conflicts and busy servers', async () => {
  let turn = 0;
  proxy.intercept(({ method }) => {
    if (method !== 'PATCH') return undefined;
    turn += 1;
    return [undefined, { status: 429, headers: { 'retry-after': '0' } }, { status: 503 }][turn % 3];
  });
  const result = await apply(workload);
  expect(result.errors).toEqual([]);
  expect(result.applied).toHaveLength(4);
});

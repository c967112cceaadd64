import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Client, createClient } from './client.js';
import { createInformer, type Informer, type InformerOptions } from './informer.js';
import { silentLog } from './log.js';
import { createMetrics } from './metrics.js';
import { builtin, type KubeObject } from './object.js';
import type { InformerEvent } from './store.js';
import type { ApiServer } from './testing/apiserver.js';
import { type FaultProxy, startProxy } from './testing/proxy.js';
import { createNamespace, eventually, installCrd, sharedApiServer, sharedClient } from './testing/shared.js';
import { createWidgets, type Widget, widget, widgetCrd, widgets } from './testing/widget.js';

let server: ApiServer;
let direct: Client;
let proxy: FaultProxy;
let client: Client;
let namespace: string;
const started: Informer<Widget>[] = [];
const by = { fieldManager: 'test' };

beforeAll(async () => {
  server = await sharedApiServer();
  direct = await sharedClient();
  await installCrd(direct, widgetCrd);
});

afterEach(async () => {
  proxy.refuse(false);
  proxy.stall(false);
  await Promise.all(started.splice(0).map((informer) => informer.stop()));
  client.close();
  await proxy.close();
});

afterAll(() => direct.close());

interface Followed<T extends KubeObject> {
  informer: Informer<T>;
  events: InformerEvent<T>[];
  /** `type name` of each event. */
  log(): string[];
  restarts(): Promise<Record<string, number>>;
}

/** An informer through a proxy of its own, in a namespace of its own, with all its events. */
async function follow<T extends KubeObject = Widget>(
  options: Partial<InformerOptions<T>> = {},
  prepare?: () => Promise<void>,
): Promise<Followed<T>> {
  namespace = await createNamespace(direct, 'informer');
  proxy = await startProxy(server);
  client = createClient(proxy.connection);
  await prepare?.();
  const metrics = createMetrics();
  const backoff = { baseMs: 20, maxMs: 200 };
  const informer = createInformer<T>({
    client,
    type: widgets,
    namespace,
    log: silentLog,
    metrics,
    backoff,
    ...options,
  });
  const events: InformerEvent<T>[] = [];
  informer.onEvent((event) => events.push(event));
  informer.start();
  started.push(informer as unknown as Informer<Widget>);
  await informer.synced;
  return {
    informer,
    events,
    log: () => events.map(({ type, object }) => `${type} ${object.metadata.name}`),
    restarts: async () => {
      const metric = await metrics.registry.getSingleMetric('posthorn_watch_restarts_total')?.get();
      return Object.fromEntries((metric?.values ?? []).map(({ labels, value }) => [String(labels.cause), value]));
    },
  };
}

const lists = (): number => proxy.seen.filter(({ method, watch }) => method === 'GET' && !watch).length;
const watches = (): number => proxy.seen.filter(({ watch }) => watch).length;
const watching = (count = 1): Promise<void> => eventually(() => expect(watches()).toBeGreaterThanOrEqual(count));

describe('in good weather', () => {
  it('brings what is there, then what changes, with indexes that follow', async () => {
    const { informer, events, log } = await follow(
      { indexes: { colour: ({ spec }) => (spec.colour === undefined ? [] : [spec.colour]) } },
      async () => {
        await direct.create(widgets, { ...widget(namespace, 'a'), spec: { size: 1, colour: 'red' } }, by);
      },
    );
    expect(events).toMatchObject([
      { type: 'added', initial: true, object: { kind: 'Widget', metadata: { name: 'a' } } },
    ]);
    expect(events[0]?.object.metadata.managedFields).toBeUndefined();
    await direct.create(widgets, { ...widget(namespace, 'b'), spec: { size: 2, colour: 'red' } }, by);
    await direct.patchMerge(widgets, { namespace, name: 'a' }, { spec: { colour: 'blue' } }, by);
    await eventually(() => expect(log()).toEqual(['added a', 'added b', 'updated a']));
    expect(events[2]).toMatchObject({ previous: { spec: { colour: 'red' } }, object: { spec: { colour: 'blue' } } });
    expect(informer.cache.byIndex('colour', 'red').map(({ metadata }) => metadata.name)).toEqual(['b']);
    await direct.delete(widgets, { namespace, name: 'b' });
    await eventually(() => expect(log()).toContain('deleted b'));
    expect(informer.cache.byIndex('colour', 'red')).toEqual([]);
    expect([...informer.cache.keys()]).toEqual([`${namespace}/a`]);
  });

  it('lists 1,250 objects page by page, by label and as metadata only if asked', async () => {
    const { informer } = await follow({ metadataOnly: true }, () => createWidgets(direct, namespace, 1_250));
    expect(informer.cache.size).toBe(1_250);
    expect(lists()).toBe(3);
    const one = informer.cache.get(`${namespace}/w-00007`);
    expect(one).toMatchObject({ kind: 'Widget', apiVersion: 'test.posthorn.dev/v1' });
    expect(one?.spec).toBeUndefined();
    await direct.patchMerge(widgets, { namespace, name: 'w-00007' }, { metadata: { labels: { a: 'b' } } }, by);
    await eventually(() => expect(informer.cache.get(`${namespace}/w-00007`)?.metadata.labels).toEqual({ a: 'b' }));
    expect(informer.cache.get(`${namespace}/w-00007`)?.spec).toBeUndefined();
    expect(informer.cache.get(`${namespace}/w-00007`)?.kind).toBe('Widget');
  });

  it('takes the answer to an own write, and does not tell of it twice', async () => {
    const { informer, log } = await follow(
      {},
      async () => void (await direct.create(widgets, widget(namespace, 'a'), by)),
    );
    await watching();
    const spec = informer.cache.get(`${namespace}/a`)?.spec;
    const written = await direct.patchStatus<Widget>(widgets, { namespace, name: 'a' }, { status: { seen: 1 } }, by);
    informer.observe(written);
    expect(informer.cache.get(`${namespace}/a`)?.status).toEqual({ seen: 1 });
    // What was made of a spec is remembered by its identity.
    expect(spec).toBeDefined();
    expect(informer.cache.get(`${namespace}/a`)?.spec).toBe(spec);
    await direct.create(widgets, widget(namespace, 'b'), by);
    await eventually(() => expect(log()).toContain('added b'));
    expect(log()).toEqual(['added a', 'updated a', 'added b']);
    const before = informer.cache.get(`${namespace}/a`);
    await direct.delete(widgets, { namespace, name: 'a' });
    await eventually(() => expect(log()).toContain('deleted a'));
    if (before !== undefined) informer.observe(before);
    expect(informer.cache.has(`${namespace}/a`)).toBe(false);
  });

  it('goes on when a handler throws', async () => {
    const { informer, log } = await follow();
    informer.onEvent(() => {
      throw new Error('a bug in a handler');
    });
    await direct.create(widgets, widget(namespace, 'a'), by);
    await direct.create(widgets, widget(namespace, 'b'), by);
    await eventually(() => expect(log()).toEqual(['added a', 'added b']));
  });
});

describe('in bad weather', () => {
  it('resumes where a cut connection broke off, without listing again', async () => {
    const { log, restarts } = await follow(
      {},
      async () => void (await direct.create(widgets, widget(namespace, 'a'), by)),
    );
    for (let round = 1; round <= 3; round += 1) {
      await watching(round);
      proxy.refuse(true);
      proxy.cut();
      await direct.create(widgets, widget(namespace, `during-${round}`), by);
      await direct.delete(widgets, { namespace, name: `during-${round}` });
      await direct.create(widgets, widget(namespace, `after-${round}`), by);
      proxy.refuse(false);
      await eventually(() => expect(log()).toContain(`added after-${round}`));
    }
    const rounds = [1, 2, 3].flatMap((n) => [`added during-${n}`, `deleted during-${n}`, `added after-${n}`]);
    expect(log()).toEqual(['added a', ...rounds]);
    expect(lists()).toBe(1);
    expect((await restarts()).failed).toBeGreaterThanOrEqual(3);
  });

  it('lists again after the history it needs was compacted away, and sees what was deleted meanwhile', async () => {
    const ranges = { type: builtin.limitRange };
    const range = (name: string): KubeObject & { spec: object } => ({
      apiVersion: 'v1',
      kind: 'LimitRange',
      metadata: { namespace, name },
      spec: { limits: [{ type: 'Pod', max: { cpu: '1' } }] },
    });
    const { informer, log, restarts } = await follow<KubeObject>(ranges, async () => {
      for (const name of ['stays', 'goes', 'changes', 'is-replaced'])
        await direct.create(builtin.limitRange, range(name), by);
    });
    await watching();
    proxy.refuse(true);
    proxy.cut();
    const replaced = informer.cache.get(`${namespace}/is-replaced`)?.metadata.uid;
    for (const name of ['goes', 'is-replaced']) await direct.delete(builtin.limitRange, { namespace, name });
    await direct.patchMerge(
      builtin.limitRange,
      { namespace, name: 'changes' },
      { metadata: { labels: { new: 'yes' } } },
      by,
    );
    await direct.create(builtin.limitRange, range('is-replaced'), by);
    const last = await direct.create(builtin.limitRange, range('comes'), by);
    await compact(server, Number(last.metadata.resourceVersion));
    const seen = log().length;
    proxy.refuse(false);
    await eventually(() => expect(log()).toContain('deleted goes'));
    expect(log().slice(seen).sort()).toEqual(
      ['added comes', 'added is-replaced', 'deleted goes', 'deleted is-replaced', 'updated changes'].sort(),
    );
    expect(informer.cache.get(`${namespace}/is-replaced`)?.metadata.uid).not.toBe(replaced);
    expect(await restarts()).toMatchObject({ expired: 1 });
    expect(lists()).toBe(2);
  });

  it('lists again after a 410 for the watch request itself', async () => {
    const { log } = await follow();
    await watching();
    let gone = 1;
    proxy.intercept(({ watch }) => (watch && gone-- > 0 ? { status: 410 } : undefined));
    proxy.cut();
    await direct.create(widgets, widget(namespace, 'a'), by);
    await eventually(() => expect(log()).toEqual(['added a']));
    expect(lists()).toBe(2);
  });

  it('reconnects when the stream is silent for too long, and misses nothing', async () => {
    const { log, restarts } = await follow({ stallMs: 400 });
    await watching();
    proxy.stall(true);
    await direct.create(widgets, widget(namespace, 'a'), by);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(log()).toEqual([]);
    expect((await restarts()).stalled).toBeGreaterThanOrEqual(1);
    proxy.stall(false);
    await eventually(() => expect(log()).toEqual(['added a']));
  });

  it('waits its turn when the server is busy, then goes on', async () => {
    const { log } = await follow();
    await watching();
    let busy = 3;
    proxy.intercept(({ watch }) =>
      watch && busy-- > 0 ? { status: 429, headers: { 'retry-after': '0' } } : undefined,
    );
    proxy.cut();
    await direct.create(widgets, widget(namespace, 'a'), by);
    await eventually(() => expect(log()).toEqual(['added a']));
    expect(lists()).toBe(1);
  });

  it('lists again when the server keeps refusing its place', async () => {
    const { log } = await follow();
    await watching();
    const before = lists();
    proxy.intercept(({ watch }) => (watch && lists() === before ? { status: 500 } : undefined));
    proxy.cut();
    await direct.create(widgets, widget(namespace, 'a'), by);
    await eventually(() => expect(log()).toEqual(['added a']));
    expect(lists()).toBe(2);
  });

  it('has all 1,200 objects after a list that was disturbed on every page', async () => {
    const failed = new Set<string>();
    const { informer, events } = await follow({ pageSize: 100 }, async () => {
      await createWidgets(direct, namespace, 1_200);
      proxy.intercept(({ path, watch }) => {
        if (watch || failed.has(path)) return undefined;
        failed.add(path);
        return [{ status: 500 }, { status: 429, headers: { 'retry-after': '0' } }, { status: 0, cut: true }][
          failed.size % 3
        ];
      });
    });
    expect(informer.cache.size).toBe(1_200);
    expect(events).toHaveLength(1_200);
    expect(failed.size).toBe(12);
  });
});

/** Makes etcd forget all revisions before this one, as it does every five minutes. */
async function compact({ etcdUrl }: ApiServer, revision: number): Promise<void> {
  const answer = await fetch(`${etcdUrl}/v3/kv/compaction`, {
    method: 'POST',
    body: JSON.stringify({ revision, physical: true }),
  });
  if (!answer.ok) throw new Error(`compaction failed: ${answer.status} ${await answer.text()}`);
}

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Client, createClient } from './client.js';
import { writeStatus } from './conditions.js';
import { ApiError, isAlreadyExists, isConflict, isInvalid, isNotFound } from './errors.js';
import { builtin } from './object.js';
import { type FaultProxy, startProxy } from './testing/proxy.js';
import { createNamespace, installCrd, sharedApiServer, sharedClient } from './testing/shared.js';
import { createWidgets, type Widget, widget, widgetCrd, widgets } from './testing/widget.js';

let direct: Client;
let proxy: FaultProxy;
let client: Client;
let namespace: string;
const by = { fieldManager: 'test' };

beforeAll(async () => {
  direct = await sharedClient();
  proxy = await startProxy(await sharedApiServer());
  client = createClient(proxy.connection);
  await installCrd(direct, widgetCrd);
  namespace = await createNamespace(direct, 'client');
});

afterEach(() => {
  proxy.intercept(undefined);
  proxy.seen.length = 0;
});

afterAll(async () => {
  client.close();
  direct.close();
  await proxy.close();
});

/** Answers the first `times` requests that match with `status`. */
function refuse(times: number, status: number, method: string, headers: Record<string, string> = {}): void {
  let left = times;
  proxy.intercept((request) => {
    if (request.method !== method || left === 0) return undefined;
    left -= 1;
    return { status, headers };
  });
}

describe('verbs', () => {
  it('creates, reads, applies, patches, replaces and deletes', async () => {
    const made = await client.create(widgets, widget(namespace, 'verbs', 1), by);
    expect(made.metadata.creationTimestamp).toMatch(/^\d{4}-.*Z$/);
    const ref = { namespace, name: 'verbs' };
    expect((await client.get<Widget>(widgets, ref)).spec.size).toBe(1);
    const patched = await client.patchMerge<Widget>(widgets, ref, { spec: { size: 2 } }, by);
    expect(patched.metadata.generation).toBe(2);
    const withStatus = await client.patchStatus<Widget>(widgets, ref, { status: { seen: 2 } }, by);
    expect(withStatus).toMatchObject({ status: { seen: 2 }, metadata: { generation: 2 } });
    const applied = await client.applyServerSide<Widget>(
      widgets,
      { ...widget(namespace, 'verbs', 3) },
      { fieldManager: 'other' },
    );
    expect(applied.spec.size).toBe(3);
    const replaced = await client.replace<Widget>(widgets, { ...applied, spec: { size: 4 } }, by);
    expect(replaced.spec.size).toBe(4);
    expect(await client.delete(widgets, ref, { uid: replaced.metadata.uid })).toBe(true);
    expect(await client.delete(widgets, ref)).toBe(false);
    expect(await client.find(widgets, ref)).toBeUndefined();
  });

  it('lists 1,300 objects in pages, whole or as metadata only', async () => {
    const many = await createNamespace(direct, 'pages');
    await createWidgets(direct, many, 1_300);
    const { items, resourceVersion } = await client.list<Widget>(widgets, { namespace: many });
    expect(items).toHaveLength(1_300);
    expect(new Set(items.map(({ metadata }) => metadata.name)).size).toBe(1_300);
    expect(proxy.seen.map(({ method }) => method)).toEqual(['GET', 'GET', 'GET']);
    expect(Number(resourceVersion)).toBeGreaterThan(0);
    const bare = await client.list<Widget>(widgets, { namespace: many, metadataOnly: true });
    expect(bare.items).toHaveLength(1_300);
    expect(bare.items[0]).toMatchObject({ kind: 'Widget', apiVersion: 'test.posthorn.dev/v1' });
    expect(bare.items[0]?.spec).toBeUndefined();
  });

  it('starts a list over when its continue token has expired', async () => {
    let expired = false;
    proxy.intercept(({ path }) => {
      if (expired || !path.includes('continue=')) return undefined;
      expired = true;
      return {
        status: 410,
        body: JSON.stringify({ kind: 'Status', code: 410, reason: 'Expired', message: 'too old' }),
      };
    });
    const { items } = await client.list(builtin.namespace, { pageSize: 2 });
    expect(expired).toBe(true);
    expect(new Set(items.map(({ metadata }) => metadata.name)).size).toBe(items.length);
  });
});

describe('errors', () => {
  it('says what was being done to which object, and why it failed', async () => {
    const error = await client.get(widgets, { namespace, name: 'absent' }).catch((e: unknown) => e);
    expect(isNotFound(error)).toBe(true);
    expect(error).toMatchObject({ status: 404, reason: 'NotFound', verb: 'get', object: `Widget ${namespace}/absent` });
  });

  it('writes a status where it differs, and never over what it has not seen', async () => {
    const made = await client.create(widgets, widget(namespace, 'status'), by);
    const write = (object: Widget, status: object) =>
      writeStatus({ client, type: widgets, object, status, fieldManager: 'test' });
    const written = await write(made, { seen: 1, gone: true });
    expect(written).toMatchObject({ spec: made.spec, status: { seen: 1, gone: true } });
    expect(await write(written as Widget, { seen: 1, gone: true, none: undefined })).toBeUndefined();
    expect((await write(written as Widget, { seen: 2 }))?.status).toEqual({ seen: 2 });
    const stale = await write(made, { seen: 3 }).catch((e: unknown) => e);
    expect(isConflict(stale)).toBe(true);
    await client.delete(widgets, { namespace, name: 'status' });
    expect(await write(made, { seen: 3 })).toBeUndefined();
    const anew = await client.create(widgets, widget(namespace, 'status'), by);
    const foreign = await write({ ...anew, metadata: { ...anew.metadata, uid: made.metadata.uid } }, { seen: 3 }).catch(
      (e: unknown) => e,
    );
    expect(isConflict(foreign)).toBe(true);
  });

  it('tells conflicts from existing objects from invalid ones', async () => {
    const made = await client.create(widgets, widget(namespace, 'conflict'), by);
    await client.patchMerge(widgets, made.metadata, { spec: { size: 5 } }, by);
    const stale = await client.replace(widgets, { ...made, spec: { size: 6 } }, by).catch((e: unknown) => e);
    expect([isConflict(stale), isAlreadyExists(stale)]).toEqual([true, false]);
    const twice = await client.create(widgets, widget(namespace, 'conflict'), by).catch((e: unknown) => e);
    expect([isConflict(twice), isAlreadyExists(twice)]).toEqual([false, true]);
    const invalid = await client.create(widgets, widget(namespace, 'invalid', -1), by).catch((e: unknown) => e);
    expect(isInvalid(invalid)).toBe(true);
  });

  it("does not repeat the server's words about a Secret", async () => {
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { namespace, name: 's' },
      data: { password: 'hunter2 is not base64' },
    };
    const error = await client.create(builtin.secret, secret, by).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ApiError);
    expect(String(error)).not.toContain('hunter2');
  });
});

describe('a bad network', () => {
  it('waits as long as Retry-After says', async () => {
    refuse(1, 429, 'GET', { 'retry-after': '1' });
    const started = Date.now();
    await client.get(builtin.namespace, { name: namespace });
    expect(Date.now() - started).toBeGreaterThanOrEqual(1_000);
    expect(proxy.seen).toHaveLength(2);
  });

  it('repeats a create after 429, since it was not carried out, but not after 500', async () => {
    refuse(1, 429, 'POST', { 'retry-after': '0' });
    await client.create(widgets, widget(namespace, 'after-429'), by);
    refuse(1, 500, 'POST');
    await expect(client.create(widgets, widget(namespace, 'after-500'), by)).rejects.toMatchObject({ status: 500 });
  });

  it('repeats idempotent requests after 500, a bounded number of times', async () => {
    await client.create(widgets, widget(namespace, 'after-errors'), by);
    refuse(2, 500, 'PATCH');
    await client.patchStatus(widgets, { namespace, name: 'after-errors' }, { status: { seen: 1 } }, by);
    expect(proxy.seen.filter(({ method }) => method === 'PATCH')).toHaveLength(3);
    proxy.seen.length = 0;
    const hasty = createClient(proxy.connection, { attempts: 3 });
    refuse(99, 503, 'PATCH', { 'retry-after': '0' });
    const patch = hasty.patchStatus(widgets, { namespace, name: 'after-errors' }, { status: { seen: 2 } }, by);
    await expect(patch).rejects.toMatchObject({ status: 503 });
    expect(proxy.seen).toHaveLength(3);
    hasty.close();
  });

  it('applies once more when the answer was lost, to the same effect', async () => {
    let left = 1;
    proxy.intercept(({ method }) =>
      method === 'PATCH' && left-- > 0 ? { status: 0, afterForwarding: true, cut: true } : undefined,
    );
    const applied = await client.applyServerSide<Widget>(widgets, widget(namespace, 'lost-answer', 7), by);
    expect(applied).toMatchObject({ spec: { size: 7 }, metadata: { generation: 1 } });
  });

  it('survives the loss of all its idle connections', async () => {
    const get = () => client.get(builtin.namespace, { name: namespace });
    await Promise.all(Array.from({ length: 10 }, get));
    proxy.cut();
    await Promise.all(Array.from({ length: 10 }, get));
  });

  it('gives up at its deadline when no answer comes', async () => {
    proxy.stall(true);
    const answer = client.get(builtin.namespace, { name: namespace }, { timeoutMs: 300 }).catch((e: unknown) => e);
    const error = await answer;
    proxy.stall(false);
    expect(error).toMatchObject({ status: 0, reason: 'Timeout' });
  });

  it('ends a request when its signal aborts', async () => {
    proxy.stall(true);
    const abort = new AbortController();
    const answer = client
      .get(builtin.namespace, { name: namespace }, { signal: abort.signal })
      .catch((e: unknown) => e);
    setTimeout(() => abort.abort(), 50);
    expect(await answer).toMatchObject({ reason: 'Aborted' });
    proxy.stall(false);
  });
});

it('sends no write when the fence says no, even one that was waiting', async () => {
  const fenced = createClient(proxy.connection, { sockets: 1 });
  let leads = true;
  fenced.setFence(() => leads);
  const writes = Array.from({ length: 20 }, (_, at) => fenced.create(widgets, widget(namespace, `fence-${at}`), by));
  const first = await Promise.race(writes);
  leads = false;
  const outcomes = await Promise.allSettled(writes);
  expect(first.metadata.name).toBe('fence-0');
  expect(outcomes.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(10);
  await expect(fenced.delete(widgets, { namespace, name: 'fence-0' })).rejects.toMatchObject({ reason: 'NotLeader' });
  expect((await fenced.get<Widget>(widgets, { namespace, name: 'fence-0' })).spec.size).toBe(1);
  fenced.close();
});

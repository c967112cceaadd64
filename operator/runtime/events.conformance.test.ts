import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Client, createClient } from './client.js';
import { createEventRecorder, type EventRecorderOptions } from './events.js';
import { silentLog } from './log.js';
import { builtin, type KubeObject } from './object.js';
import { type FaultProxy, startProxy } from './testing/proxy.js';
import { createNamespace, sharedApiServer } from './testing/shared.js';

interface Event extends KubeObject {
  reason: string;
  message: string;
  count: number;
}

let proxy: FaultProxy;
let client: Client;
let about: KubeObject;

beforeAll(async () => {
  proxy = await startProxy(await sharedApiServer());
  client = createClient(proxy.connection, { attempts: 2 });
});
afterAll(async () => {
  client.close();
  await proxy.close();
});

async function recorder(options: Partial<EventRecorderOptions> = {}) {
  const namespace = await createNamespace(client, 'events');
  const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name: 'subject' } };
  about = await client.create(builtin.configMap, map, { fieldManager: 'test' });
  proxy.seen.length = 0;
  const events = createEventRecorder({ client, component: 'tester', log: silentLog, ...options });
  const read = async (): Promise<Event[]> => {
    await events.flush();
    return (await client.list<Event>(builtin.event, { namespace })).items;
  };
  return { events, read };
}

const taken = { type: 'Warning' as const, reason: 'AddressTaken', message: 'somebody else has it' };

it('says it once where people look, and counts repeats without writing each', async () => {
  let now = 0;
  const clock = { now: () => now, wall: () => new Date(1_800_000_000_000 + now), after: () => () => {} };
  const { events, read } = await recorder({ clock });
  for (let time = 0; time < 5; time += 1) {
    events.emit(about, taken);
    await events.flush();
    now += 1_000;
  }
  expect(proxy.writes()).toHaveLength(1);
  now += 60_000;
  events.emit(about, taken);
  const [event, ...others] = await read();
  expect(others).toEqual([]);
  expect(event).toMatchObject({
    type: 'Warning',
    reason: 'AddressTaken',
    count: 6,
    involvedObject: { kind: 'ConfigMap', name: 'subject', uid: about.metadata.uid },
    source: { component: 'tester' },
    lastTimestamp: '2027-01-15T08:01:05Z',
  });
});

it('cuts a flood from one object, and lets it speak again later', async () => {
  let now = 0;
  const clock = { now: () => now, wall: () => new Date(), after: () => () => {} };
  const { events, read } = await recorder({ clock, burst: 3, refillMs: 1_000 });
  for (let at = 0; at < 20; at += 1) events.emit(about, { ...taken, message: `number ${at}` });
  expect(await read()).toHaveLength(3);
  now += 1_000;
  events.emit(about, { ...taken, message: 'later' });
  expect((await read()).map(({ message }) => message)).toContain('later');
});

it('never throws, cuts long messages, and makes a new event when the old one is gone', async () => {
  let now = 0;
  const clock = { now: () => now, wall: () => new Date(), after: () => () => {} };
  const { events, read } = await recorder({ clock });
  proxy.intercept(({ method }) => (method === 'POST' ? { status: 403 } : undefined));
  events.emit(about, { ...taken, message: 'refused' });
  expect(await read()).toEqual([]);
  proxy.intercept(undefined);
  events.emit(about, { ...taken, message: 'é'.repeat(3_000) });
  const [event] = await read();
  expect(event?.message).toHaveLength(1_024);
  await client.delete(builtin.event, { namespace: about.metadata.namespace, name: event?.metadata.name ?? '' });
  now += 120_000;
  events.emit(about, { ...taken, message: 'é'.repeat(3_000) });
  expect(await read()).toHaveLength(1);
});

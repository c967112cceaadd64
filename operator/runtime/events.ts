/** Kubernetes Events: what people read in `kubectl describe`. Repeated ones are counted on one object, and floods are cut. */
import { createHash, randomBytes } from 'node:crypto';
import type { Client } from './client.js';
import { type Clock, systemClock } from './clock.js';
import { isNotFound } from './errors.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import { builtin, type KubeObject } from './object.js';

export interface EventOptions {
  type: 'Normal' | 'Warning';
  /** A constant in CamelCase. */
  reason: string;
  /** At most 1 024 characters; longer ones are cut. No secrets: everybody may read it. */
  message: string;
}

export interface EventRecorder {
  /** Returns at once and never throws; an event that can't be written is logged and dropped. */
  emit(about: KubeObject, event: EventOptions): void;
  /** Resolves when what was emitted so far is written or dropped. */
  flush(): Promise<void>;
}

export interface EventRecorderOptions {
  client: Client;
  /** Who says so, e.g. the operator's name. */
  component: string;
  log: Log;
  metrics?: Metrics | undefined;
  clock?: Clock | undefined;
  /** Events that one object may cause at once, default 25; … */
  burst?: number | undefined;
  /** … and how long until it may cause another, default 5 minutes. */
  refillMs?: number | undefined;
  /** Repeats within this time of the last write are counted but not written, default 1 minute. */
  quietMs?: number | undefined;
}

/** What was said already. */
interface Said {
  name: string;
  count: number;
  first: string;
  writtenAt: number;
}

interface Bucket {
  tokens: number;
  at: number;
}

const rememberMs = 10 * 60_000;
const rememberMost = 4_096;

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const {
    client,
    component,
    log,
    metrics,
    clock = systemClock,
    burst = 25,
    refillMs = 300_000,
    quietMs = 60_000,
  } = options;
  const said = new Map<string, Said>();
  const buckets = new Map<string, Bucket>();
  const pending = new Set<Promise<void>>();

  const allowed = (uid: string): boolean => {
    const now = clock.now();
    const bucket = buckets.get(uid) ?? { tokens: burst, at: now };
    const refilled = Math.min(burst, bucket.tokens + (now - bucket.at) / refillMs);
    remember(buckets, uid, { tokens: Math.max(0, refilled - 1), at: now });
    return refilled >= 1;
  };

  const write = async (about: KubeObject, event: EventOptions): Promise<void> => {
    const key = keyOfEvent(about, event);
    const before = said.get(key);
    const now = clock.now();
    const repeated = before !== undefined && now - before.writtenAt < rememberMs;
    const time = clock
      .wall()
      .toISOString()
      .replace(/\.\d+Z$/, 'Z');
    const entry: Said = repeated
      ? { ...before, count: before.count + 1 }
      : { name: eventName(about), count: 1, first: time, writtenAt: now };
    const quiet = repeated && now - before.writtenAt < quietMs;
    remember(said, key, quiet ? entry : { ...entry, writtenAt: now });
    if (quiet || !allowed(about.metadata.uid ?? about.metadata.name)) return;
    await send(about, event, entry, time, repeated);
    metrics?.write('event', about.kind);
  };

  const send = async (
    about: KubeObject,
    event: EventOptions,
    entry: Said,
    time: string,
    repeated: boolean,
  ): Promise<void> => {
    const namespace = about.metadata.namespace ?? 'default';
    const call = { fieldManager: component };
    const patch = { count: entry.count, lastTimestamp: time };
    try {
      if (repeated) return void (await client.patchMerge(builtin.event, { namespace, name: entry.name }, patch, call));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    await client.create(builtin.event, eventObject(about, event, entry, time, component), call);
  };

  return {
    emit: (about, event) => {
      const task = write(about, event)
        .catch((error: unknown) => log.warn({ reason: event.reason, err: error }, 'an event could not be written'))
        .finally(() => pending.delete(task));
      pending.add(task);
    },
    flush: async () => {
      await Promise.all(pending);
    },
  };
}

/** Keeps the newest entries only. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= rememberMost) break;
    map.delete(oldest);
  }
}

function keyOfEvent({ metadata }: KubeObject, { type, reason, message }: EventOptions): string {
  return createHash('sha256')
    .update(JSON.stringify([metadata.uid, metadata.name, type, reason, message]))
    .digest('base64');
}

function eventName({ metadata }: KubeObject): string {
  return `${metadata.name.slice(0, 230)}.${randomBytes(8).toString('hex')}`;
}

function eventObject(
  about: KubeObject,
  event: EventOptions,
  { name, count, first }: Said,
  time: string,
  component: string,
) {
  const { namespace = 'default', uid, resourceVersion } = about.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace },
    involvedObject: {
      apiVersion: about.apiVersion,
      kind: about.kind,
      name: about.metadata.name,
      namespace: about.metadata.namespace,
      uid,
      resourceVersion,
    },
    type: event.type,
    reason: event.reason,
    message: event.message.slice(0, 1_024),
    source: { component },
    reportingComponent: component,
    count,
    firstTimestamp: first,
    lastTimestamp: time,
  };
}

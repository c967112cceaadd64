/** The loop behind an informer: list, watch, resume, list again. It ends only when its signal aborts. */
import type { Client } from './client.js';
import { type Backoff, backoffMs, type Clock, sleep, systemClock } from './clock.js';
import { ApiError, isGone, isNotFound } from './errors.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import { type KubeObject, keyOf, type ResourceType } from './object.js';
import { createStallableSignal, type StallableSignal } from './stall.js';
import type { WatchEvent } from './watch.js';

export interface ReflectOptions {
  client: Client;
  type: ResourceType;
  /** Default: all namespaces. */
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  /** Objects then have only apiVersion, kind and metadata. */
  metadataOnly?: boolean | undefined;
  /** Objects per list request, default 500. */
  pageSize?: number | undefined;
  /** Reconnect when there was no event and no bookmark for this long; bookmarks come about once a minute. Default 100 s. */
  stallMs?: number | undefined;
  /** Between failures; default 250 ms doubling to 30 s. */
  backoff?: Backoff | undefined;
  log: Log;
  metrics?: Metrics | undefined;
  clock?: Clock | undefined;
  random?: (() => number) | undefined;
}

/** Where the objects go. */
export interface Sink<T extends KubeObject> {
  /** An object of a list that is under way. */
  listed(object: T): void;
  /** The list is complete; what is not among `keys` is gone. */
  complete(keys: ReadonlySet<string>): void;
  changed(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void;
}

/** A place in the stream of changes. */
interface Place {
  resourceVersion: string;
  /** Whether the latest watch brought anything. */
  heard: boolean;
  /** Watches in a row that brought nothing. */
  failures: number;
  /** Watches in a row that the server refused. */
  refusals: number;
}

interface WatchEnd {
  cause: 'ended' | 'stalled' | 'expired' | 'failed';
  error?: unknown;
}

interface Loop<T extends KubeObject> {
  options: ReflectOptions;
  sink: Sink<T>;
  signal: AbortSignal;
  pause(failures: number, error?: unknown): Promise<void>;
}

/** Refusals of a watch in a row after which its place is given up: it may be one that the server will never know. */
const refusalsUntilRelist = 5;

/** Keeps `sink` up to date until `signal` aborts. Never rejects. */
export async function reflect<T extends KubeObject>(
  options: ReflectOptions,
  sink: Sink<T>,
  signal: AbortSignal,
): Promise<void> {
  const { backoff = { baseMs: 250, maxMs: 30_000 }, clock = systemClock, random = Math.random } = options;
  const pause = (failures: number, error?: unknown): Promise<void> => {
    const wished = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
    return sleep(Math.max(wished, backoffMs(backoff, failures, random)), signal, clock);
  };
  const loop: Loop<T> = { options, sink, signal, pause };
  while (!signal.aborted) {
    const resourceVersion = await listUntilDone(loop);
    if (resourceVersion !== undefined) await follow(loop, resourceVersion);
  }
}

async function listUntilDone<T extends KubeObject>(loop: Loop<T>): Promise<string | undefined> {
  const { type, log } = loop.options;
  for (let failures = 1; !loop.signal.aborted; failures += 1) {
    try {
      return await listOnce(loop);
    } catch (error) {
      if (loop.signal.aborted) return undefined;
      log.warn({ resource: type.plural, failures, err: error }, hintOf(error));
      await loop.pause(failures, error);
    }
  }
  return undefined;
}

/** Lists everything, page by page. Answers where to watch from. */
async function listOnce<T extends KubeObject>({ options, sink, signal }: Loop<T>): Promise<string> {
  const keys = new Set<string>();
  let from = '';
  for await (const { items, resourceVersion } of options.client.pages<T>(options.type, {
    ...selection(options),
    signal,
  })) {
    for (const object of items) {
      keys.add(keyOf(object));
      sink.listed(object);
    }
    from = resourceVersion;
  }
  sink.complete(keys);
  return from;
}

function selection({ namespace, labelSelector, fieldSelector, metadataOnly, pageSize }: ReflectOptions) {
  return { namespace, labelSelector, fieldSelector, metadataOnly, pageSize };
}

function hintOf(error: unknown): string {
  if (isGone(error)) return 'the list took longer than the server remembers; starting over';
  if (isNotFound(error)) return 'listing failed: the API has no such resource; are the CRDs installed?';
  if (error instanceof ApiError && error.status === 403) return 'listing failed: not allowed; check the roles';
  return 'listing failed; it will be tried again';
}

/** Watches, resuming again and again, until the collection has to be listed anew. */
async function follow<T extends KubeObject>(loop: Loop<T>, resourceVersion: string): Promise<void> {
  const place: Place = { resourceVersion, heard: false, failures: 0, refusals: 0 };
  while (!loop.signal.aborted && place.refusals < refusalsUntilRelist) {
    const end = await watchOnce(loop, place);
    if (loop.signal.aborted) return;
    report(loop, end);
    if (end.cause === 'expired') return;
    await recover(loop, place, end);
  }
}

/** Waits before the next watch, unless this one was of use. */
async function recover<T extends KubeObject>(loop: Loop<T>, place: Place, { cause, error }: WatchEnd): Promise<void> {
  place.failures = place.heard ? 1 : place.failures + 1;
  place.refusals = isRefusal(error) ? place.refusals + 1 : 0;
  if (cause === 'failed' || !place.heard) await loop.pause(place.failures, error);
}

function report<T extends KubeObject>({ options: { type, log, metrics } }: Loop<T>, { cause, error }: WatchEnd): void {
  metrics?.watchRestart(type.plural, cause);
  log.debug({ resource: type.plural, cause, err: error }, 'a watch has ended and is started again');
}

/** The server answered, but not with a watch; being busy (429) is no verdict on the place. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && error.status >= 400 && error.status !== 429;
}

/** One watch from its start to its end; moves `place` on with every event. */
async function watchOnce<T extends KubeObject>(loop: Loop<T>, place: Place): Promise<WatchEnd> {
  const { stallMs = 100_000, clock = systemClock } = loop.options;
  const connection = createStallableSignal(loop.signal, stallMs, clock);
  place.heard = false;
  try {
    await consume(loop, place, connection);
    return { cause: connection.stalled() ? 'stalled' : 'ended' };
  } catch (error) {
    if (connection.stalled()) return { cause: 'stalled' };
    return { cause: isGone(error) ? 'expired' : 'failed', error };
  } finally {
    connection.release();
  }
}

async function consume<T extends KubeObject>(
  { options, sink }: Loop<T>,
  place: Place,
  { signal, heard }: StallableSignal,
): Promise<void> {
  const watch = { ...selection(options), resourceVersion: place.resourceVersion, signal };
  for await (const event of options.client.watch<T>(options.type, watch)) {
    heard();
    place.heard = true;
    place.resourceVersion = versionOf(event) ?? place.resourceVersion;
    if (event.type !== 'BOOKMARK') sink.changed(event.type, event.object);
  }
}

function versionOf(event: WatchEvent<KubeObject>): string | undefined {
  return 'object' in event ? event.object.metadata.resourceVersion : event.resourceVersion;
}

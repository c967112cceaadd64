/** A thin Kubernetes client: generic verbs over plain HTTP, raw JSON in and out. */
import {
  type ApplyOptions,
  across,
  type CallOptions,
  type DeleteOptions,
  kindOf,
  type ListOptions,
  metadataList,
  on,
  selectors,
  type WatchOptions,
  type WriteOptions,
  writeCall,
} from './calls.js';
import { isGone, isNotFound } from './errors.js';
import type { Connection } from './kubeconfig.js';
import { type Log, silentLog } from './log.js';
import type { Metrics } from './metrics.js';
import { collectionPath, type KubeObject, type ObjectRef, type ResourceType, refOf } from './object.js';
import { createPerformer } from './perform.js';
import { createTransport } from './transport.js';
import { type WatchEvent, watchEvents } from './watch.js';

export interface ClientOptions {
  /** Most requests in flight, default 32. Watches and leases don't count. */
  sockets?: number | undefined;
  /** Deadline of one attempt in milliseconds, default 30 000. */
  timeoutMs?: number | undefined;
  /** Attempts of an idempotent request in all, default 6. */
  attempts?: number | undefined;
  userAgent?: string | undefined;
  metrics?: Metrics | undefined;
  log?: Log | undefined;
}

export interface Page<T> {
  items: T[];
  /** The same for all pages of a list. */
  resourceVersion: string;
}

/** All methods reject with {@link ApiError}. */
export interface Client {
  get<T extends KubeObject>(type: ResourceType, ref: ObjectRef, options?: CallOptions): Promise<T>;
  /** Like `get`, but undefined when there is no such object. */
  find<T extends KubeObject>(type: ResourceType, ref: ObjectRef, options?: CallOptions): Promise<T | undefined>;
  list<T extends KubeObject>(type: ResourceType, options?: ListOptions): Promise<Page<T>>;
  /** Page by page, so that a large list is never in memory as a whole. Rejects with 410 if it takes longer than the server remembers. */
  pages<T extends KubeObject>(type: ResourceType, options?: ListOptions): AsyncGenerator<Page<T>>;
  create<T extends KubeObject>(type: ResourceType, object: T, options: WriteOptions): Promise<T>;
  /** PUT; with `metadata.resourceVersion` in the object it is refused (409) if the object has changed since. */
  replace<T extends KubeObject>(type: ResourceType, object: T, options: WriteOptions): Promise<T>;
  applyServerSide<T extends KubeObject>(type: ResourceType, object: T, options: ApplyOptions): Promise<T>;
  /** JSON merge patch (RFC 7386). */
  patchMerge<T extends KubeObject>(
    type: ResourceType,
    ref: ObjectRef,
    patch: object,
    options: WriteOptions,
  ): Promise<T>;
  /** JSON merge patch of the status subresource: `{status: …}`. */
  patchStatus<T extends KubeObject>(
    type: ResourceType,
    ref: ObjectRef,
    patch: object,
    options: WriteOptions,
  ): Promise<T>;
  /**
   * Replaces the status of the object as it is in `object`: refused with a conflict if another version, or another
   * object of that name, is there by now. For custom resources; the server ignores all else.
   */
  replaceStatus<T extends KubeObject>(
    type: ResourceType,
    object: KubeObject,
    status: object,
    options: WriteOptions,
  ): Promise<T>;
  /** False if there was no such object. */
  delete(type: ResourceType, ref: ObjectRef, options?: DeleteOptions): Promise<boolean>;
  /** Events until the server ends the watch; rejects with the server's error (410: list again). Ends early on abort. */
  watch<T extends KubeObject>(type: ResourceType, options: WatchOptions): AsyncGenerator<WatchEvent<T>>;
  /** Any path; the answer parsed as JSON. For discovery, /version and the like. */
  request<T>(method: string, path: string, options?: CallOptions & { body?: object | undefined }): Promise<T>;
  /** From now on writes are refused with reason `NotLeader` whenever `fence` says false. */
  setFence(fence: () => boolean): void;
  close(): void;
}

const applyPatch = 'application/apply-patch+yaml';
const mergePatch = 'application/merge-patch+json';

/** Connects lazily; nothing is sent until the first call. */
export function createClient(connection: Connection, options: ClientOptions = {}): Client {
  const {
    sockets = 32,
    timeoutMs = 30_000,
    attempts = 6,
    userAgent = 'posthorn-runtime',
    metrics,
    log = silentLog,
  } = options;
  const transport = createTransport(connection, { sockets, userAgent });
  const { perform, setFence } = createPerformer(transport, connection, { timeoutMs, attempts, metrics, log });

  const client: Client = {
    get: (type, ref, call = {}) => perform({ ...on(type, ref), ...call, method: 'GET', verb: 'get', idempotent: true }),

    find: (type, ref, call = {}) => undefinedIfMissing(client.get(type, ref, call)),

    list: async <T extends KubeObject>(type: ResourceType, list: ListOptions = {}): Promise<Page<T>> => {
      for (let expired = 0; ; expired += 1) {
        try {
          return await collect(client.pages<T>(type, list));
        } catch (error) {
          if (!isGone(error) || expired >= 3) throw error;
        }
      }
    },

    pages: async function* <T extends KubeObject>(type: ResourceType, list: ListOptions = {}): AsyncGenerator<Page<T>> {
      let next: string | undefined;
      do {
        const call = { ...across(type, list), method: 'GET', verb: 'list', idempotent: true };
        const query = { ...selectors(list), limit: list.pageSize ?? 500, continue: next };
        const accept = list.metadataOnly === true ? metadataList : undefined;
        const raw = await perform<{ items: T[] | null; metadata: { resourceVersion: string; continue?: string } }>({
          ...call,
          query,
          accept,
        });
        yield { items: withKind(type, raw.items ?? []), resourceVersion: raw.metadata.resourceVersion };
        next = raw.metadata.continue;
      } while (next !== undefined && next !== '');
    },

    create: (type, object, write) => {
      const path = collectionPath(type, object.metadata.namespace);
      return perform({
        ...on(type, refOf(object)),
        ...writeCall(write),
        path,
        method: 'POST',
        verb: 'create',
        idempotent: false,
        body: object,
      });
    },

    replace: (type, object, write) =>
      perform({
        ...on(type, refOf(object)),
        ...writeCall(write),
        method: 'PUT',
        verb: 'update',
        idempotent: true,
        body: object,
      }),

    applyServerSide: (type, object, { force = true, subresource, dryRun, ...write }) => {
      const query = { fieldManager: write.fieldManager, force, dryRun: dryRun === true ? 'All' : undefined };
      const call = { ...on(type, refOf(object), subresource), ...writeCall(write), query };
      return perform({
        ...call,
        method: 'PATCH',
        verb: 'apply',
        idempotent: true,
        body: object,
        contentType: applyPatch,
      });
    },

    patchMerge: (type, ref, patch, write) =>
      perform({
        ...on(type, ref),
        ...writeCall(write),
        method: 'PATCH',
        verb: 'patch',
        idempotent: true,
        body: patch,
        contentType: mergePatch,
      }),

    patchStatus: (type, ref, patch, write) => {
      const call = { ...on(type, ref, 'status'), ...writeCall(write) };
      return perform({
        ...call,
        method: 'PATCH',
        verb: 'patchStatus',
        idempotent: true,
        body: patch,
        contentType: mergePatch,
      });
    },

    replaceStatus: (type, { apiVersion, kind, metadata }, status, write) => {
      const { name, namespace, uid, resourceVersion } = metadata;
      return perform({
        ...on(type, { name, namespace }, 'status'),
        ...writeCall(write),
        method: 'PUT',
        verb: 'replaceStatus',
        idempotent: true,
        body: { apiVersion, kind, metadata: { name, namespace, uid, resourceVersion }, status },
      });
    },

    delete: async (
      type,
      ref,
      { uid, resourceVersion, propagation = 'Background', gracePeriodSeconds, ...call } = {},
    ) => {
      const preconditions = uid === undefined && resourceVersion === undefined ? undefined : { uid, resourceVersion };
      const body = {
        kind: 'DeleteOptions',
        apiVersion: 'v1',
        preconditions,
        propagationPolicy: propagation,
        gracePeriodSeconds,
      };
      const answer = perform({ ...on(type, ref), ...call, method: 'DELETE', verb: 'delete', idempotent: true, body });
      return (await undefinedIfMissing(answer)) !== undefined;
    },

    watch: (type, watch) => watchEvents(transport, type, watch, metrics),

    request: (method, path, { body, ...call } = {}) =>
      perform({
        ...call,
        method,
        path,
        verb: method.toLowerCase(),
        object: path,
        resource: '',
        idempotent: method === 'GET',
        body,
      }),

    setFence,

    close: transport.close,
  };
  return client;
}

/** List items of built-in kinds come without kind and apiVersion; metadata-only ones with those of PartialObjectMetadata. */
function withKind<T extends KubeObject>(type: ResourceType, items: T[]): T[] {
  const kind = kindOf(type);
  for (const item of items) Object.assign(item, kind);
  return items;
}

async function collect<T>(pages: AsyncIterable<Page<T>>): Promise<Page<T>> {
  const all: Page<T> = { items: [], resourceVersion: '' };
  for await (const { items, resourceVersion } of pages) {
    for (const item of items) all.items.push(item);
    all.resourceVersion = resourceVersion;
  }
  return all;
}

async function undefinedIfMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

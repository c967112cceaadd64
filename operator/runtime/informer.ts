/**
 * A cache that follows a collection of the API: a paginated list, then a watch with bookmarks that is resumed where it
 * broke off, a new list when the server has forgotten that place (410), and a reconnect when nothing at all is heard.
 */
import { type CacheReader, createCache, type Indexer } from './cache.js';
import type { KubeObject, ResourceType } from './object.js';
import { type ReflectOptions, reflect, type Sink } from './reflect.js';
import { createEmitter, createStore, type InformerEvent } from './store.js';

export interface InformerOptions<T extends KubeObject> extends ReflectOptions {
  /** What to keep of an object; `metadata.managedFields` is gone already. May change and return its argument. */
  transform?: ((object: T) => T) | undefined;
  indexes?: Record<string, Indexer<T>> | undefined;
}

export interface Informer<T extends KubeObject> {
  readonly type: ResourceType;
  readonly cache: CacheReader<T>;
  /** Called at once for what is in the cache already, then for every change. Keep it short: enqueue a key. */
  onEvent(handler: (event: InformerEvent<T>) => void): void;
  start(): void;
  /** Resolves when the first list is complete and handlers have seen it. */
  readonly synced: Promise<void>;
  hasSynced(): boolean;
  /** Puts the answer to one's own write into the cache before the watch brings it. Ignored if the cache knows better. */
  observe(object: T): void;
  stop(): Promise<void>;
}

export function createInformer<T extends KubeObject>(options: InformerOptions<T>): Informer<T> {
  const { type, log, metrics } = options;
  const cache = createCache<T>(options.indexes);
  const { emit, onEvent } = createEmitter(cache, log, type);
  const store = createStore(cache, options.transform, emit);
  const stopping = new AbortController();
  let markSynced = (): void => {};
  const synced = new Promise<void>((resolve) => {
    markSynced = resolve;
  });
  let isSynced = false;
  let running: Promise<void> | undefined;
  metrics?.cacheSize(type.plural, () => cache.size);

  const sink: Sink<T> = {
    listed: (object) => store.put(object, !isSynced),
    complete: (keys) => {
      for (const key of [...cache.keys()]) if (!keys.has(key)) store.remove(key);
      isSynced = true;
      markSynced();
    },
    changed: store.take,
  };

  return {
    type,
    cache,
    onEvent,
    synced,
    hasSynced: () => isSynced,
    observe: store.observe,
    start: () => {
      running ??= reflect(options, sink, stopping.signal);
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

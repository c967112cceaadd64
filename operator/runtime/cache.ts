import { type KubeObject, keyOf } from './object.js';

/** Reads from a cache. What comes out is shared: never mutate it. */
export interface CacheReader<T extends KubeObject> {
  get(key: string): T | undefined;
  has(key: string): boolean;
  readonly size: number;
  keys(): IterableIterator<string>;
  values(): IterableIterator<T>;
  /** The objects that the named index files under `value`, in no order. Throws for an index that doesn't exist. */
  byIndex(index: string, value: string): T[];
  /** The keys of the same, without making an array of objects. */
  keysByIndex(index: string, value: string): ReadonlySet<string>;
}

export interface Cache<T extends KubeObject> extends CacheReader<T> {
  /** Files the object; answers what was there before. */
  set(object: T): T | undefined;
  delete(key: string): T | undefined;
}

/** Under which values an object is found. An exception counts as none, so that one odd object cannot stop a cache. */
export type Indexer<T> = (object: T) => readonly string[];

const none: ReadonlySet<string> = new Set();

/** An in-memory store of objects by `namespace/name`, with secondary indexes. */
export function createCache<T extends KubeObject>(indexers: Record<string, Indexer<T>> = {}): Cache<T> {
  const objects = new Map<string, T>();
  const indexes = new Map(Object.entries(indexers).map(([name, values]) => [name, createIndex(values)]));
  const indexNamed = (name: string): Index<T> => {
    const index = indexes.get(name);
    if (index === undefined) throw new Error(`the cache has no index "${name}"`);
    return index;
  };
  const refile = (key: string, before: T | undefined, after: T | undefined): void => {
    for (const index of indexes.values()) index.refile(key, before, after);
  };
  return {
    get: (key) => objects.get(key),
    has: (key) => objects.has(key),
    get size() {
      return objects.size;
    },
    keys: () => objects.keys(),
    values: () => objects.values(),
    keysByIndex: (name, value) => indexNamed(name).keys(value),
    byIndex: (name, value) => {
      const found: T[] = [];
      for (const key of indexNamed(name).keys(value)) {
        const object = objects.get(key);
        if (object !== undefined) found.push(object);
      }
      return found;
    },
    set: (object) => {
      const key = keyOf(object);
      const before = objects.get(key);
      objects.set(key, object);
      refile(key, before, object);
      return before;
    },
    delete: (key) => {
      const before = objects.get(key);
      objects.delete(key);
      refile(key, before, undefined);
      return before;
    },
  };
}

interface Index<T> {
  keys(value: string): ReadonlySet<string>;
  refile(key: string, before: T | undefined, after: T | undefined): void;
}

/** One value mostly has one key: a bare string costs a tenth of a set. */
function createIndex<T>(valuesOf: Indexer<T>): Index<T> {
  const filed = new Map<string, string | Set<string>>();
  const safely = (object: T | undefined): readonly string[] => {
    try {
      return object === undefined ? [] : valuesOf(object);
    } catch {
      return [];
    }
  };
  const add = (value: string, key: string): void => {
    const at = filed.get(value);
    if (at === undefined || at === key) filed.set(value, key);
    else if (typeof at === 'string') filed.set(value, new Set([at, key]));
    else at.add(key);
  };
  const remove = (value: string, key: string): void => {
    const at = filed.get(value);
    if (at === key) filed.delete(value);
    else if (at instanceof Set && at.delete(key) && at.size === 0) filed.delete(value);
  };
  return {
    keys: (value) => {
      const at = filed.get(value);
      return typeof at === 'string' ? new Set([at]) : (at ?? none);
    },
    refile: (key, before, after) => {
      for (const value of safely(before)) remove(value, key);
      for (const value of safely(after)) add(value, key);
    },
  };
}

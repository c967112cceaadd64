/** A cache with events: what is new, changed or gone is told to handlers. */
import type { Cache } from './cache.js';
import type { Log } from './log.js';
import { type KubeObject, keyOf, type ResourceType } from './object.js';

export interface InformerEvent<T extends KubeObject> {
  type: 'added' | 'updated' | 'deleted';
  /** The object now; of a deletion, as it was last seen. */
  object: T;
  /** What the cache held before; only with `updated`. */
  previous?: T | undefined;
  /** It comes from the first list, not from a change. */
  initial: boolean;
}

export interface Emitter<T extends KubeObject> {
  emit(event: InformerEvent<T>): void;
  onEvent(handler: (event: InformerEvent<T>) => void): void;
}

/** Hands events to handlers; one that throws is logged and does no harm to the others. */
export function createEmitter<T extends KubeObject>(cache: Cache<T>, log: Log, type: ResourceType): Emitter<T> {
  const handlers: ((event: InformerEvent<T>) => void)[] = [];
  const call = (handler: (event: InformerEvent<T>) => void, event: InformerEvent<T>): void => {
    try {
      handler(event);
    } catch (error) {
      log.error({ resource: type.plural, key: keyOf(event.object), err: error }, 'an event handler failed');
    }
  };
  return {
    emit: (event) => {
      for (const handler of handlers) call(handler, event);
    },
    onEvent: (handler) => {
      handlers.push(handler);
      for (const object of [...cache.values()]) call(handler, { type: 'added', object, initial: true });
    },
  };
}

export interface Store<T extends KubeObject> {
  put(object: T, initial: boolean): void;
  remove(key: string): void;
  take(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void;
  observe(object: T): void;
}

/** What changes a cache: lists, watch events and answers to own writes. */
export function createStore<T extends KubeObject>(
  cache: Cache<T>,
  transform: ((object: T) => T) | undefined,
  emit: (event: InformerEvent<T>) => void,
): Store<T> {
  const trim = (object: T): T => {
    delete object.metadata.managedFields;
    return transform === undefined ? object : transform(object);
  };
  const put = (raw: T, initial: boolean): void => {
    const known = cache.get(keyOf(raw));
    if (known?.metadata.resourceVersion === raw.metadata.resourceVersion && sameIncarnation(known, raw)) return;
    const object = keepingSpec(known, trim(raw));
    const previous = cache.set(object);
    if (previous === undefined) emit({ type: 'added', object, initial });
    else if (sameIncarnation(previous, object)) emit({ type: 'updated', object, previous, initial: false });
    else {
      emit({ type: 'deleted', object: previous, initial: false });
      emit({ type: 'added', object, initial: false });
    }
  };
  const remove = (key: string, last?: T): void => {
    const known = cache.delete(key);
    if (known !== undefined) emit({ type: 'deleted', object: last ?? known, initial: false });
  };
  return {
    put,
    remove,
    take: (type, object) => {
      const known = cache.get(keyOf(object));
      if (known !== undefined && isNewer(known, object)) return;
      if (type === 'DELETED') remove(keyOf(object), trim(object));
      else put(object, false);
    },
    observe: (object) => {
      const known = cache.get(keyOf(object));
      if (known !== undefined && sameIncarnation(known, object) && isNewer(object, known))
        put(structuredClone(object), false);
    },
  };
}

/** What was made of a spec is remembered by its identity, and a status write doesn't change it. */
function keepingSpec<T extends KubeObject>(known: T | undefined, object: T): T {
  const { generation } = object.metadata;
  if (generation === undefined || known?.metadata.generation !== generation || !sameIncarnation(known, object))
    return object;
  return 'spec' in known && 'spec' in object ? { ...object, spec: known.spec } : object;
}

function sameIncarnation(a: KubeObject | undefined, b: KubeObject): boolean {
  return a?.metadata.uid === b.metadata.uid;
}

/** Whether `a` is a later state than `b`. Versions of one resource type are comparable as integers since Kubernetes 1.35 (KEP-5504), and were in fact before. */
function isNewer(a: KubeObject, b: KubeObject): boolean {
  const [x = '', y = ''] = [a.metadata.resourceVersion, b.metadata.resourceVersion];
  return x.length === y.length ? x > y : x.length > y.length;
}

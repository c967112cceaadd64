import { beforeEach, describe, expect, it } from 'vitest';
import { type Cache, createCache } from './cache.js';
import { silentLog } from './log.js';
import { builtin, type KubeObject } from './object.js';
import { createEmitter, createStore, type Store } from './store.js';

let cache: Cache<KubeObject>;
let store: Store<KubeObject>;
let log: string[];

beforeEach(() => {
  cache = createCache();
  log = [];
  const { emit, onEvent } = createEmitter(cache, silentLog, builtin.configMap);
  onEvent(({ type, object }) => log.push(`${type} ${object.metadata.uid}@${object.metadata.resourceVersion}`));
  store = createStore(cache, undefined, emit);
});

const at = (resourceVersion: string, uid = 'u'): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace: 'ns', name: 'n', uid, resourceVersion },
});

describe('a cache that is told of an object', () => {
  it('takes what is newer, by number and not by letter, and ignores what it knows or knows better', () => {
    store.put(at('9'), true);
    store.take('MODIFIED', at('10'));
    store.take('MODIFIED', at('10'));
    store.take('MODIFIED', at('9'));
    expect(log).toEqual(['added u@9', 'updated u@10']);
    expect(cache.get('ns/n')?.metadata.resourceVersion).toBe('10');
  });

  it('is not set back by events that are older than an own write, not even by a deletion', () => {
    store.put(at('5'), true);
    store.observe(at('8'));
    store.take('MODIFIED', at('6'));
    store.take('DELETED', at('7'));
    store.take('MODIFIED', at('8'));
    expect(log).toEqual(['added u@5', 'updated u@8']);
  });

  it('believes a list even when its versions are lower: the database was restored', () => {
    store.put(at('100'), true);
    store.put(at('50'), false);
    expect(log).toEqual(['added u@100', 'updated u@50']);
  });

  it('tells of a deletion and a creation when another object has taken the name', () => {
    store.put(at('5'), true);
    store.put(at('7', 'v'), false);
    expect(log).toEqual(['added u@5', 'deleted u@5', 'added v@7']);
  });

  it('does not bring back what is gone, nor take an old write for the new object', () => {
    store.put(at('5'), true);
    store.take('DELETED', at('6'));
    store.observe(at('9'));
    expect(cache.size).toBe(0);
    store.put(at('7', 'v'), false);
    store.observe(at('9'));
    expect(cache.get('ns/n')?.metadata.uid).toBe('v');
  });
});

import type { CacheChanges, CacheContent, SigningCache } from '../signing/cache.js';

/** A signing cache in memory, where no Redis is. It can be made unreachable. */
export interface MemorySigningCache extends SigningCache {
  readonly content: CacheContent;
  fail(on: boolean): void;
}

export function memorySigningCache(): MemorySigningCache {
  const content: CacheContent = { keys: {}, selectors: {}, loaded: false };
  let failing = false;
  const reachable = (): void => {
    if (failing) throw new Error('connection refused');
  };
  return {
    content,
    fail: (on) => {
      failing = on;
    },
    read: async () => {
      reachable();
      return structuredClone(content);
    },
    write: async (changes: CacheChanges) => {
      reachable();
      Object.assign(content.keys, changes.setKeys);
      Object.assign(content.selectors, changes.setSelectors);
      content.loaded ||= changes.markLoaded;
      for (const field of changes.removeSelectors) delete content.selectors[field];
      for (const field of changes.removeKeys) delete content.keys[field];
    },
    close: () => undefined,
  };
}

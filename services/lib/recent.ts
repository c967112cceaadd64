/** A map that forgets: entries that are older than `ttlMs`, and, beyond `most` of them, those that were written first. */
export interface Recent<V> {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
  readonly size: number;
}

export function recent<V>(most: number, ttlMs: number, clock: () => number = Date.now): Recent<V> {
  const map = new Map<string, { readonly value: V; readonly until: number }>();
  return {
    get: (key) => {
      const entry = map.get(key);
      if (entry === undefined) return undefined;
      if (entry.until > clock()) return entry.value;
      map.delete(key);
      return undefined;
    },
    set: (key, value) => {
      map.delete(key);
      map.set(key, { value, until: clock() + ttlMs });
      if (map.size > most) map.delete(map.keys().next().value as string);
    },
    delete: (key) => void map.delete(key),
    get size() {
      return map.size;
    },
  };
}

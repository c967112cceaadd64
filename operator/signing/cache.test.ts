import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CacheChanges, type CacheContent, cacheChanges, type SigningKey } from './cache.js';

const key = (domain: string, selector = 's1', privateKey = `key of ${domain}`): SigningKey => ({
  domain,
  selector,
  privateKey,
});
const empty: CacheContent = { keys: {}, selectors: {}, loaded: false };

function apply(content: CacheContent, changes: CacheChanges): CacheContent {
  const without = (all: Record<string, string>, gone: string[]) =>
    Object.fromEntries(Object.entries(all).filter(([field]) => !gone.includes(field)));
  return {
    keys: without({ ...content.keys, ...changes.setKeys }, changes.removeKeys),
    selectors: without({ ...content.selectors, ...changes.setSelectors }, changes.removeSelectors),
    loaded: content.loaded || changes.markLoaded,
  };
}

describe('cacheChanges', () => {
  it('marks an empty cache as loaded even when there is no domain', () => {
    expect(cacheChanges([], empty)).toMatchObject({ markLoaded: true });
  });

  it('refills a cache that lost one key', () => {
    const full = apply(empty, cacheChanges([key('a.org'), key('b.org')], empty) as CacheChanges);
    const { 's1.b.org': _, ...rest } = full.keys;
    expect(cacheChanges([key('a.org'), key('b.org')], { ...full, keys: rest })?.setKeys).toEqual({
      's1.b.org': 'key of b.org',
    });
  });

  it("keeps the selector of a domain without a key, so that its mail is deferred and not taken for a stranger's", () => {
    const keyless: SigningKey = { domain: 'a.org', selector: 's1', privateKey: undefined };
    const full = apply(empty, cacheChanges([key('a.org'), key('b.org')], empty) as CacheChanges);
    const after = apply(full, cacheChanges([keyless, key('b.org')], full) as CacheChanges);
    expect(after.selectors).toEqual({ 'a.org': 's1', 'b.org': 's1' });
    expect(Object.keys(after.keys)).toEqual(['s1.b.org']);
  });

  it('removes the old key when the selector changes, and sets the new one', () => {
    const before = apply(empty, cacheChanges([key('a.org', 's1')], empty) as CacheChanges);
    const changes = cacheChanges([key('a.org', 's2')], before);
    expect(changes).toMatchObject({ removeKeys: ['s1.a.org'], setSelectors: { 'a.org': 's2' }, removeSelectors: [] });
  });

  it('reaches what is desired in one step from anywhere, and then writes nothing', () => {
    const label = fc.constantFrom('a.org', 'b.org', 'c.org');
    const keys = fc.uniqueArray(
      fc.record({ domain: label, selector: fc.constantFrom('s1', 's2'), privateKey: fc.constantFrom('x', 'y') }),
      {
        selector: (k) => k.domain,
      },
    );
    fc.assert(
      fc.property(keys, keys, (before, after) => {
        const start = before.length === 0 ? empty : apply(empty, cacheChanges(before, empty) as CacheChanges);
        const changes = cacheChanges(after, start);
        const end = changes ? apply(start, changes) : start;
        expect(cacheChanges(after, end)).toBeUndefined();
        expect(Object.keys(end.selectors).sort()).toEqual(after.map((k) => k.domain).sort());
      }),
    );
  });
});

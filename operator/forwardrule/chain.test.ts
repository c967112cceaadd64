import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainText, followChains } from './chain.js';

const graph = (edges: Record<string, string[]>) => (at: string) => edges[at] ?? [];

describe('followChains', () => {
  it.each<[string, Record<string, string[]>, string | undefined]>([
    ['itself', { a: ['a'] }, 'a → a'],
    ['a circle', { a: ['x', 'b'], b: ['c'], c: ['a'] }, 'a → b → c → a'],
    ['a circle that it only leads into', { a: ['b'], b: ['c'], c: ['b'] }, 'a → b → c → b'],
    ['two ways to one end', { a: ['b', 'c'], b: ['d'], c: ['d'] }, undefined],
    ['nothing', {}, undefined],
  ])('finds %s', (_, edges, chain) => {
    const { loop } = followChains('a', graph(edges));
    expect(loop === undefined ? undefined : chainText(loop)).toBe(chain);
  });

  it('counts the longest row of forwards', () => {
    expect(followChains('a', graph({ a: ['b', 'd'], b: ['c'], c: ['d'], d: [] })).length).toBe(4);
  });

  it('says the same as walking every path, on any graph', () => {
    const node = fc.integer({ min: 0, max: 6 }).map(String);
    fc.assert(
      fc.property(fc.dictionary(node, fc.array(node, { maxLength: 3 }), { maxKeys: 7 }), (edges) => {
        const next = graph(edges);
        const { loop, length } = followChains('0', next);
        const longest = walk('0', next, []);
        if (longest === undefined) {
          expect(loop?.[0]).toBe('0');
          expect(loop?.slice(1).every((to, n) => next(loop[n] ?? '').includes(to))).toBe(true);
          expect(loop?.indexOf(loop.at(-1) ?? '')).toBeLessThan((loop?.length ?? 0) - 1);
        } else {
          expect({ loop, length }).toEqual({ loop: undefined, length: longest });
        }
      }),
    );
  });

  it('takes no time to speak of for thousands of rules', () => {
    const next = (at: string) => {
      const n = Number(at);
      return n >= 2_000 ? [] : [n + 1, n + 2, n + 3].map(String);
    };
    const start = performance.now();
    expect(followChains('0', next).length).toBeGreaterThan(2_000);
    expect(performance.now() - start).toBeLessThan(500);
  });
});

/** Length of the longest path; undefined when one comes back to itself. */
function walk(at: string, next: (at: string) => string[], path: string[]): number | undefined {
  if (path.includes(at)) return undefined;
  let longest = 0;
  for (const to of next(at)) {
    const length = walk(to, next, [...path, at]);
    if (length === undefined) return undefined;
    longest = Math.max(longest, length);
  }
  return longest + 1;
}

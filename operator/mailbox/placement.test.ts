import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ShardLoad } from '../mailsystem/shards/views.js';
import { candidates, placeMailbox } from './placement.js';

const G = 2 ** 30;
const named = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,4}$/), { minLength: 1, maxLength: 6 });
const equal = (names: readonly string[]) => candidates(names.map((name) => ({ name })));

function load(name: string, more: Partial<ShardLoad> = {}): ShardLoad {
  return { name, mailboxes: 1_000, usedBytes: 50 * G, totalBytes: 100 * G, open: true, ...more };
}

/** How many of 3,000 new mailboxes each shard gets. */
function spread(shards: readonly ShardLoad[]): Record<string, number> {
  const counts: Record<string, number> = Object.fromEntries(shards.map(({ name }) => [name, 0]));
  for (let i = 0; i < 3_000; i += 1) {
    const shard = placeMailbox(`mailbox-${i}`, shards);
    counts[shard] = (counts[shard] ?? 0) + 1;
  }
  return counts;
}

describe('placeMailbox', () => {
  it('depends on the set of shards, not on their order', () => {
    fc.assert(
      fc.property(fc.uuid(), named, (uuid, names) => {
        expect(placeMailbox(uuid, equal([...names].reverse()))).toBe(placeMailbox(uuid, equal(names)));
      }),
    );
  });

  it('a new shard takes mailboxes only to itself', () => {
    fc.assert(
      fc.property(fc.uuid(), named, (uuid, names) => {
        const before = placeMailbox(uuid, equal(names));
        expect([before, 'zzzzz']).toContain(placeMailbox(uuid, equal([...names, 'zzzzz'])));
      }),
    );
  });

  it('spreads evenly over equal shards', () => {
    for (const count of Object.values(spread([load('a'), load('b'), load('c')])))
      expect(Math.abs(count - 1_000)).toBeLessThan(120);
  });

  it('by free space', () => {
    const { a = 0, b = 0 } = spread([load('a', { usedBytes: 20 * G }), load('b', { usedBytes: 60 * G })]);
    expect(Math.abs(a - 2_000)).toBeLessThan(120);
    expect(a + b).toBe(3_000);
  });

  it('a new shard gets more, but not all of a burst', () => {
    const { a = 0, b = 0 } = spread([load('a'), load('b', { mailboxes: 0, usedBytes: 0 })]);
    expect(b).toBeGreaterThan(2_000);
    expect(a).toBeGreaterThan(20);
  });

  it('none to one that is full, is being emptied or has no primary, while another takes them', () => {
    expect(spread([load('a', { usedBytes: 95 * G }), load('b')])).toEqual({ a: 0, b: 3_000 });
    expect(spread(candidates([{ name: 'a' }, { name: 'b' }], [], new Set(['a'])))).toEqual({ a: 0, b: 3_000 });
    expect(spread([load('a', { open: false }), load('b')])).toEqual({ a: 0, b: 3_000 });
  });

  it('somewhere, when all are full or closed; then not to the one that is being emptied', () => {
    const { a = 0, b = 0 } = spread([load('a', { open: false }), load('b', { usedBytes: 99 * G })]);
    expect(a).toBeGreaterThan(0);
    expect(b).toBeGreaterThan(0);
    expect(spread([load('a', { leaving: true }), load('b', { open: false })])).toEqual({ a: 0, b: 3_000 });
    expect(placeMailbox('u', [load('a', { leaving: true })])).toBe('a');
  });

  it('takes a shard whose members have not said anything as the usual one', () => {
    const { a = 0 } = spread([load('a'), load('b', { usedBytes: undefined, totalBytes: undefined })]);
    expect(Math.abs(a - 1_500)).toBeLessThan(120);
  });

  it('keeps a shared mailbox near most of those who share it', () => {
    const shards = equal(['a', 'b', 'c']);
    for (const shard of ['a', 'b', 'c']) expect(placeMailbox('u', shards, ['a', 'b', 'c', shard])).toBe(shard);
    expect(placeMailbox('u', shards, ['gone', 'gone'])).toBe(placeMailbox('u', shards));
  });

  it('refuses to place where nothing is', () => {
    expect(() => placeMailbox('u', [])).toThrow('no shard');
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { placeMailbox } from './placement.js';

const shards = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,4}$/), { minLength: 1, maxLength: 6 });

describe('placeMailbox', () => {
  it('depends on the set of shards, not on their order', () => {
    fc.assert(
      fc.property(fc.uuid(), shards, (uuid, names) => {
        expect(placeMailbox(uuid, [...names].reverse())).toBe(placeMailbox(uuid, names));
      }),
    );
  });

  it('a new shard takes mailboxes only to itself', () => {
    fc.assert(
      fc.property(fc.uuid(), shards, (uuid, names) => {
        const before = placeMailbox(uuid, names);
        expect([before, 'zzzzz']).toContain(placeMailbox(uuid, [...names, 'zzzzz']));
      }),
    );
  });

  it('spreads evenly', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 3_000; i += 1) {
      const shard = placeMailbox(`mailbox-${i}`, ['a', 'b', 'c']);
      counts.set(shard, (counts.get(shard) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(Math.abs(count - 1_000)).toBeLessThan(120);
  });

  it('keeps a shared mailbox near most of those who share it', () => {
    const shards = ['a', 'b', 'c'];
    for (const shard of shards) expect(placeMailbox('u', shards, ['a', 'b', 'c', shard])).toBe(shard);
    expect(placeMailbox('u', shards, ['gone', 'gone'])).toBe(placeMailbox('u', shards));
  });

  it('refuses to place where nothing is', () => {
    expect(() => placeMailbox('u', [])).toThrow('no shard');
  });
});

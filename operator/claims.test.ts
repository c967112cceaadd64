import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Claimant, losesTo, winner } from './claims.js';

const claimant = fc.record({ second: fc.integer({ min: 0, max: 3 }), uid: fc.uuid() }).map(
  ({ second, uid }): Claimant => ({
    metadata: { name: uid, uid, creationTimestamp: `2026-01-01T00:00:0${second}Z` },
  }),
);
const claimants = fc.uniqueArray(claimant, { selector: (c) => c.metadata.uid, minLength: 1, maxLength: 8 });

describe('claims', () => {
  it('has the same winner in every order of events', () => {
    fc.assert(
      fc.property(
        claimants.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        ([list, shuffled]) => {
          expect(winner(shuffled)?.metadata.uid).toBe(winner(list)?.metadata.uid);
        },
      ),
    );
  });

  it('lets exactly one claimant win, and it is the oldest', () => {
    fc.assert(
      fc.property(claimants, (list) => {
        const winners = list.filter((c) => losesTo(c, list) === undefined);
        expect(winners).toHaveLength(1);
        const oldest = list.map((c) => c.metadata.creationTimestamp ?? '').sort()[0];
        expect(winners[0]?.metadata.creationTimestamp).toBe(oldest);
      }),
    );
  });

  it('lets a claimant win that is not in the list yet but older than all of it', () => {
    const old: Claimant = { metadata: { name: 'old', uid: 'z', creationTimestamp: '2026-01-01T00:00:00Z' } };
    const young: Claimant = { metadata: { name: 'young', uid: 'a', creationTimestamp: '2026-01-02T00:00:00Z' } };
    expect(losesTo(old, [young])).toBeUndefined();
    expect(losesTo(young, [old])?.metadata.name).toBe('old');
  });
});

import { describe, expect, it } from 'vitest';
import { differences } from './inventory.js';
import { hold, isInSync, type PeerFacts, reportOf, step } from './report.js';

const facts: PeerFacts = {
  member: 1,
  seeded: true,
  reachable: true,
  compared: true,
  lagUsers: 0,
  lagMs: 0,
  remaining: 0,
  total: 100,
  lastCompare: 0,
  divergent: 0,
  stuck: 0,
};

describe('a report', () => {
  it('says the same of all that happens within five seconds', () => {
    const quiet = reportOf(facts, true);
    expect(quiet).toEqual({
      member: 1,
      inSync: true,
      lagChanges: 0,
      lagSeconds: 0,
      lastCompare: null,
      divergent: 0,
    });
    expect(reportOf({ ...facts, lagUsers: 17, lagMs: 4_900 }, true)).toEqual(quiet);
  });

  it('goes in coarse steps when the peer is behind', () => {
    expect(reportOf({ ...facts, lagUsers: 17, lagMs: 31_000 }, false)).toMatchObject({
      lagChanges: 20,
      lagSeconds: 50,
    });
    expect([0, 1, 2, 3, 7, 11, 99, 100, 101].map(step)).toEqual([0, 1, 2, 5, 10, 20, 100, 100, 200]);
  });

  it('counts what is left to fill, in twentieths', () => {
    const filling = { ...facts, seeded: false, total: 310 };
    const said = new Set<number>();
    for (let remaining = 310; remaining >= 0; remaining--) {
      const { lagChanges } = reportOf({ ...filling, remaining }, false);
      expect(lagChanges).toBeGreaterThanOrEqual(remaining);
      said.add(lagChanges);
    }
    expect(said.size).toBeLessThanOrEqual(21);
    expect(reportOf({ ...filling, remaining: 0 }, false).lagChanges).toBe(0);
  });

  it('has a peer in sync only when nothing from before can be missing, and it is reached', () => {
    expect(isInSync(facts)).toBe(true);
    for (const wrong of [{ seeded: false }, { reachable: false }, { compared: false }, { lagMs: 10_000 }]) {
      expect(isInSync({ ...facts, ...wrong })).toBe(false);
    }
  });

  it('changes its mind about that after ten seconds of the other', () => {
    let held = hold({ value: true, since: undefined }, false, 0);
    expect(held.value).toBe(true);
    held = hold(held, false, 9_999);
    expect(held.value).toBe(true);
    expect(hold(held, false, 10_000).value).toBe(false);
    held = hold(held, true, 9_999);
    expect(hold(held, false, 10_000)).toEqual({ value: true, since: 10_000 });
  });
});

describe('a comparison', () => {
  const folder = { name: 'INBOX', guid: 'g', uidvalidity: 1, messages: 2, digest: 'd' };

  it('finds other folders, UIDs, counts and flags', () => {
    const differ = (other: Partial<typeof folder>): string[] =>
      differences({ folders: [folder] }, { folders: [{ ...folder, ...other }] });
    expect(differ({})).toEqual([]);
    expect(differ({ digest: 'e' })).toEqual(['folder g: other messages or flags']);
    expect(differ({ messages: 3 })).toEqual(['folder g: 2 messages here, 3 there']);
    expect(differ({ uidvalidity: 2 })).toHaveLength(1);
    expect(differ({ guid: 'h' })).toHaveLength(1);
    expect(differ({ name: 'Sent' })).toEqual(['folder g: not there, 2 messages', 'folder g: not here, 2 messages']);
  });

  it('makes nothing of empty folders, which appear when somebody looks', () => {
    const empty = { ...folder, name: 'Drafts', messages: 0 };
    expect(differences({ folders: [folder, empty] }, { folders: [folder] })).toEqual([]);
    expect(differences({ folders: [] }, { folders: [empty] })).toEqual([]);
    expect(differences({ folders: [empty] }, { folders: [{ ...empty, guid: 'x', uidvalidity: 9 }] })).toEqual([]);
  });
});

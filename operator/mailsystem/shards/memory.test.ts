import { describe, expect, it } from 'vitest';
import type { ShardState } from '../../directory/rows.js';
import { isUncertain, type Memory, mayPart, noteHandover, noteLease, noteParting, noteShard } from './memory.js';
import { shard } from './testing/shard.js';

const lease = (renewals: number, primary: number | null = 0) =>
  ({ name: 'a', epoch: 4, renewals, primary }) as unknown as ShardState;
const unknown = { status: undefined, troubledSince: undefined };
const said = (state: 'InSync' | 'Behind') => ({
  status: { name: 'a', epoch: 4, members: [{ pod: 'mail-store-a-1', state, seeded: true }] },
  troubledSince: undefined,
});

describe('a lease', () => {
  it("is nobody's when nobody has renewed it for some seconds, from when that was noticed", () => {
    const memory: Memory = new Map();
    expect(noteLease(memory, lease(1), 0)).toBe(true);
    expect(isUncertain(memory, 'a', 0)).toBe(false);
    // The operator may have slept for an hour: one look tells nothing.
    expect(noteLease(memory, lease(1), 3_600_000)).toBe(true);
    expect(isUncertain(memory, 'a', 3_600_000)).toBe(true);
    expect(noteLease(memory, lease(1), 3_605_000)).toBe(false);
    expect(noteLease(memory, lease(2), 3_607_000)).toBe(true);
    expect(isUncertain(memory, 'a', 3_607_000)).toBe(false);
  });

  it('that was given back has no primary at once', () => {
    expect(noteLease(new Map(), lease(1, null), 0)).toBe(false);
  });
});

describe('a copy', () => {
  const behind = shard([{}, { inSync: false }]);

  it('that was in sync wavers for a while, and one that was behind does not', () => {
    const memory: Memory = new Map();
    expect([...noteShard(memory, behind, said('InSync'), 1_000).wavering]).toEqual([1]);
    expect([...noteShard(memory, behind, said('InSync'), 20_999).wavering]).toEqual([1]);
    expect([...noteShard(memory, behind, said('InSync'), 21_000).wavering]).toEqual([]);
    expect([...noteShard(new Map(), behind, said('Behind'), 1e9).wavering]).toEqual([]);
  });

  it('is alone from when no other is up to date, also across a restart of the operator', () => {
    const memory: Memory = new Map();
    expect(noteShard(memory, behind, said('InSync'), 1e9).aloneSince).toBeUndefined();
    expect(noteShard(memory, behind, said('InSync'), 1e9 + 20_000).aloneSince).toBe(1e9 + 20_000);
    expect(noteShard(memory, shard([{}, {}]), said('Behind'), 1e9 + 30_000).aloneSince).toBeUndefined();
    expect(noteShard(new Map(), behind, { ...said('Behind'), troubledSince: 77 }, 1e9).aloneSince).toBe(77);
    expect(noteShard(new Map(), shard([{}]), unknown, 1e9).aloneSince).toBeUndefined();
  });

  it('is in sight as long as another pod runs', () => {
    const memory: Memory = new Map();
    const gone = shard([{}, { inSync: false, pod: { ready: false } }]);
    expect(noteShard(memory, behind, unknown, 10).hopelessSince).toBeUndefined();
    expect(noteShard(memory, gone, unknown, 20).hopelessSince).toBe(20);
    expect(noteShard(memory, gone, unknown, 30).hopelessSince).toBe(20);
    expect(noteShard(memory, behind, unknown, 40).hopelessSince).toBeUndefined();
  });
});

describe("parting from the database's leader", () => {
  it('is asked for once in ten minutes, and not for ever', () => {
    const memory: Memory = new Map();
    expect(mayPart(memory, 'a', 0)).toBe(true);
    noteParting(memory, 'a', 0);
    noteHandover(memory, 'a', 1, 0);
    expect(mayPart(memory, 'a', 59_000)).toBe(true);
    expect(mayPart(memory, 'a', 60_000)).toBe(false);
    noteHandover(memory, 'a', undefined, 61_000);
    expect(mayPart(memory, 'a', 599_000)).toBe(false);
    expect(mayPart(memory, 'a', 600_000)).toBe(true);
  });
});

describe('a handover', () => {
  it('is overdue a minute after it was asked for, counted anew for another successor', () => {
    const memory: Memory = new Map();
    expect(noteHandover(memory, 'a', 1, 0)).toBeUndefined();
    expect(noteHandover(memory, 'a', 1, 60_000)).toBe(0);
    expect(noteHandover(memory, 'a', 2, 61_000)).toBeUndefined();
    expect(noteHandover(memory, 'a', undefined, 200_000)).toBeUndefined();
    expect(noteHandover(memory, 'a', 2, 200_001)).toBeUndefined();
  });
});

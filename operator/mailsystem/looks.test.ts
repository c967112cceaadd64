import { describe, expect, it } from 'vitest';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { createLooks, nextLook } from './looks.js';

const verdict = (status: ConditionUpdate['status'], type = 'DirectoryReady'): ConditionUpdate => ({
  type,
  status,
  reason: 'R',
  message: '',
});
const fine = [verdict('True')];
const bad = [verdict('False')];

describe('full looks', () => {
  it('are due at once for what is new or changed, and after 30 s at rest', () => {
    expect(nextLook(undefined, 1)).toBe(0);
    const look = createLooks().begin('k', 1_000)(1, fine);
    expect(nextLook(look, 2)).toBe(0);
    expect(nextLook(look, 1)).toBe(31_000);
  });

  it('come often while something is missing, and more rarely the longer it lasts', () => {
    const looks = createLooks();
    const gaps = [0, 60_000, 120_000, 1_000_000].map((now) => nextLook(looks.begin('k', now)(1, bad), 1) - now);
    expect(gaps).toEqual([3_000, 6_000, 12_000, 30_000]);
    looks.begin('k', 2_000_000)(1, fine);
    expect(nextLook(looks.begin('k', 3_000_000)(1, bad), 1)).toBe(3_003_000);
  });

  it('do not come more often for what only a person can change', () => {
    expect(nextLook(createLooks().begin('k', 0)(1, [verdict('False', 'VolumesReady')]), 1)).toBe(30_000);
  });

  it('are repeated when something happened while one was under way', () => {
    const looks = createLooks();
    const conclude = looks.begin('k', 0);
    looks.invalidate('k');
    conclude(1, fine);
    expect(looks.get('k')).toBeUndefined();
    looks.begin('k', 0)(1, fine);
    expect(looks.get('k')).toBeDefined();
  });

  it('that fail leave nothing behind', () => {
    const looks = createLooks();
    looks.begin('k', 0)(1, fine);
    looks.begin('k', 1);
    expect(looks.get('k')).toBeUndefined();
  });
});

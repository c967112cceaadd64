import { describe, expect, it } from 'vitest';
import { type Condition, isSameStatus, setConditions } from './conditions.js';

const ready: Condition = {
  type: 'Ready',
  status: 'True',
  reason: 'Provisioned',
  message: 'fine',
  observedGeneration: 1,
  lastTransitionTime: '2026-01-01T00:00:00Z',
};
const now = '2026-02-02T02:02:02.123Z';

describe('conditions', () => {
  it('keep their transition time while the status stays', () => {
    const [next] = setConditions([ready], [{ type: 'Ready', status: 'True', reason: 'Other', message: 'new words' }], {
      generation: 2,
      now,
    });
    expect(next).toEqual({ ...ready, reason: 'Other', message: 'new words', observedGeneration: 2 });
  });

  it('move it when the status changes, to the second', () => {
    const [next] = setConditions([ready], [{ type: 'Ready', status: 'False', reason: 'Gone', message: '' }], {
      generation: 1,
      now,
    });
    expect(next?.lastTransitionTime).toBe('2026-02-02T02:02:02Z');
  });

  it('of other types stay where they are', () => {
    const other = { ...ready, type: 'Other' };
    const update = { type: 'Third', status: 'Unknown' as const, reason: 'New', message: '' };
    expect(setConditions([other, ready], [update], { generation: 1, now }).map(({ type }) => type)).toEqual([
      'Other',
      'Ready',
      'Third',
    ]);
  });

  it('are the same when nothing is new', () => {
    const { lastTransitionTime, observedGeneration, ...update } = ready;
    expect(isSameStatus([ready], setConditions([ready], [update], { generation: 1, now }))).toBe(true);
  });
});

describe('two statuses are the same', () => {
  it('when the API server would store the same, so without fields that are undefined', () => {
    const before = { a: 1, b: { c: 1, d: 2 }, list: [{ e: 1 }, 2] };
    expect(isSameStatus(before, { list: [{ e: 1, f: undefined }, 2], b: { d: 2, c: 1 }, a: 1, extra: undefined })).toBe(
      true,
    );
    expect(isSameStatus(before, { ...before, b: { c: 1 } })).toBe(false);
    expect(isSameStatus(before, { ...before, list: [2, { e: 1 }] })).toBe(false);
    expect(isSameStatus(before, { ...before, a: null })).toBe(false);
    expect(isSameStatus(undefined, { a: 1 })).toBe(false);
  });
});

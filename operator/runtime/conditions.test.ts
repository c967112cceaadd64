import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Condition, mergePatchOf, setConditions } from './conditions.js';

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
    expect(mergePatchOf([ready], setConditions([ready], [update], { generation: 1, now }))).toBeUndefined();
  });
});

describe('the merge patch between two statuses', () => {
  it('has only what differs, and null for what is gone', () => {
    const before = { a: 1, b: { c: 1, d: 2 }, list: [1, 2], gone: true };
    expect(mergePatchOf(before, { a: 1, b: { c: 1, d: 3 }, list: [1] })).toEqual({
      b: { d: 3 },
      list: [1],
      gone: null,
    });
    expect(mergePatchOf(before, { ...before, extra: undefined })).toBeUndefined();
    expect(mergePatchOf(undefined, { a: 1 })).toEqual({ a: 1 });
  });

  it('makes the one of the other (RFC 7386)', () => {
    const scalar = fc.oneof(fc.integer({ max: 3, min: 0 }), fc.constantFrom('x', 'y'), fc.boolean());
    const { tree } = fc.letrec<{ tree: unknown; object: object }>((tie) => ({
      tree: fc.oneof({ maxDepth: 3 }, scalar, fc.array(scalar, { maxLength: 3 }), tie('object')),
      object: fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('tree'), { noNullPrototype: true }),
    }));
    const object = fc.dictionary(fc.constantFrom('a', 'b', 'c'), tree, { noNullPrototype: true });
    fc.assert(
      fc.property(object, object, (before, after) => {
        const patch = mergePatchOf(before, after);
        expect(patch === undefined ? before : applyMergePatch(before, patch)).toEqual(after);
      }),
    );
  });
});

/** RFC 7386, section 2, word by word. */
function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const isObject = typeof target === 'object' && target !== null && !Array.isArray(target);
  const result: Record<string, unknown> = isObject ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = applyMergePatch(result[name], value);
  }
  return result;
}

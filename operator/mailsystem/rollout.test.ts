import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { podToReplace, type RolloutPod } from './rollout.js';

const pod = (name: string, fields: Partial<RolloutPod> = {}): RolloutPod => ({
  name,
  revision: 'old',
  ready: true,
  terminating: false,
  leader: false,
  ...fields,
});
const decide = (pods: RolloutPod[], replicas = pods.length) => podToReplace({ pods, updateRevision: 'new', replicas });

describe('podToReplace', () => {
  it('does nothing when all pods are current', () => {
    expect(decide([pod('db-0', { revision: 'new' }), pod('db-1', { revision: 'new' })])).toBeUndefined();
  });

  it('takes replicas from the highest ordinal down and the leader last', () => {
    expect(decide([pod('db-0'), pod('db-1'), pod('db-2', { leader: true })])).toBe('db-1');
    expect(decide([pod('db-0'), pod('db-1', { revision: 'new' }), pod('db-2', { leader: true })])).toBe('db-0');
    expect(decide([pod('db-0', { revision: 'new' }), pod('db-1', { leader: true })])).toBe('db-1');
  });

  it('compares ordinals as numbers', () => {
    expect(decide([pod('db-9'), pod('db-10')])).toBe('db-10');
  });

  it('waits while a pod is away, on its way out or not ready', () => {
    expect(decide([pod('db-0'), pod('db-1')], 3)).toBeUndefined();
    expect(decide([pod('db-0'), pod('db-1', { terminating: true })])).toBeUndefined();
    expect(decide([pod('db-0'), pod('db-1', { revision: 'new', ready: false })])).toBeUndefined();
  });

  it('replaces an outdated pod that is broken, so that a bad release can be mended', () => {
    expect(decide([pod('db-0'), pod('db-1', { ready: false })], 3)).toBe('db-1');
  });

  it('never takes a ready pod unless every other pod is ready', () => {
    const pods = fc.array(
      fc.record({
        ready: fc.boolean(),
        terminating: fc.boolean(),
        leader: fc.boolean(),
        revision: fc.constantFrom('old', 'new'),
      }),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(pods, (list) => {
        const all = list.map((fields, i) => pod(`db-${i}`, fields));
        const chosen = all.find((p) => p.name === decide(all));
        if (chosen?.ready) expect(all.every((p) => p.ready && !p.terminating)).toBe(true);
      }),
    );
  });
});

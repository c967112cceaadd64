import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Shard } from './observe.js';
import { HOPELESS_MS, nextStep } from './step.js';
import { shard, withoutPod } from './testing/shard.js';

const NOW = 1_000_000_000;
const at = (of: Shard, more: { hopelessSince?: number; updateRevision?: string } = {}) =>
  nextStep(of, { updateRevision: 'new', now: NOW, hopelessSince: undefined, ...more });
const old = { pod: { revision: 'old' } };

describe('a roll', () => {
  it('takes replicas first, the highest number first, then asks the primary to hand over, then takes it', () => {
    expect(at(shard([old, old, old]))).toEqual({ kind: 'replace', pod: 'mail-store-a-2' });
    expect(at(shard([old, old, {}]))).toEqual({ kind: 'replace', pod: 'mail-store-a-1' });
    expect(at(shard([old, {}, {}]))).toEqual({ kind: 'handOver', to: 1 });
    expect(at(shard([old, {}, {}], { primary: 1 }))).toEqual({ kind: 'replace', pod: 'mail-store-a-0' });
    expect(at(shard([{}, {}, {}]))).toEqual({ kind: 'rest' });
  });

  it.each([
    ['is away', { pod: { ready: false, readySince: 0 } }],
    ['is behind', { inSync: false }],
    ['has just come back', { pod: { readySince: NOW - 5_000 } }],
    ['is being filled', { seeded: false, inSync: false }],
  ])('waits while another copy %s', (_, other) => {
    expect(at(shard([old, old, other]))).toMatchObject({ kind: 'wait' });
    expect(at(shard([old, {}, other]))).toMatchObject({ kind: 'wait' });
  });

  it('waits while a pod goes or is not there yet, and while nobody is the primary', () => {
    expect(at(shard([old, old, { pod: { terminating: true } }]))).toMatchObject({ kind: 'wait' });
    expect(at(withoutPod(shard([old, old, {}]), 2))).toMatchObject({ kind: 'wait' });
    expect(at(shard([old, old], { primary: null }))).toMatchObject({ kind: 'wait' });
  });

  it('does not wait for a copy that there is no node for', () => {
    const nowhere = { inSync: false, pod: { unschedulable: true, ready: false, readySince: 0, node: undefined } };
    expect(at(shard([old, old, nowhere]))).toEqual({ kind: 'replace', pod: 'mail-store-a-1' });
    expect(at(shard([old, {}, nowhere]))).toEqual({ kind: 'handOver', to: 1 });
  });

  it('replaces a broken outdated pod at once, but not the primary', () => {
    const broken = { inSync: false, pod: { revision: 'old', ready: false, readySince: 0 } };
    expect(at(shard([old, broken, { inSync: false }]))).toEqual({ kind: 'replace', pod: 'mail-store-a-1' });
    expect(at(shard([broken, {}]))).toEqual({ kind: 'handOver', to: 1 });
  });

  it('restarts in its place a primary from when there was one copy, which can fill no other', () => {
    const single = { pod: { revision: 'old', replicates: false } };
    expect(at(shard([single, { seeded: false, inSync: false }]))).toEqual({ kind: 'replace', pod: 'mail-store-a-0' });
  });

  it('restarts the primary in its place when no copy is in sight for long', () => {
    const gone = { inSync: false, pod: { ready: false, readySince: 0 } };
    expect(at(shard([old, gone]), { hopelessSince: NOW - 1_000 })).toMatchObject({ kind: 'wait' });
    expect(at(shard([old, gone]), { hopelessSince: NOW - HOPELESS_MS })).toEqual({
      kind: 'replace',
      pod: 'mail-store-a-0',
    });
  });

  it('does nothing while the present specification is not known', () => {
    expect(nextStep(shard([old, old]), { updateRevision: undefined, now: NOW, hopelessSince: undefined })).toEqual({
      kind: 'rest',
    });
  });
});

describe('a drain', () => {
  const leaving = { node: 'leaving' as const };

  it('moves the primary to the copy with the least lag on a node that stays', () => {
    expect(at(shard([leaving, { lagSeconds: 2 }, { lagSeconds: 0.1 }]))).toEqual({ kind: 'handOver', to: 2 });
    expect(at(shard([leaving, {}, { node: 'doubtful' }]))).toEqual({ kind: 'handOver', to: 1 });
    expect(at(shard([leaving, leaving, {}]))).toEqual({ kind: 'handOver', to: 2 });
  });

  it('keeps to the one that was asked, as long as it can', () => {
    expect(at(shard([leaving, {}, {}], { wanted: 2 }))).toEqual({ kind: 'handOver', to: 2 });
    expect(at(shard([leaving, {}, { inSync: false }], { wanted: 2 }))).toEqual({ kind: 'handOver', to: 1 });
  });

  it('says that it waits when nobody can take over, and asks nobody any more when it is over', () => {
    expect(at(shard([leaving, { inSync: false }]))).toMatchObject({ kind: 'wait', draining: true });
    expect(at(shard([leaving, leaving]))).toMatchObject({ kind: 'wait', draining: true });
    expect(at(shard([{}, {}], { wanted: 1 }))).toEqual({ kind: 'withdraw' });
  });

  it('of a node without a primary, or that is only away from the API, moves nothing', () => {
    expect(at(shard([{}, leaving]))).toEqual({ kind: 'rest' });
    expect(at(shard([{ node: 'doubtful' }, {}]))).toEqual({ kind: 'rest' });
    expect(at(shard([leaving]))).toEqual({ kind: 'rest' });
  });
});

describe("the node of the database's leader", () => {
  const on = (of: Shard, avoid = 'node-0') =>
    nextStep(of, { updateRevision: 'new', now: NOW, hopelessSince: undefined, avoid });

  it('is left by the primary, to the one with the least lag elsewhere', () => {
    expect(on(shard([{}, { lagSeconds: 3 }, {}]))).toEqual({ kind: 'handOver', to: 2 });
    expect(on(shard([{}, {}], { wanted: 1 }))).toEqual({ kind: 'handOver', to: 1 });
    expect(on(shard([{}, {}, {}]), 'node-1')).toEqual({ kind: 'rest' });
  });

  it.each([
    ['is behind', { inSync: false }],
    ['has just come back', { pod: { readySince: NOW - 5_000 } }],
    ['is on a node that is away from the API', { node: 'doubtful' as const }],
    ['is on the same node', { pod: { node: 'node-0' } }],
  ])('is not left while another copy %s', (_, other) => {
    expect(on(shard([{}, other]))).toEqual({ kind: 'rest' });
  });

  it('is not left with one copy, and a drain comes first', () => {
    expect(on(shard([{}]))).toEqual({ kind: 'rest' });
    expect(on(shard([{ node: 'leaving' }, {}]), 'node-1')).toEqual({ kind: 'handOver', to: 1 });
  });
});

describe('whatever happens', () => {
  const flag = fc.boolean();
  const pod = fc.record({
    ready: flag,
    readySince: fc.constantFrom(1, NOW - 1_000),
    terminating: flag,
    revision: fc.constantFrom('old', 'new'),
  });
  const member = fc.record({
    copy: fc.record({ inSync: flag, seeded: flag, node: fc.constantFrom('fine' as const, 'leaving' as const), pod }),
    there: flag,
  });
  const primary = fc.option(fc.integer({ min: 0, max: 2 }));

  it('a primary that others could follow is never deleted, nobody who lacks mail is asked, and no second pod goes', () => {
    fc.assert(
      fc.property(fc.array(member, { minLength: 2, maxLength: 3 }), primary, (members, who) => {
        const made = shard(
          members.map(({ copy }) => copy),
          { primary: who },
        );
        const of = members.reduce((so, { there }, n) => (there ? so : withoutPod(so, n)), made);
        const step = at(of);
        if (step.kind === 'handOver') {
          expect(of.copies[step.to]).toMatchObject({ seeded: true, inSync: true, pod: { ready: true } });
          expect(step.to).not.toBe(of.primary);
        }
        if (step.kind !== 'replace') return;
        const victim = of.copies.find(({ pod }) => pod?.name === step.pod);
        expect(victim?.pod?.revision).toBe('old');
        expect(of.copies.some(({ pod }) => pod?.terminating)).toBe(false);
        expect(victim?.member).not.toBe(of.primary);
      }),
      { numRuns: 2_000 },
    );
  });
});

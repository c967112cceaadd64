import { describe, expect, it } from 'vitest';
import { coarse, failoverMessage, type Seen, shardStatuses, shardsVerdict } from './describe.js';
import type { Shard } from './observe.js';
import { nextStep } from './step.js';
import { shard, withoutPod } from './testing/shard.js';

function seen(of: Shard, more: Partial<Seen> = {}): Seen {
  const step = nextStep(of, { updateRevision: 'new', now: 1e9, hopelessSince: undefined });
  return { shard: of, step, overdueSince: undefined, wavering: new Set(), ...more };
}
const verdict = (...all: Seen[]) => shardsVerdict(all);
const filling = { seeded: false, inSync: false, lagChanges: 268 };

describe('status.shards', () => {
  it('names the primary and says how each copy is', () => {
    const of = shard([{}, { inSync: false, lagSeconds: 7 }, filling]);
    expect(shardStatuses([seen(of)])).toEqual([
      {
        name: 'a',
        primary: 'mail-store-a-0',
        epoch: 4,
        members: [
          { pod: 'mail-store-a-0', state: 'Primary', seeded: true, node: 'node-0' },
          { pod: 'mail-store-a-1', state: 'Behind', seeded: true, lag: 'less than 10s', node: 'node-1' },
          { pod: 'mail-store-a-2', state: 'Filling', seeded: false, lag: '31 of 310 mailboxes', node: 'node-2' },
        ],
      },
    ]);
  });

  it('says nothing new of what changes all the time', () => {
    const lag = (lagSeconds: number) => shardStatuses([seen(shard([{}, { inSync: false, lagSeconds }]))]);
    expect(lag(61)).toEqual(lag(599));
    const fill = (lagChanges: number) => shardStatuses([seen(shard([{}, { ...filling, lagChanges }]))]);
    expect(new Set(Array.from({ length: 311 }, (_, n) => JSON.stringify(fill(n)))).size).toBeLessThanOrEqual(21);
    const moment = seen(shard([{}, { inSync: false, lagSeconds: 1 }]), { wavering: new Set([1]) });
    expect(shardStatuses([moment])[0]?.members[1]?.state).toBe('InSync');
    expect(verdict(moment).status).toBe('True');
  });

  it.each([
    [0, 'less than 10s'],
    [59, 'less than 1m'],
    [3_599, 'less than 1h'],
    [1e9, 'more than 1d'],
  ])('%d s are %s', (seconds, said) => expect(coarse(seconds)).toBe(said));
});

describe('ReplicasReady', () => {
  it('is True when all copies are up to date', () => {
    expect(verdict(seen(shard([{}, {}])))).toMatchObject({ status: 'True', reason: 'InSync' });
    expect(verdict(seen(shard([{}])))).toMatchObject({ status: 'True', reason: 'SingleCopies' });
  });

  it('tells in plain words what is missing, and what that means', () => {
    const { reason, message } = verdict(seen(shard([{}, filling])));
    expect(reason).toBe('Filling');
    expect(message).toBe(
      'Shard a: 1 of 2 copies is up to date; mail-store-a-1 is being filled (31 of 310 mailboxes). As long as no other copy can be reached, what is delivered is on one volume.',
    );
    const defer = seen(shard([{}, { inSync: false }], { withoutReplica: 'Defer' }));
    expect(verdict(defer).message).toContain('Deliveries wait');
    const nowhere = { inSync: false, pod: { unschedulable: true, ready: false, node: undefined } };
    expect(verdict(seen(shard([{}, {}, nowhere])))).toMatchObject({ status: 'False', reason: 'NoNode' });
    expect(verdict(seen(withoutPod(shard([{}, {}]), 1)))).toMatchObject({ status: 'False', reason: 'Away' });
  });

  it('says what to do when the volume was replaced and there is no other copy', () => {
    const blank = { seeded: false, inSync: false };
    const { reason, message } = verdict(seen(shard([blank], { primary: null })));
    expect(reason).toBe('VolumeRefused');
    expect(message).toContain('posthorn.dev/accept-volume: mail-store-a-0=volume-0');
    // Another copy has the mail: it is that one that has to come.
    expect(verdict(seen(shard([blank, {}], { primary: null })))).toMatchObject({ reason: 'NoPrimary' });
    expect(shardStatuses([seen(shard([blank, {}], { primary: null }))])[0]?.members[0]?.state).toBe('Filling');
    expect(verdict(seen(shard([blank], { primary: null, epoch: 0 })))).toMatchObject({ reason: 'NoPrimary' });
  });

  it('tells of a handover that does not come about, and of a drain that waits', () => {
    const leaving = { node: 'leaving' as const };
    const overdue = seen(shard([leaving, {}]), { overdueSince: '2026-11-24T18:03Z' });
    expect(verdict(overdue)).toMatchObject({ reason: 'HandoverOverdue' });
    expect(verdict(seen(shard([leaving, leaving])))).toMatchObject({ status: 'False', reason: 'DrainWaits' });
  });

  it('has the gravest of several as its reason', () => {
    const closed = seen(shard([{}, {}], { primary: null, name: 'b' }));
    expect(verdict(seen(shard([{}, filling])), closed)).toMatchObject({ reason: 'NoPrimary' });
  });
});

describe('failoverMessage', () => {
  const after = { name: 'a', primary: 'mail-store-a-1', epoch: 5, members: [] };

  it('names the new primary and the former', () => {
    expect(failoverMessage({ epoch: 4, primary: 'mail-store-a-0' }, after)).toBe(
      'Primary of shard a is now mail-store-a-1 (epoch 5), was mail-store-a-0.',
    );
  });

  it('says nothing of the first primary, of a restart in place, and of what was said', () => {
    expect(failoverMessage(undefined, after)).toBeUndefined();
    expect(failoverMessage({ epoch: 0, primary: undefined }, after)).toBeUndefined();
    expect(failoverMessage({ epoch: 4, primary: 'mail-store-a-1' }, after)).toBeUndefined();
    expect(failoverMessage({ epoch: 5, primary: 'mail-store-a-0' }, after)).toBeUndefined();
  });
});

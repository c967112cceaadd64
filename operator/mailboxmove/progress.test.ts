import { describe, expect, it } from 'vitest';
import type { MoveState } from '../directory/rows.js';
import { phaseOf, progressOf, type Traveller } from './progress.js';

function traveller(name: string, phase?: MoveState['phase'], report: object = {}, shard = 'a'): Traveller {
  const move = { uuid: name, fromShard: 'a', toShard: 'b', phase, report } as unknown as MoveState;
  return { uuid: name, name, shard, move: phase && move };
}

describe('phaseOf', () => {
  it.each([
    [traveller('m'), 'Pending'],
    [traveller('m', undefined, {}, 'b'), 'Done'],
    [traveller('m', 'syncing'), 'PreSync'],
    [traveller('m', 'switching', { step: 'drain' }), 'Draining'],
    [traveller('m', 'switching', { step: 'compare' }), 'Switching'],
    [traveller('m', 'settling', { step: 'late' }), 'Verifying'],
    [traveller('m', 'settling', { verified: true }), 'Done'],
    [traveller('m', 'done'), 'Done'],
    [traveller('m', 'failed'), 'RolledBack'],
  ])('%#: %s', (one, phase) => expect(phaseOf(one, 'b')).toBe(phase));
});

describe('progressOf', () => {
  it('of one mailbox has its phase, and what holds it up', () => {
    const { status, detail, over, ready } = progressOf(
      [traveller('m', 'syncing', { message: 'no route' })],
      'b',
      0,
      true,
    );
    expect(status).toMatchObject({ phase: 'PreSync', total: 1, moved: 0, running: 1 });
    expect(detail).toBe('PreSync: no route');
    expect(over).toBe(false);
    expect(ready).toMatchObject({ status: 'False', reason: 'Moving' });
  });

  it('of several counts them', () => {
    const all = [traveller('m', 'done'), traveller('n', 'switching'), traveller('o')];
    const { status, detail } = progressOf(all, 'b', 0, false);
    expect(status).toMatchObject({ phase: 'Moving', total: 3, moved: 1, running: 1, failed: 0 });
    expect(detail).toBe('Moving: 1 of 3 moved, 1 on their way');
  });

  it('is over when each has moved or is where it was', () => {
    const ok = progressOf([traveller('m', 'done'), traveller('n', undefined, {}, 'b')], 'b', 0, false);
    expect(ok).toMatchObject({ over: true, status: { phase: 'Done' }, ready: { status: 'True', reason: 'Done' } });
    const partly = progressOf([traveller('m', 'done'), traveller('n', 'failed', { message: 'why' })], 'b', 0, false);
    expect(partly).toMatchObject({ over: true, status: { phase: 'Done' }, ready: { reason: 'RolledBack' } });
    expect(partly.status.failures).toEqual([{ mailbox: 'n', message: 'why' }]);
    const none = progressOf([traveller('m', 'failed')], 'b', 0, true);
    expect(none).toMatchObject({ over: true, status: { phase: 'RolledBack' } });
    expect(progressOf([], 'b', 0, false)).toMatchObject({ over: true, status: { phase: 'Done' } });
  });

  it('waits for those that are not there', () => {
    expect(progressOf([], 'b', 1, true)).toMatchObject({ over: false, status: { phase: 'Pending', total: 1 } });
    expect(progressOf([traveller('m', 'done')], 'b', 1, false).over).toBe(false);
  });
});

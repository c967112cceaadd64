import { describe, expect, it } from 'vitest';
import { lateEvent, stateDetail, stateEvent, stateInEffect, stateMessage } from './state.js';

const now = new Date('2026-11-24T12:00:00Z');
const effect = (state: 'Active' | 'ReceiveOnly' | 'SendBlocked' | 'LoginOff' | 'Suspended', stateUntil?: string) =>
  stateInEffect({ state, ...(stateUntil ? { stateUntil } : {}), suspended: { mail: 'Accept' } }, now);

describe('stateInEffect', () => {
  it.each([
    ['2026-11-24T12:00:01Z', 'Suspended'],
    ['2026-11-24T12:00:00Z', 'Active'],
    ['2026-11-24T13:00+02:00', 'Active'],
    ['2026-11-24T13:01+01:00', 'Suspended'],
  ])('until %s is %s at noon', (until, state) => {
    expect(effect('Suspended', until).state).toBe(state);
  });

  it('is told in one line', () => {
    expect(stateDetail(effect('Suspended', '2026-12-31T18:00Z'))).toBe('Suspended until 2026-12-31 18:00 UTC');
    expect(stateDetail(effect('SendBlocked'))).toBe('SendBlocked');
    expect(stateDetail(effect('LoginOff', '2026-11-01T00:00:30Z'))).toBe(
      'Active (LoginOff ended 2026-11-01 00:00:30 UTC)',
    );
    const refused = stateInEffect({ state: 'Suspended', suspended: { mail: 'Refuse' } }, now);
    expect(stateDetail(refused)).toBe('Suspended (mail refused)');
    expect(stateMessage(refused)).toContain('mail is refused');
    expect(stateMessage(effect('LoginOff', '2026-11-01T00:00Z'))).toContain('no effect any more');
  });
});

describe('stateEvent', () => {
  it('says from what to what, until when, by whom and what it means', () => {
    expect(stateEvent('Active', effect('Suspended', '2026-12-31T18:00Z'), 'kubectl-edit')).toEqual({
      type: 'Warning',
      reason: 'StateChanged',
      message:
        'Active → Suspended until 2026-12-31 18:00 UTC, set by kubectl-edit: nobody can log in or send as it, mail is accepted. Open sessions that this forbids are cut.',
    });
    expect(stateEvent('Suspended', effect('Active'), undefined)?.type).toBe('Normal');
    expect(stateEvent(undefined, effect('ReceiveOnly'), undefined)?.message).toContain('Active → ReceiveOnly');
  });

  it('says nothing when nothing has changed', () => {
    expect(stateEvent('Suspended', effect('Suspended'), 'x')).toBeUndefined();
    expect(stateEvent(undefined, effect('Active'), 'x')).toBeUndefined();
  });

  it('says that a time has come, and that one was over already', () => {
    const over = effect('Suspended', '2026-11-24T11:00Z');
    expect(stateEvent('Suspended', over, undefined)?.reason).toBe('StateEnded');
    expect(stateEvent('Active', over, undefined)).toBeUndefined();
    expect(lateEvent(over)).toMatchObject({ type: 'Warning', reason: 'StateUntilPassed' });
    expect(lateEvent(effect('Suspended'))).toBeUndefined();
  });
});

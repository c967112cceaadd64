import { describe, expect, it } from 'vitest';
import type { DesiredForward } from './forward.js';
import { type ForwardObservation, forwardStatus } from './status.js';

const forward: DesiredForward = {
  address: 'a@example.org',
  to: ['x@y.example'],
  couriers: [{ webhook: {} }, { refused: 'WebhookNotAllowed' }],
  keepCopy: null,
  sendAs: null,
  require: null,
};
const fine: ForwardObservation = {
  problems: [],
  forward,
  outcome: { uid: 'u', result: 'written', conflicts: [] },
  lagging: [],
};
const summary = (fields: Partial<ForwardObservation>) =>
  Object.fromEntries(forwardStatus({ ...fine, ...fields }).conditions.map((c) => [c.type, `${c.status} ${c.reason}`]));

describe('forwardStatus', () => {
  it('is Ready when the directory shows it, and counts the targets that get mail', () => {
    expect(summary({})).toEqual({
      Ready: 'True Forwarding',
      Accepted: 'True Accepted',
      Provisioned: 'True Provisioned',
    });
    expect(forwardStatus(fine).detail).toBe('2 targets');
    const copy = { ...forward, couriers: [], keepCopy: 'box' };
    expect(forwardStatus({ ...fine, forward: copy }).detail).toBe('1 target, a copy to box');
  });

  it.each<[string, Partial<ForwardObservation>, string, string]>([
    [
      'a target is left out',
      { problems: [{ reason: 'ConsentMissing', message: 'm' }] },
      'False ConsentMissing',
      'True Provisioned',
    ],
    [
      'it is held back',
      { problems: [{ reason: 'LoopDetected', message: 'm' }], forward: undefined, outcome: undefined },
      'False LoopDetected',
      'False NotAccepted',
    ],
    [
      'no target is left',
      { problems: [{ reason: 'TargetNotFound', message: 'm' }], forward: 'none', outcome: undefined },
      'False TargetNotFound',
      'False NoTarget',
    ],
    [
      'the domain is not there yet',
      { outcome: { uid: 'u', result: 'refused', reason: 'UnknownDomain', conflicts: [] } },
      'True Accepted',
      'False UnknownDomain',
    ],
    [
      'the directory does not take it',
      { outcome: { uid: 'u', result: 'refused', reason: 'Invalid', message: 'why', conflicts: [] } },
      'False Invalid',
      'False NotAccepted',
    ],
    ['a member is behind', { lagging: ['mail-postgres-1'] }, 'True Accepted', 'False WaitingForReplicas'],
    [
      'the directory is away',
      { unavailable: 'gone', outcome: undefined },
      'True Accepted',
      'False DirectoryUnavailable',
    ],
  ])('says so when %s', (_, fields, accepted, provisioned) => {
    expect(summary(fields)).toMatchObject({ Accepted: accepted, Provisioned: provisioned });
    const ready = [accepted, provisioned].find((text) => text.startsWith('False'));
    expect(summary(fields).Ready).toBe(ready);
  });

  it.each([
    ['mailbox', /a@example.org is the main address of Mailbox mail\/box: to forward its mail as well, .*keepCopy/],
    ['alias', /an alias of Mailbox mail\/box/],
    ['forward', /belongs to mail\/box, which claimed it first: remove it there or here/],
  ] as const)('tells what to do about an address that is the %s of another', (kind, text) => {
    const owner = { uid: 'o', namespace: 'mail', name: 'box' };
    const conflicts = [{ address: 'a@example.org', kind, owner }];
    const outcome = { uid: 'u', result: 'refused', reason: 'AddressConflict', conflicts } as const;
    expect(summary({ outcome })).toMatchObject({ Ready: 'False AddressConflict' });
    expect(forwardStatus({ ...fine, outcome }).conditions[0]?.message).toMatch(text);
  });
});

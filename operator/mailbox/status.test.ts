import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MailboxObservation, mailboxStatus } from './status.js';

const fine: MailboxObservation = {
  problems: [],
  outcome: { uuid: 'u', result: 'written', shard: 'a', conflicts: [] },
  lagging: [],
  password: 'set',
  address: 'ann@example.org',
};
const readyOf = (fields: Partial<MailboxObservation>) => mailboxStatus({ ...fine, ...fields }).conditions[0];
const owner = { uid: 'o', namespace: 'mail', name: 'older' };

describe('mailboxStatus', () => {
  it('is Ready, and tells place and quota', () => {
    expect(readyOf({})).toMatchObject({ type: 'Ready', status: 'True', reason: 'Provisioned' });
    expect(mailboxStatus({ ...fine, quota: '10Gi' }).detail).toBe('Active, shard a, quota 10Gi');
  });

  it.each<[string, Partial<MailboxObservation>]>([
    ['DirectoryUnavailable', { unavailable: 'no connection' }],
    ['WaitingForReplicas', { lagging: ['mail-postgres-1'] }],
    ['DomainNotFound', { problems: [{ reason: 'DomainNotFound', message: 'x' }], outcome: undefined }],
    ['UnknownDomain', { outcome: { uuid: 'u', result: 'refused', reason: 'UnknownDomain', conflicts: [] } }],
    [
      'AddressConflict',
      {
        outcome: {
          uuid: 'u',
          result: 'refused',
          reason: 'AddressConflict',
          conflicts: [{ address: 'a@b.c', owner, kind: 'alias' }],
        },
      },
    ],
    [
      'AddressConflict',
      { outcome: { uuid: 'u', result: 'written', conflicts: [{ address: 'a@b.c', owner, kind: 'mailbox' }] } },
    ],
    ['SecretNotFound', { password: { reason: 'SecretNotFound', message: 'x' } }],
    ['NotChecked', { password: 'unchecked' }],
  ])('is not Ready because of %s', (reason, fields) => {
    expect(readyOf(fields)).toMatchObject({ type: 'Ready', reason });
    expect(readyOf(fields)?.status).not.toBe('True');
    expect(mailboxStatus({ ...fine, ...fields }).detail).toContain(reason);
  });

  it('names who has a contested address', () => {
    const conflicts = [{ address: 'ann@example.org', owner, kind: 'mailbox' as const }];
    expect(
      readyOf({ outcome: { uuid: 'u', result: 'refused', reason: 'AddressConflict', conflicts } })?.message,
    ).toContain('ann@example.org belongs to mail/older');
  });

  it('offers kept mail, and a mailbox without a declared password is fine', () => {
    expect(readyOf({ adoptable: ['kept-uuid'] })?.message).toContain('spec.adopt: kept-uuid');
    expect(readyOf({ password: 'none' })?.status).toBe('True');
  });

  it('Ready is True exactly if the other conditions are, and repeats the reason of the first that is not', () => {
    const observation = fc.record({
      problems: fc.constantFrom([], [{ reason: 'DomainNotFound' as const, message: 'x' }]),
      lagging: fc.constantFrom([], ['m']),
      unavailable: fc.constantFrom(undefined, 'down'),
      password: fc.constantFrom('none' as const, 'set' as const, { reason: 'KeyNotFound' as const, message: 'x' }),
    });
    fc.assert(
      fc.property(observation, (fields) => {
        const [ready, ...others] = mailboxStatus({ ...fine, ...fields }).conditions;
        const bad = others.find((condition) => condition.status !== 'True');
        expect(ready?.status).toBe(bad?.status ?? 'True');
        if (bad) expect(ready?.reason).toBe(bad.reason);
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Incident } from '../directory/rows.js';
import { type MailboxObservation, mailboxStatus } from './status.js';

const fine: MailboxObservation = {
  problems: [],
  outcome: { uuid: 'u', result: 'written', shard: 'a', conflicts: [] },
  lagging: [],
  password: 'set',
  appProblems: [],
  full: false,
  incidents: [],
  address: 'ann@example.org',
};
const readyOf = (fields: Partial<MailboxObservation>) => mailboxStatus({ ...fine, ...fields }).conditions[0];
const incident: Incident = {
  uuid: 'u',
  kind: 'Rate',
  detail: '900 recipients in 5 min.',
  since: new Date('2026-11-24T12:00:00Z'),
  until: new Date('2026-11-24T13:00:00Z'),
  count: 3,
};
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
    ['KeyNotFound', { appProblems: [{ reason: 'KeyNotFound', message: 'x' }] }],
    ['NotChecked', { password: 'unchecked' }],
    ['Pending', { sieve: 'pending' }],
    ['CompileError', { sieve: { error: 'line 3: oops' } }],
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
      appProblems: fc.constantFrom([], [{ reason: 'SecretNotFound' as const, message: 'x' }]),
      sieve: fc.constantFrom(undefined, 'pending' as const, { error: null }, { error: 'oops' }),
      members: fc.constantFrom(undefined, {
        type: 'MembersReady',
        status: 'False' as const,
        reason: 'MemberNotFound',
        message: 'x',
      }),
      full: fc.boolean(),
      incidents: fc.constantFrom([], [incident]),
    });
    fc.assert(
      fc.property(observation, (fields) => {
        const [ready, ...others] = mailboxStatus({ ...fine, ...fields }).conditions;
        const bad = others.find(({ type, status }) => !['Sending', 'Receiving'].includes(type) && status !== 'True');
        expect(ready?.status).toBe(bad?.status ?? 'True');
        if (bad) expect(ready?.reason).toBe(bad.reason);
      }),
    );
  });

  const of = (type: string, fields: Partial<MailboxObservation>) =>
    mailboxStatus({ ...fine, ...fields }).conditions.find((condition) => condition.type === type);

  it('quotes the compiler, at a bearable length', () => {
    expect(of('SieveReady', { sieve: { error: 'line 3: oops\n' } })?.message).toMatch(
      /The compiler says: line 3: oops$/,
    );
    expect(of('SieveReady', { sieve: { error: 'line 3: oops\n  line 4: too\n' } })?.message).toMatch(
      /: line 3: oops; line 4: too$/,
    );
    expect(of('SieveReady', { sieve: { error: 'x'.repeat(9_999) } })?.message.length).toBeLessThan(2_200);
    expect(of('SieveReady', { sieve: { error: null } })?.status).toBe('True');
    expect(of('SieveReady', {})).toBeUndefined();
  });

  it('tells of an account that was stopped, which is no fault of the object', () => {
    const stopped = { incidents: [incident] };
    expect(of('Sending', stopped)).toMatchObject({ status: 'False', reason: 'Throttled' });
    expect(of('Sending', stopped)?.message).toContain(
      'Rate: 900 recipients in 5 min. It may not send until 2026-11-24 13:00',
    );
    expect(of('Ready', stopped)?.status).toBe('True');
    expect(mailboxStatus({ ...fine, ...stopped }).detail).toBe(
      'Active, may not send until 2026-11-24 13:00 UTC, shard a',
    );
    expect(of('Sending', { incidents: [{ ...incident, until: null }] })).toMatchObject({
      status: 'True',
      reason: 'Reported',
    });
    expect(of('Sending', {})).toBeUndefined();
  });

  it('tells of a mailbox that is full', () => {
    expect(of('Receiving', { full: true, quota: '1Gi' })).toMatchObject({ status: 'False', reason: 'Full' });
    expect(mailboxStatus({ ...fine, full: true, quota: '1Gi' }).detail).toBe('Active, full, shard a, quota 1Gi');
    expect(of('Receiving', {})).toBeUndefined();
  });

  it('shows the state, whatever else is wrong', () => {
    const state = { state: 'Suspended' as const, mail: 'Refuse' as const };
    expect(mailboxStatus({ ...fine, state }).detail).toBe('Suspended (mail refused), shard a');
    expect(of('Ready', { state })).toMatchObject({
      status: 'True',
      message: expect.stringContaining('mail is refused'),
    });
    expect(mailboxStatus({ ...fine, state, sieve: { error: 'x' } }).detail).toMatch(
      /^Suspended \(mail refused\); CompileError: /,
    );
  });

  it('says who checks the password', () => {
    expect(of('PasswordReady', { password: 'ldap' })).toMatchObject({ status: 'True', reason: 'FromLDAP' });
  });
});

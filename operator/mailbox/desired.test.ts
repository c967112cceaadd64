import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../../crds/mailbox.js';
import { claimedAddresses, desiredMailbox, type HostingDomain, uuidOf } from './desired.js';

const mailbox = (spec: Partial<Mailbox['spec']> = {}): Mailbox => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'Mailbox',
  metadata: { name: 'ann', namespace: 'mail', uid: '11111111-1111-4111-8111-111111111111' },
  spec: { address: 'ann@example.org', ...spec },
});
const hosted: Record<string, HostingDomain> = {
  'example.org': { name: 'org', system: 'mail/mail' },
  'example.net': { name: 'net', system: 'mail/mail' },
  'other.example': { name: 'other', system: 'mail/other' },
  'waiting.example': { name: 'waiting', system: undefined },
};
const context = { domain: (domain: string) => hosted[domain] };
const desire = (spec: Partial<Mailbox['spec']> = {}) => desiredMailbox(mailbox(spec), context);

describe('desiredMailbox', () => {
  it('is canonical, with sizes in bytes', () => {
    const { mailbox: desired, problems } = desire({
      address: 'Ann@Example.ORG',
      aliases: ['Z@example.net'],
      quota: '1Gi',
    });
    expect(problems).toEqual([]);
    expect(desired).toEqual({
      system: 'mail/mail',
      uuid: '11111111-1111-4111-8111-111111111111',
      address: 'ann@example.org',
      aliases: ['z@example.net'],
      quotaBytes: 2 ** 30,
      deletionPolicy: 'Retain',
      state: 'Active',
      stateUntil: null,
      suspendedMail: 'Accept',
      sieve: null,
      retention: [],
      members: [],
      require: null,
      sending: null,
    });
  });

  it('has rights, members and limits in one form, however they are written', () => {
    const { mailbox: desired } = desire({
      state: 'Suspended',
      stateUntil: '2026-12-31T19:00+01:00',
      suspended: { mail: 'Refuse' },
      retention: [
        { folder: 'Trash', days: 30 },
        { folder: 'Junk', days: 7 },
      ],
      members: [{ mailbox: 'zoe' }, { mailbox: 'ben', rights: 'ReadOnly', sendAs: true }],
      require: { dkimAlignedFrom: ['Riseup.NET', 'bücher.example', 'riseup.net'] },
      sending: { hour: 0 },
    });
    expect(desired).toMatchObject({
      state: 'Suspended',
      stateUntil: '2026-12-31T18:00:00.000Z',
      suspendedMail: 'Refuse',
      retention: [
        { folder: 'Junk', days: 7 },
        { folder: 'Trash', days: 30 },
      ],
      members: [
        { mailbox: 'ben', rights: 'ReadOnly', sendAs: true },
        { mailbox: 'zoe', rights: 'ReadWrite', sendAs: false },
      ],
      require: { from: ['riseup.net', 'xn--bcher-kva.example'], otherwise: 'Reject' },
      sending: { hour: 0, day: null },
    });
  });

  it('answers only to addresses that it has', () => {
    const { mailbox: desired } = desire({
      aliases: ['a@nowhere.example', 'c@example.net'],
      vacation: { message: 'x' },
    });
    expect(desired?.sieve).toContain(':addresses ["ann@example.org", "c@example.net"]');
  });

  it.each([
    [{ stateUntil: '2026-02-30T00:00Z', state: 'Suspended' as const }, 'spec.stateUntil: must be a day'],
    [{ stateUntil: 'tomorrow', state: 'Suspended' as const }, 'spec.stateUntil: must be a time with its zone'],
    [{ sieve: 'keep;\0' }, 'spec.sieve: must not contain a NUL'],
    [{ retention: [{ folder: '*', days: 1 }] }, 'spec.retention[0].folder: must be the name'],
    [{ appPasswords: [{ name: 'password', secretRef: { name: 's' } }] }, 'spec.appPasswords[0].name: must not be'],
  ])('changes nothing for %j', (spec, message) => {
    const { mailbox: desired, problems } = desire(spec);
    expect(desired).toBeUndefined();
    expect(problems[0]?.message).toContain(message);
  });

  it('has the identity that it adopts', () => {
    const adopt = '22222222-2222-4222-8222-222222222222';
    expect(uuidOf(mailbox({ adopt }))).toBe(adopt);
    expect(desire({ adopt }).mailbox?.uuid).toBe(adopt);
  });

  it.each([
    ['nobody@nowhere.example', 'DomainNotFound'],
    ['nobody@waiting.example', 'SystemNotFound'],
    ['no address', 'InvalidSpec'],
  ])('changes nothing for the address %s', (address, reason) => {
    const { mailbox: desired, problems } = desire({ address });
    expect(desired).toBeUndefined();
    expect(problems.map((problem) => problem.reason)).toEqual([reason]);
  });

  it('goes without an alias that has no home in its own system, and says so', () => {
    const { mailbox: desired, problems } = desire({
      aliases: ['a@nowhere.example', 'b@other.example', 'c@example.net', 'd@waiting.example'],
    });
    expect(desired?.aliases).toEqual(['c@example.net']);
    expect(problems.map((problem) => problem.reason)).toEqual(['DomainNotFound', 'SystemNotFound', 'SystemNotFound']);
  });

  it('depends neither on the order nor on the case of aliases', () => {
    const local = fc.constantFrom('a', 'b', 'c', 'd', 'e');
    const aliases = fc.uniqueArray(local).map((names) => names.map((name) => `${name}@example.org`));
    fc.assert(
      fc.property(
        aliases.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        ([a, b]) => {
          expect(desire({ aliases: b.map((alias) => alias.toUpperCase()) })).toEqual(desire({ aliases: a }));
        },
      ),
    );
  });

  it('claims each address once, the main one first', () => {
    expect(claimedAddresses(mailbox({ aliases: ['b@example.org', 'B@example.org'] }))).toEqual([
      'ann@example.org',
      'b@example.org',
    ]);
    expect(claimedAddresses(mailbox({ address: 'broken' }))).toEqual([]);
  });
});

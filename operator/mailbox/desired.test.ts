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
    });
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

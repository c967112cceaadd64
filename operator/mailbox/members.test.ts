import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../../crds/mailbox.js';
import { type MemberView, membersVerdict } from './members.js';

const mailbox = (name: string, members: string[] = [], shard?: string): Mailbox => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'Mailbox',
  metadata: { name, namespace: 'mail' },
  spec: { address: `${name}@example.org`, members: members.map((each) => ({ mailbox: each })) },
  ...(shard ? { status: { shard, conditions: [] } } : {}),
});
const others: Record<string, MemberView> = {
  ann: { object: mailbox('ann', [], 'a'), system: 'mail/mail' },
  ben: { object: mailbox('ben', [], 'b'), system: 'mail/mail' },
  new: { object: mailbox('new'), system: 'mail/mail' },
  far: { object: mailbox('far', [], 'a'), system: 'mail/other' },
};
const verdict = (...members: string[]) =>
  membersVerdict(mailbox('press', members), { system: 'mail/mail' }, 'a', (name) => others[name]);

describe('membersVerdict', () => {
  it('is not there for a mailbox that nobody shares', () => {
    expect(verdict()).toBeUndefined();
  });

  it('is True when all are there, on the same shard or not placed yet', () => {
    expect(verdict('ann', 'new')).toMatchObject({ type: 'MembersReady', status: 'True', reason: 'Shared' });
  });

  it.each([
    ['nobody', 'MemberNotFound', 'mail/nobody'],
    ['press', 'MemberIsItself', 'itself'],
    ['ben', 'MemberElsewhere', 'on shard b, this one on a'],
    ['far', 'MemberElsewhere', 'mail/other'],
  ])('is False because of %s', (name, reason, message) => {
    const result = verdict('ann', name);
    expect(result).toMatchObject({ status: 'False', reason });
    expect(result?.message).toContain(message);
  });

  it('names all that are wrong', () => {
    expect(verdict('nobody', 'ben')?.message).toMatch(/nobody.*ben/);
  });
});

import { describe, expect, it } from 'vitest';
import { type DomainObservation, domainStatus } from './status.js';

const fine: DomainObservation = {
  system: { ok: true, name: 'mail' },
  dkim: { ok: true, selector: 'posthorn' },
  directory: { ok: true },
  records: [{ name: 'example.org', type: 'MX', value: '10 mx.', purpose: 'x' }],
  mailboxes: 2,
  deleting: false,
};
const bad = { ok: false as const, reason: 'Bad', message: 'It is bad.' };
const statuses = (fields: Partial<DomainObservation>) =>
  Object.fromEntries(domainStatus({ ...fine, ...fields }).conditions.map((c) => [c.type, c.status]));

describe('domainStatus', () => {
  it('is Ready when system, key and directory are', () => {
    expect(statuses({})).toEqual({ Ready: 'True', SystemReady: 'True', DKIMReady: 'True', Provisioned: 'True' });
    expect(domainStatus(fine).detail).toBe('Served by mail; 1 DNS records in status.records');
  });

  it.each<[keyof DomainObservation, string]>([
    ['system', 'SystemReady'],
    ['dkim', 'DKIMReady'],
    ['directory', 'Provisioned'],
  ])('is not Ready without %s', (field, type) => {
    expect(statuses({ [field]: bad })).toMatchObject({ Ready: 'False', [type]: 'False' });
    expect(domainStatus({ ...fine, [field]: bad }).detail).toBe('Bad: It is bad.');
  });

  it('says what its deletion waits for, and goes on being Ready', () => {
    expect(statuses({ deleting: true })).toMatchObject({ Ready: 'True', Deleting: 'False' });
    expect(domainStatus({ ...fine, deleting: true }).detail).toBe('Deletion waits for 2 Mailboxes and ForwardRules');
  });
});

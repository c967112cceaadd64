import { describe, expect, it } from 'vitest';
import { Mailbox } from './generated/models/mailbox.js';
import { MailDomain } from './generated/models/maildomain.js';
import { MailSystem } from './generated/models/mailsystem.js';

describe('typed models', () => {
  it('fill in apiVersion and kind, and leave out what is undefined', () => {
    const mailbox = new Mailbox({ metadata: { name: 'm' }, spec: { address: 'm@example.org', quota: undefined } });
    expect(JSON.parse(JSON.stringify(mailbox))).toEqual({
      apiVersion: 'posthorn.dev/v1alpha1',
      kind: 'Mailbox',
      metadata: { name: 'm' },
      spec: { address: 'm@example.org' },
    });
    expect(Object.keys(mailbox.toJSON())).toEqual(['apiVersion', 'kind', 'metadata', 'spec']);
  });

  it('are recognised by apiVersion and kind', () => {
    expect(MailDomain.is({ apiVersion: 'posthorn.dev/v1alpha1', kind: 'MailDomain' })).toBe(true);
    expect(MailDomain.is({ apiVersion: 'v1', kind: 'MailDomain' })).toBe(false);
  });

  it('validate', () => {
    expect(() => new MailDomain({ metadata: { name: 'example.org' } }).validate()).not.toThrow();
    expect(() => new MailSystem({ spec: { hostname: 'mail.example.org' } }).validate()).not.toThrow();
    const bad = new Mailbox({ spec: { address: 'mallory', quota: '10 GB' } });
    expect(() => bad.validate()).toThrow(
      'Mailbox is invalid: spec.address: must be an address such as mallory@example.org: before the @ letters, digits ' +
        "and _ ' & ~ - with single dots between, after it a domain; spec.quota: must be a size such as 500Mi",
    );
  });

  it('give the error of the last validation', () => {
    const model = new Mailbox({ spec: { address: 'mallory' } });
    expect(() => model.validate()).toThrow();
    model.spec = { address: 'mallory@example.org' };
    expect(() => model.validate()).not.toThrow();
  });
});

import { describe, expect, it } from 'vitest';
import type { MailDomain } from '../../crds/maildomain.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import { domainOf, hostingOf } from './hosting.js';

const system = (name: string): MailSystem => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'MailSystem',
  metadata: { name, namespace: 'mail' },
  spec: { hostname: 'mx.example.org' },
});
const domain = (name: string, spec?: MailDomain['spec'], second = 0): MailDomain => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'MailDomain',
  metadata: { name, namespace: 'mail', uid: name, creationTimestamp: `2026-01-01T00:00:0${second}Z` },
  ...(spec ? { spec } : {}),
});
const decide = (object: MailDomain, systems: MailSystem[], rivals: MailDomain[] = []) =>
  hostingOf(object, { systems, claimants: () => [object, ...rivals] });

describe('hostingOf', () => {
  it('is the only MailSystem, or the one that is named', () => {
    expect(decide(domain('example.org'), [system('mail')])).toMatchObject({ system: 'mail/mail' });
    const named = domain('example.org', { system: 'b' });
    expect(decide(named, [system('a'), system('b')])).toMatchObject({ system: 'mail/b' });
  });

  it.each<[string, MailDomain, MailSystem[]]>([
    ['SystemNotFound', domain('example.org'), []],
    ['SystemNotFound', domain('example.org', { system: 'b' }), [system('a')]],
    ['AmbiguousSystem', domain('example.org'), [system('a'), system('b')]],
    ['InvalidSpec', domain('no-domain'), [system('a')]],
  ])('is none: %s', (reason, object, systems) => {
    expect(decide(object, systems)).toMatchObject({ reason });
  });

  it('gives a domain that two declare to the older, whoever asks', () => {
    const older = domain('older', { domain: 'example.org' }, 1);
    const younger = domain('younger', { domain: 'Example.ORG' }, 2);
    expect(decide(older, [system('mail')], [younger])).toMatchObject({ system: 'mail/mail' });
    expect(decide(younger, [system('mail')], [older])).toMatchObject({ reason: 'DomainConflict' });
  });

  it('names domains in A-labels', () => {
    expect(domainOf(domain('x', { domain: 'BÜCHER.example' }))).toBe('xn--bcher-kva.example');
    expect(domainOf(domain('no-domain'))).toBeUndefined();
  });
});

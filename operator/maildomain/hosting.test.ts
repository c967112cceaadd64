import { describe, expect, it } from 'vitest';
import type { MailDomain } from '../../crds/maildomain.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import { domainOf, hostingOf, ownerOf } from './hosting.js';
import { challengeValue } from './ownership.js';

const system = (name: string, namespace = 'mail', tenants: string[] = []): MailSystem => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'MailSystem',
  metadata: { name, namespace },
  spec: { hostname: 'mx.example.org', tenants: { namespaces: tenants } },
});
const domain = (name: string, spec?: MailDomain['spec'], second = 0, namespace = 'mail'): MailDomain => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'MailDomain',
  metadata: {
    name,
    namespace,
    uid: `${namespace}-${name}`,
    creationTimestamp: `2026-01-01T00:00:0${second}Z`,
  },
  ...(spec ? { spec } : {}),
});
/** A MailDomain of namespace `shop` that asks for the system in namespace `mail`. */
const guest = (name: string, second: number, proved?: string): MailDomain => {
  const object = domain(name, { domain: 'example.org', systemNamespace: 'mail' }, second, 'shop');
  if (proved === undefined) return object;
  const challenge = challengeValue(object.metadata.uid ?? '', 'example.org');
  return { ...object, status: { ownership: { challenge, verifiedAt: proved } } };
};
const context = (systems: MailSystem[], claimants: MailDomain[]) => ({
  systems: (namespace: string) => systems.filter((s) => s.metadata.namespace === namespace),
  claimants: () => claimants,
});
const decide = (object: MailDomain, systems: MailSystem[], rivals: MailDomain[] = []) =>
  hostingOf(object, context(systems, [object, ...rivals]));

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

describe('hostingOf a domain whose MailSystem is in another namespace', () => {
  const open = system('mail', 'mail', ['shop']);

  it.each<[string, MailSystem[]]>([
    ['there is none', []],
    ['it admits nobody', [system('mail')]],
    ['it admits others', [system('mail', 'mail', ['hop', 'shops', ''])]],
  ])('is none, told in the same words, when %s', (_, systems) => {
    expect(decide(guest('a', 1, '2026-02-01T00:00:00Z'), systems)).toEqual({
      reason: 'TenantNotAdmitted',
      message: expect.stringMatching(/^No MailSystem in namespace mail admits namespace shop: .* add shop to/),
    });
  });

  it('waits for the proof, and says for which system', () => {
    expect(decide(guest('a', 1), [open])).toMatchObject({
      reason: 'OwnershipNotVerified',
      message: expect.stringContaining('_posthorn-challenge.example.org'),
      pending: { system: 'mail/mail', spec: { domain: 'example.org' } },
    });
  });

  it('is that system when admitted, by name or by *, and proved', () => {
    for (const tenants of [['shop'], ['*']]) {
      const proved = guest('a', 1, '2026-02-01T00:00:00Z');
      expect(decide(proved, [system('mail', 'mail', tenants)])).toMatchObject({ system: 'mail/mail' });
    }
  });

  it('takes no proof that was given for another object', () => {
    const other = guest('b', 1, '2026-02-01T00:00:00Z');
    expect(decide({ ...guest('a', 1), status: other.status ?? {} }, [open])).toMatchObject({
      reason: 'OwnershipNotVerified',
    });
  });

  it('takes a domain from nobody who had it before the proof, however old the object is', () => {
    const proved = guest('a', 1, '2026-02-01T00:00:00Z');
    const own = domain('example.org', undefined, 5);
    expect(decide(own, [open], [proved])).toMatchObject({ system: 'mail/mail' });
    const refused = decide(proved, [open], [own]);
    expect(refused).toMatchObject({ reason: 'DomainConflict' });
    // Who that is is not the tenant's business.
    expect(JSON.stringify(refused)).not.toContain('mail/example.org');
  });

  it('keeps it from those that come later, and from nobody as long as it is not proved', () => {
    const late = { ...domain('example.org') };
    late.metadata = { ...late.metadata, creationTimestamp: '2026-03-01T00:00:00Z' };
    expect(decide(late, [open], [guest('a', 1, '2026-02-01T00:00:00Z')])).toMatchObject({ reason: 'DomainConflict' });
    expect(decide(late, [open], [guest('a', 1)])).toMatchObject({ system: 'mail/mail' });
  });

  it('is no matter for a MailSystem elsewhere that serves the same domain', () => {
    const elsewhere = domain('example.org', undefined, 0, 'lab');
    const proved = guest('a', 1, '2026-02-01T00:00:00Z');
    const systems = [open, system('mail', 'lab')];
    expect(decide(proved, systems, [elsewhere])).toMatchObject({ system: 'mail/mail' });
    expect(decide(elsewhere, systems, [proved])).toMatchObject({ system: 'lab/mail' });
  });

  it('is asked about by its namespace, not one that waits', () => {
    const [waiting, proved] = [guest('a', 1), guest('b', 2, '2026-02-01T00:00:00Z')];
    expect(ownerOf([waiting, proved], context([open], [waiting, proved]))).toBe(proved);
    expect(ownerOf([waiting], context([open], [waiting]))).toBe(waiting);
  });
});

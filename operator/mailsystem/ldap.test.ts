import { describe, expect, it } from 'vitest';
import { resolveMailSystem } from '../../crds/mailsystem.js';
import type { Client } from '../runtime/client.js';
import { ldapVerdict } from './ldap.js';

const { ldap } = resolveMailSystem({
  hostname: 'mx.example.org',
  ldap: {
    url: 'ldap://db.example.org',
    baseDN: 'ou=users,dc=example,dc=org',
    bindSecretRef: { name: 'bind' },
    caSecretRef: { name: 'ca' },
  },
});
const complete = { bind: { username: 'eA==', password: 'eA==' }, ca: { 'ca.crt': 'eA==' } };
const verdict = (secrets: Record<string, Record<string, string>>, spec = ldap) => {
  const find = async (_: unknown, { name }: { name: string }) =>
    secrets[name] === undefined ? undefined : { data: secrets[name] };
  return ldapVerdict({ find } as unknown as Client, 'mail', spec === undefined ? {} : { ldap: spec });
};

describe('ldapVerdict', () => {
  it('says nothing without LDAP, and is content when the Secrets are there', async () => {
    expect(await ldapVerdict({} as Client, 'mail', {})).toEqual([]);
    expect(await verdict(complete)).toMatchObject([{ type: 'LDAPReady', status: 'True', reason: 'Configured' }]);
  });

  it.each([
    [{ ca: complete.ca }, 'SecretNotFound', 'no Secret mail/bind'],
    [{ ...complete, ca: { 'tls.crt': 'eA==' } }, 'KeyNotFound', 'mail/ca (spec.ldap.caSecretRef) has no ca.crt'],
    [{ ...complete, bind: { username: '', other: 'x' } }, 'KeyNotFound', 'has no username and no password'],
    [{}, 'SecretNotFound', 'There is no Secret mail/ca'],
  ])('tells what is missing: %j', async (secrets, reason, message) => {
    const [condition] = await verdict(secrets as unknown as Record<string, Record<string, string>>);
    expect(condition).toMatchObject({ status: 'False', reason });
    expect(condition?.message).toContain(message);
  });
});

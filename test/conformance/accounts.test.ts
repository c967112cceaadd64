import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { API_VERSION } from '../../crds/group.js';
import type { Client } from '../../operator/runtime/client.js';
import { createNamespace, installCrds, sharedClient } from '../../operator/runtime/testing/shared.js';
import { mailboxType, mailSystemType } from '../../operator/types.js';

let client: Client;
let namespace: string;
let objects = 0;

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, join(import.meta.dirname, '../../crds/generated'));
  namespace = await createNamespace(client, 'accounts');
});

afterAll(() => client.close());

/** What the API server says when it refuses a spec; undefined when it takes it. */
async function refusal(type: typeof mailboxType, spec: object): Promise<string | undefined> {
  objects += 1;
  const metadata = { name: `o${objects}.example`, namespace };
  const object = { apiVersion: API_VERSION, kind: type.kind, metadata, spec };
  return client.create(type, object, { fieldManager: 'test' }).then(
    () => undefined,
    (error: Error) => error.message,
  );
}

describe('a Mailbox', () => {
  const check = (spec: object) => refusal(mailboxType, { address: 'mallory@example.org', ...spec });
  const secretRef = { name: 's' };

  it.each<[string, object]>([
    ['a state', { state: 'Suspended', stateUntil: '2026-12-31T18:00:00+01:00', suspended: { mail: 'Refuse' } }],
    ['a time without seconds', { state: 'LoginOff', stateUntil: '2026-12-31T18:00Z' }],
    ['what Suspended would mean, while it is not', { suspended: { mail: 'Refuse' } }],
    ['app passwords', { appPasswords: [{ name: 'phone', secretRef, protocols: ['imap', 'submission'] }] }],
    ['members', { members: [{ mailbox: 'ann' }, { mailbox: 'ben', rights: 'ReadOnly', sendAs: true }] }],
    ['a script and a vacation', { sieve: 'keep;\n"', vacation: { message: 'Away.\n', from: '2026-12-24' } }],
    ['a vacation of one day', { vacation: { message: 'x', from: '2026-12-24', until: '2026-12-24', everyDays: 1 } }],
    [
      'retention',
      {
        retention: [
          { folder: 'Trash', days: 30 },
          { folder: 'Lists/Ünï "x"', days: 1 },
        ],
      },
    ],
    ['required senders', { require: { dkimAlignedFrom: ['riseup.net'], otherwise: 'Tag' } }],
    ['no sending at all', { sending: { hour: 0, day: 0 } }],
  ])('is accepted with %s', async (_, spec) => {
    expect(await check(spec)).toBeUndefined();
  });

  it.each<[string, object, string]>([
    [
      'a state that is none',
      { state: 'Locked' },
      'spec.state: Unsupported value: "Locked": supported values: "Active", "ReceiveOnly", "SendBlocked", "LoginOff", "Suspended"',
    ],
    [
      'a time without a state',
      { stateUntil: '2026-12-31T18:00Z' },
      'spec.stateUntil: Invalid value: needs a state other than Active: it is the time at which that state ends.',
    ],
    [
      'a time for Active',
      { state: 'Active', stateUntil: '2026-12-31T18:00Z' },
      'spec.stateUntil: Invalid value: needs a state other than Active',
    ],
    [
      'a time without its zone',
      { state: 'Suspended', stateUntil: '2026-12-31T18:00:00' },
      'spec.stateUntil: Invalid value: "2026-12-31T18:00:00": must be a time with its zone, such as 2026-12-31T18:00Z',
    ],
    [
      'an app password called password',
      { appPasswords: [{ name: 'password', secretRef }] },
      'spec.appPasswords[0].name: Invalid value: "password": must not be "password"',
    ],
    [
      'two app passwords of a name',
      {
        appPasswords: [
          { name: 'a', secretRef },
          { name: 'a', secretRef },
        ],
      },
      'spec.appPasswords[1]: Duplicate value: {"name":"a"}',
    ],
    [
      'an unknown protocol',
      { appPasswords: [{ name: 'a', secretRef, protocols: ['pop3'] }] },
      'spec.appPasswords[0].protocols[0]: Unsupported value: "pop3"',
    ],
    [
      'a vacation that ends before it begins',
      { vacation: { message: 'x', from: '2026-12-24', until: '2026-12-23' } },
      'spec.vacation.until: Invalid value: must not be before from',
    ],
    ['a vacation without words', { vacation: {} }, 'spec.vacation.message: Required value'],
    [
      'a pattern for a folder',
      { retention: [{ folder: 'Lists/*', days: 1 }] },
      'spec.retention[0].folder: Invalid value: "Lists/*": must be the name of a folder',
    ],
    [
      "somebody else's folder",
      { retention: [{ folder: 'Shared/press', days: 1 }] },
      'spec.retention[0].folder: Invalid value: "Shared/press": must not be in Shared/: those are other mailboxes\' folders',
    ],
    [
      'no required sender',
      { require: { dkimAlignedFrom: [] } },
      'spec.require.dkimAlignedFrom in body should have at least 1 items',
    ],
  ])('is refused with %s', async (_, spec, message) => {
    expect(await check(spec)).toContain(message);
  });
});

describe('a MailSystem', () => {
  const check = (spec: object) => refusal(mailSystemType, { hostname: 'mail.example.org', ...spec });
  const ldap = { url: 'ldap://db.example.org', baseDN: 'ou=users,dc=example,dc=org' };

  it.each<[string, object]>([
    ['LDAP', { ldap }],
    [
      'all of LDAP',
      {
        ldap: {
          ...ldap,
          url: 'ldaps://[2001:db8::1]:636/',
          startTLS: false,
          caSecretRef: { name: 'ca' },
          bindSecretRef: { name: 'bind' },
          filter: '(&(objectClass=person)(uid=%{local}))',
          method: 'Hash',
          passwordAttribute: 'userPassword',
          status: { attribute: 'accountStatus', active: ['active', 'retiring'] },
          cacheSeconds: 0,
        },
      },
    ],
    ['limits', { limits: { sending: { userHour: 1, userDay: 2, domainHour: 3 } } }],
    ['tenants', { tenants: { namespaces: ['team-a', '*'] } }],
    [
      'webhooks inside',
      { webhooks: { allowHosts: ['bridgedb.bots.svc:8443', 'http://10.0.0.1:8080', '2001:db8::1'] } },
    ],
    ['SRS', { srs: { domain: 'srs.example.org', rotateDays: 30 } }],
    ['forward and courier', { forward: { replicas: 2 }, courier: { replicas: 2 } }],
  ])('is accepted with %s', async (_, spec) => {
    expect(await check(spec)).toBeUndefined();
  });

  it.each<[string, object, string]>([
    [
      'passwords in the clear',
      { ldap: { ...ldap, startTLS: false } },
      'spec.ldap.startTLS: Invalid value: must not be false with ldap://, because passwords would cross the network in the clear',
    ],
    [
      'an LDAP server that is none',
      { ldap: { ...ldap, url: 'db.example.org' } },
      'must be ldap://HOST, ldap://HOST:PORT',
    ],
    [
      'a filter that finds everybody',
      { ldap: { ...ldap, filter: '(objectClass=person)' } },
      'spec.ldap.filter: Invalid value: "(objectClass=person)": must be a filter in parentheses with %{address}',
    ],
    ['a base that is no DN', { ldap: { ...ldap, baseDN: 'users' } }, 'must be a DN such as'],
    ['a URL for a webhook host', { webhooks: { allowHosts: ['https://a.svc/'] } }, 'must be a host in lower case'],
    ['a namespace that is none', { tenants: { namespaces: ['A'] } }, 'must be the name of a namespace, or * for all'],
    ['a limit of nothing', { limits: { sending: { userHour: 0 } } }, 'should be greater than or equal to 1'],
  ])('is refused with %s', async (_, spec, message) => {
    expect(await check(spec)).toContain(message);
  });
});

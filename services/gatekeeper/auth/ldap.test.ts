import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLog } from '../../../operator/runtime/log.js';
import { startLdap, type TestLdap } from '../testing/ldap/slapd.js';
import { createLdap, type LdapSecrets } from './ldap.js';
import { dovecotHashes, escapeFilter, filterFor, isActive, type LdapRules } from './ldap-rules.js';

/** crypt(3) of "password of carol". */
const CAROL =
  '{CRYPT}$6$saltsalt$notcheckedhere0000000000000000000000000000000000000000000000000000000000000000000000000000';

let server: TestLdap;

beforeAll(async () => {
  server = await startLdap(CAROL);
});

afterAll(() => server?.stop());

const rules = (settings: Partial<LdapRules> = {}): LdapRules => ({
  url: server.url,
  startTLS: true,
  baseDN: 'ou=users,dc=example,dc=org',
  filter: '(mail=%{address})',
  method: 'Bind',
  passwordAttribute: 'userPassword',
  cacheSeconds: 60,
  ...settings,
});

const check = (settings: Partial<LdapRules> = {}, secrets: LdapSecrets = {}, timeoutMs = 2_500) =>
  createLdap({
    rules: rules(settings),
    secrets: async () => ({
      username: 'cn=mail,dc=example,dc=org',
      password: "mail's own",
      ca: server.ca,
      ...secrets,
    }),
    log: silentLog,
    timeoutMs,
  });

describe('a bind', () => {
  it('tells right from wrong', async () => {
    const ldap = check();
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'right' });
    expect(await ldap('alice@example.org', 'password of bob')).toEqual({ outcome: 'wrong' });
  });

  it('with an empty password is wrong, though LDAP calls it a success', async () => {
    expect(await check()('alice@example.org', '')).toEqual({ outcome: 'wrong' });
  });

  it('is not tried for an unknown name, or one that two entries have', async () => {
    const before = await server.binds();
    expect(await check()('nobody@example.org', 'x')).toEqual({ outcome: 'denied' });
    expect(await check()('twin@example.org', 'password of twin')).toEqual({ outcome: 'denied' });
    expect(await server.binds()).toBe(before);
  });

  it('cannot be led astray by what is typed as a name', async () => {
    for (const name of [
      '*',
      'alice*',
      '*)(uid=alice',
      'alice@example.org)(|(uid=*',
      '\\2a',
      'a\0',
      'alicé@example.org',
    ]) {
      expect(await check()(name, 'password of alice'), name).toEqual({ outcome: 'denied' });
    }
  });

  it('finds the entry by the part before the @ too', async () => {
    const ldap = check({ filter: '(&(objectClass=debianAccount)(uid=%{local}))' });
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'right' });
  });
});

describe('the status of an account', () => {
  it('by values that are active', async () => {
    const ldap = check({ status: { attribute: 'accountstatus', active: ['ACTIVE'] }, method: 'Hash' });
    expect(await ldap('carol@example.org', 'x')).toMatchObject({ outcome: 'hashes' });
    expect(await ldap('bob@example.org', 'x')).toEqual({ outcome: 'denied' });
    // Without the attribute nothing says that it is active.
    expect(await ldap('alice@example.org', 'x')).toEqual({ outcome: 'denied' });
  });

  it('by the absence of an attribute', async () => {
    const ldap = check({ status: { attribute: 'accountStatus', active: [] } });
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'right' });
    expect(await ldap('bob@example.org', 'password of bob')).toEqual({ outcome: 'denied' });
  });

  it('is told without a password, and without a bind as the person', async () => {
    const before = await server.binds();
    const ldap = check({ status: { attribute: 'accountStatus', active: [] } });
    expect(ldap.judgesStatus).toBe(true);
    expect(await ldap.status('alice@example.org')).toEqual({ outcome: 'active' });
    expect(await ldap.status('bob@example.org')).toEqual({ outcome: 'denied' });
    expect(await ldap.status('nobody@example.org')).toEqual({ outcome: 'denied' });
    expect(await server.binds()).toBe(before);
    expect(check().judgesStatus).toBe(false);
  });

  it('counts at once when it changes', async () => {
    const ldap = check({ status: { attribute: 'accountStatus', active: [] } });
    await server.modify('alice', { accountStatus: 'retiring 2026-01-31' });
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'denied' });
    await server.modify('alice', { accountStatus: '' });
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'right' });
  });
});

describe('a hash', () => {
  it('is handed on for Dovecot to compare', async () => {
    expect(await check({ method: 'Hash' })('carol@example.org', 'x')).toEqual({ outcome: 'hashes', hashes: [CAROL] });
  });

  it('that is no hash, but the password itself, is not', async () => {
    expect(await check({ method: 'Hash' })('alice@example.org', 'x')).toEqual({ outcome: 'hashes', hashes: [] });
  });
});

describe('closed', () => {
  it.each<[string, () => Partial<LdapRules>, LdapSecrets]>([
    ['nobody listens', () => ({ url: 'ldap://localhost:1' }), {}],
    ["the server's certificate is another CA's", () => ({}), { ca: undefined }],
    ['the address is not in its certificate', () => ({ url: server.url.replace('localhost', '127.0.0.1') }), {}],
    ['it speaks no TLS from the start', () => ({ url: server.url.replace('ldap:', 'ldaps:') }), {}],
    ['the password to search with is wrong', () => ({}), { password: 'other' }],
    ['there is nothing to search with, and it tells strangers nothing', () => ({}), { username: undefined }],
    ['the base does not exist', () => ({ baseDN: 'dc=elsewhere' }), {}],
  ])('when %s', async (_name, settings, secrets) => {
    const answer = await check(settings(), secrets)('alice@example.org', 'password of alice');
    expect(answer).toEqual({ outcome: 'unavailable' });
  });

  it('when it hangs, soon; then at once for a while; then open again', async () => {
    let now = 0;
    const ldap = createLdap({
      rules: rules(),
      secrets: async () => ({ username: 'cn=mail,dc=example,dc=org', password: "mail's own", ca: server.ca }),
      log: silentLog,
      timeoutMs: 1_000,
      clock: () => now,
    });
    await server.freeze();
    const started = performance.now();
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'unavailable' });
    expect(performance.now() - started).toBeLessThan(3_000);
    server.thaw();
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'unavailable' });
    now += 5_001;
    expect(await ldap('alice@example.org', 'password of alice')).toEqual({ outcome: 'right' });
  });
});

describe('rules', () => {
  it('escape what filters would read', () => {
    expect(escapeFilter('a*(b)\\c\0é')).toBe('a\\2a\\28b\\29\\5cc\\00\\c3\\a9');
    expect(filterFor('(&(uid=%{local})(dc=%{domain})(mail=%{address}))', 'a+b@c.org')).toBe(
      '(&(uid=a+b)(dc=c.org)(mail=a+b@c.org))',
    );
  });

  it('know which accounts are active', () => {
    const status = { attribute: 'accountStatus', active: ['active'] };
    expect(isActive({ accountStatus: ['active', 'inactive'] }, status)).toBe(false);
    expect(isActive({ ACCOUNTSTATUS: 'Active ' }, status)).toBe(true);
    expect(isActive({}, undefined)).toBe(true);
  });

  it('take hashes only, by the names that Dovecot has for them', () => {
    const hash = 'x'.repeat(20);
    expect(
      dovecotHashes([`{ssha}${hash}`, `{ARGON2}$${hash}`, `{MD5}${hash}`, '{CLEARTEXT}secretsecret', 'secret']),
    ).toEqual([`{SSHA}${hash}`, `{ARGON2ID}$${hash}`]);
  });
});

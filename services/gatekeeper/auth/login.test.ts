import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { prepareAppPassword } from '../../../operator/directory/password.js';
import type { MailboxRow } from '../../../operator/directory/rows.js';
import { mailbox, memberHost, setHeartbeatAge, shard } from '../../../operator/directory/testing/directory.js';
import { startLdap, type TestLdap } from '../testing/ldap/slapd.js';
import { SETTINGS, startWorld, type TestGatekeeper, type World } from '../testing/world.js';
import { fits } from './hashes.js';
import type { LoginAnswer } from './login.js';

let world: World;
let ldap: TestLdap;
let proxy: TestGatekeeper;
let startProxy: () => Promise<TestGatekeeper>;

/** Dovecot's SSHA512, as LDAP has it for carol. */
function ssha512(password: string): string {
  const salt = randomBytes(8);
  const digest = createHash('sha512').update(password).update(salt).digest();
  return `{SSHA512}${Buffer.concat([digest, salt]).toString('base64')}`;
}

/** Quick to compare: the tests log in often. */
const hash = ssha512('secret');

beforeAll(async () => {
  [world, ldap] = await Promise.all([startWorld(), startLdap(ssha512('password of carol'))]);
  await world.directory.directory.projectSettings(SETTINGS);
  await setHeartbeatAge(world.directory.server, 0);
  const { server } = world.directory;
  // The tests' Secrets: username, password and CA of LDAP.
  const { mkdtemp, writeFile } = await import('node:fs/promises');
  const secrets = await mkdtemp('/tmp/posthorn-ldap-secret-');
  await Promise.all([
    writeFile(`${secrets}/username`, 'cn=mail,dc=example,dc=org\n'),
    writeFile(`${secrets}/password`, "mail's own\n"),
    writeFile(`${secrets}/ca.crt`, ldap.ca),
  ]);
  const common = { url: ldap.url, baseDN: 'ou=users,dc=example,dc=org' };
  startJudged = (cacheSeconds) => {
    const status = { attribute: 'accountStatus' };
    return world.start('proxy', { ldapSecrets: secrets, ldap: { ...common, cacheSeconds, status } });
  };
  const guard = {
    perLogin: { most: 3 },
    perLoginKnown: { most: 8 },
    perLoginAnywhere: { most: 10 },
    perNetwork: { most: 6 },
  };
  startProxy = () => world.start('proxy', { guard, ldapSecrets: secrets, ldap: { ...common, cacheSeconds: 60 } });
  proxy = await startProxy();
  hashing = await world.start('submission', { guard, ldapSecrets: secrets, ldap: { ...common, method: 'Hash' } });
  expect(server.port).toBeGreaterThan(0);
});

let hashing: TestGatekeeper;
/** LDAP says which accounts are active. */
let startJudged: (cacheSeconds: number) => Promise<TestGatekeeper>;

beforeEach(() => setHeartbeatAge(world.directory.server, 0));

afterAll(async () => {
  await Promise.all([world?.stop(), ldap?.stop()]);
});

let people = 0;

async function person(settings: Partial<MailboxRow> = {}) {
  people += 1;
  const row = mailbox(`person${people}`, { password: { hash, source: 's/1' }, ...settings });
  await world.put(row);
  return { login: row.address, row };
}

const HOME = '198.51.100.7';

async function auth(login: string, fields: object = {}, gatekeeper = proxy): Promise<LoginAnswer> {
  const body = { login, protocol: 'imap', ip: HOME, password: 'secret', ...fields };
  return (await gatekeeper.post<LoginAnswer>('/v1/auth', body)).body;
}

const result = (login: string, ok: boolean, fields: object = {}) =>
  proxy.post('/v1/auth/result', { login, protocol: 'imap', ip: HOME, ok, ...fields });

/** What Dovecot does: asks, tries the hashes, tells the result. */
async function logIn(login: string, fields: { password?: string; ip?: string } = {}): Promise<string> {
  const answer = await auth(login, fields);
  if (answer.result !== 'verify') return answer.result;
  const ok = (await Promise.all(answer.hashes.map((each) => fits(each.hash, fields.password ?? 'secret')))).some(
    Boolean,
  );
  await result(login, ok, { ...fields, ticket: answer.ticket });
  return ok ? 'right' : 'wrong';
}

describe('a password of the directory', () => {
  it('is verified by Dovecot, who is told where the mailbox is', async () => {
    const { login } = await person();
    expect(await auth(login.toUpperCase())).toEqual({
      result: 'verify',
      username: login,
      host: 'mail-store-a.mail.svc.cluster.local',
      port: 10143,
      sieve_port: 14190,
      epoch: 0,
      hashes: [{ id: 'password', hash }],
      ticket: expect.stringMatching(/^[\w-]{20}$/),
    });
  });

  it('leads to the primary of its shard, and says of which epoch; where there is none, nobody is let in to read', async () => {
    const { directory, server } = world.directory;
    await directory.projectShards([shard('a'), shard('three', 3)]);
    const { login } = await person({ shard: 'three' });
    const lease = (set: string) => server.query('posthorn', `UPDATE posthorn.leases SET ${set} WHERE shard = 'three'`);
    await lease(`primary_member = 2, holder = gen_random_uuid(), epoch = 7`);
    expect(await auth(login)).toMatchObject({ result: 'verify', host: memberHost('three', 2), epoch: 7 });
    await lease('primary_member = NULL, holder = NULL');
    expect(await auth(login)).toEqual({ result: 'unavailable' });
    expect(await auth(login, { protocol: 'submission' }, hashing)).toMatchObject({ result: 'verify', host: '' });
  });

  it('of nobody is unknown', async () => {
    expect(await auth('nobody@example.org', { ip: '10.0.0.1' })).toEqual({ result: 'unknown' });
  });

  it('of a mailbox that has none is denied', async () => {
    const { login } = await person({ password: null });
    expect(await auth(login, { ip: '10.0.0.1' })).toEqual({ result: 'denied' });
  });

  it('cannot be checked while the directory is silent', async () => {
    const { login } = await person();
    await setHeartbeatAge(world.directory.server, 120);
    expect(await auth(login)).toEqual({ result: 'unavailable' });
  });
});

describe('app passwords', () => {
  it('count for their protocols', async () => {
    const app = await prepareAppPassword('word of the app');
    const { login } = await person({
      appPasswords: [
        { name: 'phone', source: 'a/1', hash: app, protocols: ['imap'] },
        { name: 'printer', source: 'b/1', hash: app, protocols: ['submission'] },
        { name: 'laptop', source: 'c/1', hash: app, protocols: null },
      ],
    });
    const ids = async (protocol: string) => {
      const answer = await auth(login, { protocol });
      return answer.result === 'verify' ? answer.hashes.map(({ id }) => id) : answer.result;
    };
    expect(await ids('imap')).toEqual(['password', 'app/laptop', 'app/phone']);
    expect(await ids('submission')).toEqual(['password', 'app/laptop', 'app/printer']);
    expect(await ids('sieve')).toEqual(['password', 'app/laptop']);
  });
});

describe('states', () => {
  it.each([
    ['Active', 'imap', 'verify'],
    ['Active', 'submission', 'verify'],
    ['ReceiveOnly', 'imap', 'verify'],
    ['ReceiveOnly', 'submission', 'denied'],
    ['SendBlocked', 'imap', 'verify'],
    ['SendBlocked', 'submission', 'verify'],
    ['LoginOff', 'imap', 'denied'],
    ['LoginOff', 'submission', 'denied'],
    ['Suspended', 'imap', 'denied'],
    ['Suspended', 'submission', 'denied'],
  ] as const)('%s: %s → %s', async (state, protocol, expected) => {
    const { login } = await person({ state });
    expect((await auth(login, { protocol })).result).toBe(expected);
  });
});

describe('wrong passwords', () => {
  it('limit the login from that network, for a while, and nobody else', async () => {
    const { login } = await person();
    const other = await person();
    for (const password of ['a', 'b', 'c']) expect(await logIn(login, { password })).toBe('wrong');
    expect(await logIn(login)).toBe('limited');
    // A neighbour in the same network, the person from elsewhere, another login from here.
    expect(await logIn(login, { ip: '198.51.100.99' })).toBe('limited');
    expect(await logIn(login, { ip: '203.0.113.7' })).toBe('right');
    expect(await logIn(other.login)).toBe('right');
  });

  it('that are the same one again and again count once', async () => {
    const { login } = await person();
    const ip = '198.51.101.1';
    for (let n = 0; n < 5; n += 1) expect(await logIn(login, { password: 'old', ip })).toBe('wrong');
    expect(await logIn(login, { ip })).toBe('right');
  });

  it('limit a network that tries many logins, but not those who are at home there', async () => {
    const ip = '198.51.102.1';
    const resident = await person();
    const newcomer = await person();
    expect(await logIn(resident.login, { ip })).toBe('right');
    for (let n = 0; n < 6; n += 1) expect(await logIn(`guess${n}@example.org`, { ip })).toBe('unknown');
    expect(await logIn(newcomer.login, { ip })).toBe('limited');
    expect(await logIn(resident.login, { ip })).toBe('right');
  });

  it('by a neighbour keep nobody out at home, though he cannot go on for ever either', async () => {
    const { login } = await person();
    const [mine, neighbour] = ['198.51.107.1', '198.51.107.66'];
    expect(await logIn(login, { ip: mine })).toBe('right');
    for (let n = 0; n < 7; n += 1) expect(await logIn(login, { ip: neighbour, password: `guess ${n}` })).toBe('wrong');
    expect(await logIn(login, { ip: mine })).toBe('right');
    expect(await logIn(login, { ip: neighbour, password: 'guess 7' })).toBe('wrong');
    expect(await logIn(login, { ip: neighbour, password: 'guess 8' })).toBe('limited');
  });

  it('from many networks limit a login in all that it does not know, and nobody else', async () => {
    const { login } = await person();
    const other = await person();
    const [home, office] = ['203.0.113.1', '2001:db8:77::1'];
    for (const ip of [home, office]) expect(await logIn(login, { ip })).toBe('right');
    const tries: string[] = [];
    for (let n = 0; n < 12; n += 1) tries.push(await logIn(login, { ip: `192.0.${n}.9`, password: `guess ${n}` }));
    expect(tries).toEqual([...Array(10).fill('wrong'), 'limited', 'limited']);
    // The right password too: nobody learns by it that it is.
    expect(await logIn(login, { ip: '192.0.200.9' })).toBe('limited');
    for (const ip of [home, office]) expect(await logIn(login, { ip })).toBe('right');
    expect(await logIn(other.login, { ip: '192.0.200.9' })).toBe('right');
  });

  it('at home, or the same one everywhere, use up nothing elsewhere', async () => {
    const { login } = await person();
    const home = '198.51.108.1';
    expect(await logIn(login, { ip: home })).toBe('right');
    for (let n = 0; n < 8; n += 1) expect(await logIn(login, { ip: home, password: `typo ${n}` })).toBe('wrong');
    for (let n = 0; n < 12; n += 1) expect(await logIn(login, { ip: `192.1.${n}.9`, password: 'old' })).toBe('wrong');
    expect(await logIn(login, { ip: '192.1.200.9' })).toBe('right');
  });

  it.each([
    '10.1.2.3',
    '192.168.1.1',
    '127.0.0.1',
    '::1',
    'fd00::1',
    '100.64.0.9',
    '::ffff:10.0.0.1',
    'fe80::1',
    '',
    'x',
  ])('from %s never limit anybody', async (ip) => {
    const { login } = await person();
    for (let n = 0; n < 4; n += 1) expect(await logIn(login, { password: `wrong ${n}`, ip })).toBe('wrong');
    expect(await logIn(login, { ip })).toBe('right');
  });

  it('count over IPv6 networks, and IPv4 written as IPv6 is IPv4', async () => {
    const { login } = await person();
    for (const [n, ip] of ['2001:db8:1::1', '2001:db8:1:ff::2', '2001:db8:1:1::3'].entries()) {
      expect(await logIn(login, { ip, password: `w${n}` })).toBe('wrong');
    }
    expect(await logIn(login, { ip: '2001:db8:1:2::4' })).toBe('limited');
    const mapped = await person();
    for (const password of ['a', 'b', 'c']) await logIn(mapped.login, { password, ip: '::ffff:198.51.103.1' });
    expect(await logIn(mapped.login, { ip: '198.51.103.1' })).toBe('limited');
  });

  it('are remembered by other pods, and without Redis by the pod', async () => {
    const { login } = await person();
    const ip = '198.51.104.1';
    for (const password of ['a', 'b', 'c']) await logIn(login, { password, ip });
    expect((await auth(login, { ip }, await world.start('proxy', { guard: { perLogin: { most: 3 } } }))).result).toBe(
      'limited',
    );
    await world.redis.freeze();
    const again = await person();
    for (const password of ['a', 'b', 'c']) await logIn(again.login, { password, ip: '198.51.105.1' });
    expect(await logIn(again.login, { ip: '198.51.105.1' })).toBe('limited');
    world.redis.thaw();
  });

  it('are in Redis as nothing that could be read', async () => {
    const { login } = await person();
    await logIn(login, { password: 'Tr0ub4dor&3', ip: '198.51.106.1' });
    const { Redis } = await import('ioredis');
    const client = new Redis({ port: world.redis.port });
    const keys = await client.keys('*wrong*');
    const members = (await Promise.all(keys.map((key) => client.zrange(key, '0', '-1')))).flat();
    client.disconnect();
    expect(members.length).toBeGreaterThan(0);
    expect([...keys, ...members].join(' ')).not.toMatch(/Tr0ub4dor|person/);
    expect(members.every((member) => member.length === 8)).toBe(true);
  });
});

describe('LDAP', () => {
  const NAMES = ['alice', 'bob', 'carol', 'twin'];
  const rows = new Map<string, MailboxRow>();

  beforeAll(async () => {
    const phone = { name: 'phone', source: 'a/1', protocols: null };
    for (const name of NAMES) {
      const row = mailbox(name, {
        ldapUser: `${name}@example.org`,
        appPasswords: name === 'alice' ? [{ ...phone, hash: await prepareAppPassword('word of the app') }] : [],
      });
      rows.set(name, row);
      await world.put(row);
    }
  });

  it('says whether a password is right, and it is remembered', async () => {
    const before = await ldap.binds();
    for (let n = 0; n < 3; n += 1) {
      const answer = await auth('alice@example.org', { password: 'password of alice' });
      expect(answer).toMatchObject({ result: 'ok', username: 'alice@example.org', credential: 'ldap', port: 10143 });
    }
    expect(await ldap.binds()).toBe(before + 1);
    expect(await auth('alice@example.org', { password: 'password of Alice' })).toEqual({ result: 'denied' });
    expect(await auth('alice@example.org', { password: '' })).toEqual({ result: 'denied' });
  });

  it('is not asked about app passwords', async () => {
    const before = await ldap.binds();
    const answer = await auth('alice@example.org', { password: 'word of the app' });
    expect(answer).toMatchObject({ result: 'ok', credential: 'app/phone' });
    expect(await ldap.binds()).toBe(before);
  });

  describe('where it says who is active, app passwords', () => {
    const word = { password: 'word of the app' };

    beforeAll(async () => {
      const bob = rows.get('bob') as MailboxRow;
      const hash = await prepareAppPassword(word.password);
      const blowfish = '{BLF-CRYPT}$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe';
      const app = (name: string, hash: string) => ({ name, source: `${name}/1`, hash, protocols: null });
      await world.put({ ...bob, appPasswords: [app('phone', hash), app('old', blowfish)] });
    });

    it('work for those, without a bind as the person, and remembered', async () => {
      const judged = await startJudged(60);
      const before = await ldap.binds();
      const right = { result: 'ok', credential: 'app/phone' };
      expect(await auth('alice@example.org', word, judged)).toMatchObject(right);
      expect(await ldap.binds()).toBe(before);
      await ldap.freeze();
      expect(await auth('alice@example.org', word, judged)).toMatchObject(right);
      ldap.thaw();
    });

    it('do not work for others, of whatever hash they are', async () => {
      const judged = await startJudged(60);
      expect(await auth('bob@example.org', word, judged)).toEqual({ result: 'denied' });
      expect(await auth('bob@example.org', { password: 'one that only Dovecot compares' }, judged)).toEqual({
        result: 'denied',
      });
    });

    it('fail for now while it is away', async () => {
      const judged = await startJudged(0);
      expect((await auth('alice@example.org', word, judged)).result).toBe('ok');
      await ldap.freeze();
      expect(await auth('alice@example.org', word, judged)).toEqual({ result: 'unavailable' });
      ldap.thaw();
    });

    it('stop when the entry is shut', async () => {
      const judged = await startJudged(0);
      await ldap.modify('alice', { accountStatus: 'retiring 2026-01-31' });
      expect(await auth('alice@example.org', word, judged)).toEqual({ result: 'denied' });
      await ldap.modify('alice', { accountStatus: '' });
      expect((await auth('alice@example.org', word, judged)).result).toBe('ok');
    });
  });

  it('denies who is not in it exactly once', async () => {
    expect(await auth('twin@example.org', { password: 'password of twin' })).toEqual({ result: 'denied' });
  });

  it('away: log-ins fail for now, but for what is remembered; nothing counts as wrong', async () => {
    await auth('alice@example.org', { password: 'password of alice' });
    await ldap.freeze();
    expect(await auth('bob@example.org', { password: 'password of bob' })).toEqual({ result: 'unavailable' });
    expect((await auth('alice@example.org', { password: 'password of alice' })).result).toBe('ok');
    ldap.thaw();
  });

  it('what it said right is forgotten when sessions have to end', async () => {
    // One of its own: the other leaves LDAP alone for a while, since it was silent.
    const gatekeeper = await startProxy();
    expect((await auth('alice@example.org', { password: 'password of alice' }, gatekeeper)).result).toBe('ok');
    const before = await ldap.binds();
    const row = rows.get('alice') as MailboxRow;
    await world.put({ ...row, state: 'Suspended' });
    expect(await auth('alice@example.org', { password: 'password of alice' }, gatekeeper)).toEqual({
      result: 'denied',
    });
    await world.put({ ...row, state: 'Active' });
    expect((await auth('alice@example.org', { password: 'password of alice' }, gatekeeper)).result).toBe('ok');
    expect(await ldap.binds()).toBe(before + 1);
  });

  it('by hashes: Dovecot compares, then it is remembered', async () => {
    const given = { protocol: 'submission', password: 'password of carol' };
    const answer = await auth('carol@example.org', given, hashing);
    expect(answer).toMatchObject({ result: 'verify', hashes: [{ id: 'ldap' }] });
    if (answer.result !== 'verify') return;
    expect(await fits(answer.hashes[0]?.hash ?? '', given.password)).toBe(true);
    const told = { login: 'carol@example.org', protocol: 'submission', ip: HOME, ok: true, credential: 'ldap' };
    await hashing.post('/v1/auth/result', { ...told, ticket: answer.ticket });
    expect(await auth('carol@example.org', given, hashing)).toMatchObject({ result: 'ok', credential: 'ldap' });
    expect(await auth('carol@example.org', { ...given, password: 'other' }, hashing)).toMatchObject({
      result: 'verify',
    });
  });
});

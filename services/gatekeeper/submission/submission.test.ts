import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { prepareAppPassword } from '../../../operator/directory/password.js';
import { forward, mailbox, setHeartbeatAge } from '../../../operator/directory/testing/directory.js';
import { fits } from '../auth/hashes.js';
import type { LoginAnswer } from '../auth/login.js';
import { SETTINGS, startWorld, type TestGatekeeper, type World } from '../testing/world.js';

let world: World;
let gatekeeper: TestGatekeeper;
let people = 0;

beforeAll(async () => {
  world = await startWorld();
  await world.directory.directory.projectSettings(SETTINGS);
  await setHeartbeatAge(world.directory.server, 0);
  gatekeeper = await world.start('submission', {
    conduct: { surgeAbove: 15, unknownRecipients: 4, spam: 3, messages: 5 },
  });
});

beforeEach(() => setHeartbeatAge(world.directory.server, 0));

afterAll(() => world?.stop());

/** A person who has sent nothing yet. */
async function person(settings: Parameters<typeof mailbox>[1] = {}) {
  people += 1;
  const row = mailbox(`person${people}`, settings);
  await world.put(row);
  return { login: row.address, row };
}

let transactions = 0;

/** A transaction as Postfix would ask about it; the answers at each stage. */
async function transaction(login: string, recipients: readonly string[]) {
  transactions += 1;
  const common = { instance: `t${transactions}`, sasl_username: login, sender: login };
  const mail = await gatekeeper.ask({ ...common, protocol_state: 'MAIL' });
  const rcpt: string[] = [];
  for (const recipient of recipients) {
    rcpt.push(await gatekeeper.ask({ ...common, protocol_state: 'RCPT', recipient, recipient_count: 0 }));
  }
  const count = rcpt.filter((answer) => answer === 'DUNNO').length;
  const end = await gatekeeper.ask({ ...common, protocol_state: 'END-OF-MESSAGE', recipient_count: count });
  return { mail, rcpt, end };
}

const outside = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => `r${from + index}@gmail.example`);

describe('account states', () => {
  it('let an active account send', async () => {
    const { login } = await person();
    expect(await transaction(login, outside(2))).toEqual({ mail: 'DUNNO', rcpt: ['DUNNO', 'DUNNO'], end: 'DUNNO' });
  });

  it.each([
    ['SendBlocked', /^554 5\.7\.1 sending is blocked for this account; ask postmaster@example\.org$/],
    ['ReceiveOnly', /^554 5\.7\.1 .*receive/],
    ['LoginOff', /^421 4\.7\.0 /],
    ['Suspended', /^421 4\.7\.0 .*suspended/],
  ] as const)('%s ends sending in the session that is open', async (state, reply) => {
    const { login, row } = await person();
    expect((await transaction(login, outside(1))).end).toBe('DUNNO');
    await world.put({ ...row, state });
    const { mail } = await transaction(login, []);
    expect(mail).toMatch(reply);
    // Within a transaction that was begun before, at the next recipient that comes a second later.
    const { rcpt } = await transaction(login, outside(1));
    expect(rcpt[0]).toMatch(reply);
  });

  it('end when their time is over', async () => {
    const { login } = await person({ state: 'SendBlocked', stateUntil: new Date(Date.now() - 1000).toISOString() });
    expect((await transaction(login, outside(1))).end).toBe('DUNNO');
  });

  it('end the session of an account that is gone', async () => {
    expect((await transaction('nobody@example.org', [])).mail).toMatch(/^421 4\.7\.0 /);
  });

  it('leave it to Postfix who is not logged in', async () => {
    expect(await gatekeeper.ask({ protocol_state: 'RCPT', sasl_username: '', recipient: 'x@gmail.example' })).toBe(
      'DUNNO',
    );
  });

  it('are not guessed when the directory is stale: 4xx', async () => {
    const { login } = await person();
    await setHeartbeatAge(world.directory.server, 120);
    expect((await transaction(login, outside(1))).mail).toMatch(/^451 /);
  });
});

describe('a session that is open', () => {
  let port = 40_000;
  let old = '';
  let app = '';
  beforeAll(async () => {
    [old, app] = await Promise.all([prepareAppPassword('old password'), prepareAppPassword('word of the app')]);
  });

  /** EHLO and AUTH as Postfix and Dovecot ask about them. `ask`: anything that Postfix asks later over the same. */
  async function open(login: string, password: string) {
    port += 1;
    const connection = { client_address: '198.51.100.7', client_port: port, server_port: 465 };
    expect(await gatekeeper.ask({ ...connection, protocol_state: 'EHLO', sasl_username: '' })).toBe('DUNNO');
    const given = { login, protocol: 'submission', ip: '198.51.100.7' };
    const { body } = await gatekeeper.post<LoginAnswer>('/v1/auth', { ...given, password });
    if (body.result !== 'verify') throw new Error(body.result);
    const tried = await Promise.all(body.hashes.map(({ hash }) => fits(hash, password)));
    const ok = tried.includes(true);
    await gatekeeper.post('/v1/auth/result', { ...given, ok, ticket: body.ticket });
    if (!ok) throw new Error('wrong password');
    const common = { ...connection, instance: `s${port}`, sasl_username: login, sender: login };
    return (state: string) =>
      gatekeeper.ask({ ...common, protocol_state: state, recipient: 'x@gmail.example', recipient_count: 1 });
  }

  const OVER = '421 4.7.0 your password or your account has changed since you logged in; log in again';
  const isOver = (ask: (state: string) => Promise<string>) =>
    expect.poll(() => ask('MAIL'), { timeout: 5_000, interval: 200 }).toBe(OVER);

  type Row = ReturnType<typeof mailbox>;
  const password = (hash: string) => ({ password: { hash, source: `s/${hash.slice(-8)}` } });

  it.each<[string, string, (row: Row) => Promise<void>, string]>([
    [
      'a password that was changed',
      'old password',
      (row) => world.put({ ...row, ...password(app) }),
      'word of the app',
    ],
    [
      'an app password that was withdrawn',
      'word of the app',
      (row) => world.put({ ...row, appPasswords: [] }),
      'old password',
    ],
    [
      'an account that was suspended in between',
      'old password',
      async (row) => {
        await world.put({ ...row, state: 'Suspended' });
        await world.put({ ...row, state: 'Active' });
      },
      'old password',
    ],
    [
      "an address that has become another mailbox's",
      'old password',
      async (row) => {
        await world.directory.directory.tombstoneMailboxes([{ uuid: row.uuid, objectUid: row.object.uid }], 0);
        await world.put({ ...mailbox('x', password(app)), address: row.address });
      },
      'word of the app',
    ],
  ])('with %s ends, and one that is opened after that goes on', async (_name, before, change, after) => {
    const { login, row } = await person({
      ...password(old),
      appPasswords: [{ name: 'phone', source: 'a/1', hash: app, protocols: null }],
    });
    // One has sent already, one has only logged in.
    const [busy, idle] = [await open(login, before), await open(login, before)];
    expect(await busy('MAIL')).toBe('DUNNO');
    await change(row);
    const later = await open(login, after);
    await isOver(busy);
    expect(await idle('MAIL')).toBe(OVER);
    expect([await busy('RCPT'), await busy('END-OF-MESSAGE')]).toEqual([OVER, OVER]);
    expect([await later('MAIL'), await later('RCPT'), await later('END-OF-MESSAGE')]).toEqual(Array(3).fill('DUNNO'));
  });

  it('is not touched by what happens to others, or by an alias more', async () => {
    const [mine, other] = [await person(password(old)), await person(password(old))];
    const [me, they] = [await open(mine.login, 'old password'), await open(other.login, 'old password')];
    await world.put({ ...mine.row, aliases: [`alias-of-${mine.login}`] });
    await world.put({ ...other.row, ...password(app) });
    await isOver(they);
    expect(await me('MAIL')).toBe('DUNNO');
  });
});

describe('recipients', () => {
  it('are refused when they are unknown here', async () => {
    const { login } = await person();
    const { rcpt } = await transaction(login, ['nobody@example.org', login, 'no-address']);
    expect(rcpt).toEqual([expect.stringMatching(/^550 5\.1\.1 /), 'DUNNO', expect.stringMatching(/^501 5\.1\.3 /)]);
  });
});

describe('rates', () => {
  it('refuse more than an account may send in an hour, with the time to wait', async () => {
    const { login } = await person();
    expect((await transaction(login, outside(6))).end).toBe('DUNNO');
    const { rcpt } = await transaction(login, outside(6));
    expect(rcpt.slice(0, 4)).toEqual(Array(4).fill('DUNNO'));
    expect(rcpt[4]).toMatch(
      /^450 4\.7\.1 this account may write to 10 recipients an hour, and has to 6; try again in \d+ minutes$/,
    );
  });

  it('hold for sessions side by side', async () => {
    const { login } = await person();
    const sent = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { rcpt, end } = await transaction(login, outside(3));
        return end === 'DUNNO' ? rcpt.filter((answer) => answer === 'DUNNO').length : 0;
      }),
    );
    const recipients = sent.reduce((sum, count) => sum + count, 0);
    expect(recipients).toBeLessThanOrEqual(10);
    expect(recipients).toBeGreaterThanOrEqual(8);
  });

  it('refuse for good a message that is too large for any hour', async () => {
    const { login } = await person({ sending: { hour: 3, day: null } });
    const { rcpt } = await transaction(login, outside(4));
    expect(rcpt[3]).toMatch(/^554 5\.5\.3 this account may write to 3 recipients an hour, and this message has more; /);
  });

  it('of a day and of a domain hold too', async () => {
    await world.directory.directory.projectDomains([
      { domain: 'example.net', object: { uid: 'd', namespace: 'mail', name: 'n' }, dkimSelector: null, sendingHour: 5 },
      {
        domain: 'example.org',
        object: { uid: 'd2', namespace: 'mail', name: 'o' },
        dkimSelector: null,
        sendingHour: 1000,
      },
    ]);
    const a = await person({ address: 'a@example.net' });
    const b = await person({ address: 'b@example.net' });
    expect((await transaction(a.login, outside(3))).end).toBe('DUNNO');
    const { rcpt } = await transaction(b.login, outside(3));
    expect(rcpt[2]).toMatch(/^450 4\.7\.1 all of example\.net may write to 5 recipients an hour, and has to 3; /);
    const c = await person({ sending: { hour: null, day: 2 } });
    expect((await transaction(c.login, outside(2))).end).toBe('DUNNO');
    expect((await transaction(c.login, outside(1))).rcpt[0]).toMatch(
      /2 recipients a day, .* try again in 2[45] hours$/,
    );
  });

  it('go on in the process while Redis is away', async () => {
    const { login } = await person();
    await world.redis.freeze();
    expect((await transaction(login, outside(6))).end).toBe('DUNNO');
    expect((await transaction(login, outside(5))).rcpt[4]).toMatch(/^450 4\.7\.1 /);
    world.redis.thaw();
  });
});

/** What the operator reads, and shows. */
async function incidentOf(uuid: string) {
  return (await world.directory.directory.incidents()).find((incident) => incident.uuid === uuid);
}

const headersFrom = (address: string) => `From: Somebody <${address}>\r\nSubject: x\r\n`;

const submit = (login: string, fields: object = {}) =>
  gatekeeper.post<{ action: string; reply?: string }>('/v1/submission', {
    login,
    sender: login,
    recipients: ['x@gmail.example'],
    headers: headersFrom(login),
    score: 0,
    spam: false,
    size: 100,
    ...fields,
  });

describe('an account that', () => {
  it('writes to many who do not exist is paused, and reported', async () => {
    const { login, row } = await person();
    const { rcpt } = await transaction(
      login,
      Array.from({ length: 5 }, (_, index) => `no${index}@example.org`),
    );
    expect(rcpt.slice(0, 3)).toEqual(Array(3).fill(expect.stringMatching(/^550 5\.1\.1/)));
    expect(rcpt[3]).toMatch(
      /^450 4\.7\.1 sending is paused until \d\d:\d\d UTC, because many of its recipients do not/,
    );
    expect((await transaction(login, [])).mail).toMatch(/^450 4\.7\.1 sending is paused until /);
    expect(await incidentOf(row.uuid)).toMatchObject({ kind: 'UnknownRecipients' });
  });

  it('suddenly writes to far more than usual is paused, and not again the same day when that is lifted', async () => {
    const { login, row } = await person({ sending: { hour: 100, day: 100 } });
    expect((await transaction(login, outside(10))).end).toBe('DUNNO');
    expect((await transaction(login, outside(10, 10))).end).toMatch(/^450 4\.7\.1 sending is paused .* than usual/);
    expect(await incidentOf(row.uuid)).toMatchObject({ kind: 'Surge' });
    await world.directory.directory.clearIncidents([{ uuid: row.uuid, kind: 'Surge' }]);
    await world.directory.server.query('posthorn', 'DELETE FROM posthorn.incidents');
    expect((await transaction(login, outside(1))).end).toBe('DUNNO');
  });

  it('sends what looks like spam is paused after a few messages', async () => {
    const { login, row } = await person();
    const answers = [];
    for (const spam of [true, false, true, true]) answers.push((await submit(login, { spam, score: 9 })).body);
    expect(answers.slice(0, 3)).toEqual(Array(3).fill({ action: 'accept' }));
    expect(answers[3]).toEqual({ action: 'defer', reply: expect.stringMatching(/^4\.7\.1 .* look like spam/) });
    expect((await submit(login)).body.action).toBe('defer');
    expect(await incidentOf(row.uuid)).toMatchObject({
      kind: 'Spam',
      detail: expect.stringContaining('3 of the last 4'),
    });
  });
});

describe('a message', () => {
  it('goes out under its own name, an alias, or as a shared mailbox', async () => {
    const { login, row } = await person({ aliases: ['boss@example.org'] });
    await world.put(mailbox('info', { members: [{ mailbox: row.object.name, rights: 'ReadWrite', sendAs: true }] }));
    for (const address of [login, 'boss@example.org', 'info@example.org', login.replace('@', '+tag@')]) {
      expect((await submit(login, { sender: address, headers: headersFrom(address) })).body).toEqual({
        action: 'accept',
      });
    }
  });

  it('goes out under the address of a forward that names the mailbox, and of no other', async () => {
    const { login, row } = await person();
    const other = await person();
    await world.directory.directory.projectForwards([forward('ariel', { sendAs: row.object.name })]);
    const fields = { sender: 'ariel@example.org', headers: headersFrom('ariel@example.org') };
    expect((await submit(login, fields)).body).toEqual({ action: 'accept' });
    expect((await submit(other.login, fields)).body).toMatchObject({ action: 'reject' });
  });

  it('does not go out as a shared mailbox that is suspended, or that one may only read', async () => {
    const { login, row } = await person();
    const members = (sendAs: boolean) => [{ mailbox: row.object.name, rights: 'ReadWrite' as const, sendAs }];
    await world.put(mailbox('closed', { members: members(true), state: 'Suspended' }));
    await world.put(mailbox('readonly', { members: members(false) }));
    for (const address of ['closed@example.org', 'readonly@example.org']) {
      const fields = { sender: address, headers: headersFrom(address) };
      expect((await submit(login, fields)).body).toMatchObject({ action: 'reject' });
    }
  });

  it("is refused with another's author, in the envelope too, and told why", async () => {
    const { login } = await person();
    const other = await person();
    expect((await submit(login, { headers: headersFrom(other.login) })).body).toEqual({
      action: 'reject',
      reply: expect.stringMatching(
        new RegExp(`^5\\.7\\.1 From says <${other.login}>, which is not an address of yours; `),
      ),
    });
    expect((await submit(login, { sender: other.login })).body).toMatchObject({ action: 'reject' });
    expect((await submit(login, { headers: `From: "${other.login}" <${login}>\r\n` })).body).toMatchObject({
      action: 'reject',
      reply: expect.stringContaining('shows'),
    });
    expect((await submit('')).body).toMatchObject({ action: 'reject' });
  });

  it('may show an address of a domain that is not ours', async () => {
    const { login } = await person();
    const headers = `From: "bob@customer.example via support" <${login}>\r\n`;
    expect((await submit(login, { headers })).body).toEqual({ action: 'accept' });
  });

  it('is refused to a recipient that wants mail from other domains only', async () => {
    const { login } = await person();
    await world.put(mailbox('bridges', { require: { from: ['gmail.com'], otherwise: 'Reject' } }));
    const recipients = ['x@gmail.example', 'bridges@example.org'];
    expect((await submit(login, { recipients })).body).toEqual({
      action: 'reject',
      reply: expect.stringMatching(/^5\.7\.1 bridges@example\.org takes mail only from gmail\.com; /),
    });
  });

  it('is put off while the account may not send, and refused when it may not at all', async () => {
    const { login, row } = await person({ state: 'Suspended' });
    expect((await submit(login)).body).toMatchObject({ action: 'defer' });
    await world.put({ ...row, state: 'SendBlocked' });
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    expect((await submit(login)).body).toMatchObject({ action: 'reject', reply: expect.stringMatching(/^5\.7\.1 /) });
  });

  it('without the fields that are needed is a bad request', async () => {
    expect((await gatekeeper.post('/v1/submission', { login: 'x' })).status).toBe(400);
  });

  it('is a temporary failure when the directory cannot tell', async () => {
    const { login } = await person();
    await setHeartbeatAge(world.directory.server, 120);
    expect((await submit(login)).status).toBe(503);
  });
});

it('counts what it did', async () => {
  const { text } = await gatekeeper.get('/metrics');
  expect(text).toMatch(/posthorn_gatekeeper_messages_total\{verdict="not-yours"\} [1-9]/);
  expect(text).toMatch(/posthorn_gatekeeper_incidents_total\{kind="Spam"\} 1/);
  expect(text).toMatch(/posthorn_gatekeeper_policy_seconds_count\{answer="450"\} [1-9]/);
  expect(text).not.toContain('person1@');
  expect((await gatekeeper.get('/live')).status).toBe(200);
  expect((await gatekeeper.get('/ready')).status).toBe(200);
});

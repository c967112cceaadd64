import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { forward, mailbox, setHeartbeatAge } from '../../../operator/directory/testing/directory.js';
import { openDirectoryPool } from '../../lib/directory.js';
import { SETTINGS, startWorld, type TestGatekeeper, type World } from '../testing/world.js';
import { judgeRecipient } from './policy.js';
import { createLookup } from './recipients.js';

let world: World;
let gatekeeper: TestGatekeeper;

beforeAll(async () => {
  world = await startWorld();
  const { directory } = world.directory;
  await directory.projectSettings(SETTINGS);
  await directory.projectDomains([
    { domain: 'example.org', object: { uid: 'd', namespace: 'mail', name: 'o' }, dkimSelector: null },
    {
      domain: 'example.net',
      object: { uid: 'e', namespace: 'mail', name: 'n' },
      dkimSelector: null,
      filter: { rejectAbove: 5 },
    },
  ]);
  await world.put(
    mailbox('alice'),
    mailbox('bob'),
    mailbox('carol', { address: 'carol@example.net' }),
    mailbox('bridges', { require: { from: ['gmail.com'], otherwise: 'Reject' } }),
    mailbox('gone', { state: 'Suspended', suspendedMail: 'Refuse' }),
  );
  await directory.projectForwards([forward('away', { to: ['x@gmail.example'] })]);
  gatekeeper = await world.start('mx');
});

beforeEach(() => setHeartbeatAge(world.directory.server, 0));

afterAll(() => world?.stop());

let transactions = 0;

async function rcpt(...recipients: string[]): Promise<string[]> {
  transactions += 1;
  const answers: string[] = [];
  for (const recipient of recipients) {
    answers.push(
      await gatekeeper.ask({ protocol_state: 'RCPT', recipient, instance: `t${transactions}`, sender: 'x@y' }),
    );
  }
  return answers;
}

describe('at RCPT', () => {
  it.each([
    ['alice@example.org', /^OK$/],
    ['alice+list@example.org', /^OK$/],
    ['away@example.org', /^OK$/],
    ['nobody@example.org', /^550 5\.1\.1 <nobody@example\.org>: no such address here$/],
    ['x@gmail.example', /^554 5\.7\.1 <x@gmail\.example>: relay access denied$/],
    ['gone@example.org', /^550 5\.7\.1 /],
    ['alice', /^554 5\.1\.3 /],
    ['', /^554 5\.1\.3 /],
    ['@example.org', /^554 5\.1\.3 /],
    ['alice@example.org@gmail.example', /^554 5\.7\.1 /],
    ['x%gmail.example@example.org', /^550 5\.1\.1 /],
    ['gmail.example!x@example.org', /^550 5\.1\.1 /],
    ['"x@gmail.example"@example.org', /^550 5\.1\.1 /],
  ])('%s', async (recipient, answer) => {
    expect((await rcpt(recipient))[0]).toMatch(answer);
  });

  it('recipients with other rules get a transaction of their own', async () => {
    const answers = await rcpt('alice@example.org', 'bob@example.org', 'carol@example.net', 'bridges@example.org');
    expect(answers.slice(0, 2)).toEqual(['OK', 'OK']);
    expect(answers.slice(2)).toEqual(Array(2).fill(expect.stringMatching(/^452 4\.5\.3 /)));
    expect(await rcpt('carol@example.net', 'alice@example.org')).toEqual(['OK', expect.stringMatching(/^452 /)]);
  });

  it('a recipient that is refused decides nothing about the rules of a transaction', async () => {
    const answers = await rcpt('nobody@example.net', 'alice@example.org');
    expect(answers[1]).toBe('OK');
  });

  it('a stale directory never says no', async () => {
    await setHeartbeatAge(world.directory.server, 30);
    expect((await rcpt('alice@example.org', 'stranger@example.org'))[1]).toMatch(/^450 4\.3\.0 /);
  });

  it('a new mailbox is taken as soon as it is there, though it was refused a moment ago', async () => {
    expect((await rcpt('new@example.org'))[0]).toMatch(/^550/);
    await world.put(mailbox('new'));
    expect((await rcpt('new@example.org'))[0]).toBe('OK');
  });
});

describe('an SRS address', () => {
  const REFUSED = expect.stringMatching(/^550 5\.7\.1 only delivery reports go to this address/);
  const LATER = expect.stringMatching(/^450 4\.7\.1 enough reports/);

  /** The address that forwarded mail of the sender has today. */
  const srs = async (sender: string): Promise<string> => {
    const sql = 'SELECT directory_v1.srs_sender($1) AS address';
    const [row] = await world.directory.server.query<{ address: string }>('posthorn', sql, [sender]);
    return row?.address ?? '';
  };
  const report = (recipient: string, sender = '', gate = gatekeeper) => {
    transactions += 1;
    return gate.ask({ protocol_state: 'RCPT', recipient, instance: `t${transactions}`, sender });
  };
  const reports = async (count: number, recipient: (n: number) => string, gate = gatekeeper): Promise<string[]> => {
    const answers: string[] = [];
    for (let n = 0; n < count; n += 1) answers.push(await report(recipient(n), '', gate));
    return answers;
  };

  it('takes the null sender only', async () => {
    const address = await srs('someone@outside.example');
    for (const sender of ['x@outside.example', 'postmaster@outside.example', 'alice@example.org', '<>']) {
      expect(await report(address, sender), sender).toEqual(REFUSED);
    }
    expect(await report(address)).toBe('OK');
    expect(await report(address.replace('someone', 'somebody'))).toMatch(/^550 5\.1\.1 /);
  });

  it('takes twenty a day for its sender, however it is written, and in whatever pod', async () => {
    const [address, other] = [await srs('victim@outside.example'), await srs('other@outside.example')];
    const written = [address, address.toUpperCase(), address.toLowerCase(), `"${address.replace('@', '"@')}`];
    expect(await reports(20, (n) => written[n % 4] ?? '')).toEqual(Array(20).fill('OK'));
    expect(await reports(4, (n) => written[n] ?? '')).toEqual(Array(4).fill(LATER));
    expect(await report(address, '', await world.start('mx'))).toEqual(LATER);
    // A recipient that was put off decides nothing about the transaction; nobody else is touched.
    expect(await report(other)).toBe('OK');
  });

  it('takes no count from those that were refused', async () => {
    const address = await srs('probed@outside.example');
    for (let n = 0; n < 25; n += 1) expect(await report(address, 'x@outside.example')).toEqual(REFUSED);
    expect(await report(address)).toBe('OK');
  });

  it('takes reports while Redis is away', async () => {
    const address = await srs('patient@outside.example');
    expect(await reports(20, () => address)).toEqual(Array(20).fill('OK'));
    await world.redis.freeze();
    try {
      expect(await report(address)).toBe('OK');
    } finally {
      world.redis.thaw();
    }
  });
});

describe('/v1/recipients', () => {
  const ask = (...recipients: string[]) =>
    gatekeeper.post<{ recipients: { address: string; kind: string; canonical: string; policy: unknown }[] }>(
      '/v1/recipients',
      { recipients },
    );

  it('tells policies, in the order of the question', async () => {
    const { body } = await ask('carol@example.net', 'bridges@example.org', 'alice@example.org', 'away@example.org');
    expect(body.recipients).toMatchObject([
      { address: 'carol@example.net', kind: 'mailbox', policy: { rejectAbove: 5 } },
      { kind: 'mailbox', policy: { require: { from: ['gmail.com'], otherwise: 'Reject' } } },
      { kind: 'mailbox', canonical: 'alice@example.org', policy: null },
      { kind: 'forward', canonical: 'away@example.org' },
    ]);
  });

  it('fails when the directory cannot tell, or the question is none', async () => {
    await setHeartbeatAge(world.directory.server, 30);
    expect((await ask('stranger2@example.org')).status).toBe(503);
    expect((await gatekeeper.post('/v1/recipients', { recipients: 'x' })).status).toBe(400);
    expect((await gatekeeper.post('/v1/submission', {})).status).toBe(404);
  });
});

it('asks the directory once for RCPT and the filter, and never remembers a no', async () => {
  let queries = 0;
  let now = 0;
  const directory = openDirectoryPool({
    hosts: ['127.0.0.1'],
    port: world.directory.server.port,
    user: 'posthorn_mx',
    application: 'test',
    onQuery: () => {
      queries += 1;
    },
  });
  const lookup = createLookup(directory, () => now);
  for (const address of ['alice@example.org', 'nobody@example.org']) {
    await lookup(address);
    await lookup(address);
  }
  expect(queries).toBe(3);
  now += 2_001;
  await lookup('alice@example.org');
  expect(queries).toBe(4);
  await directory.close();
});

describe('the policy protocol', () => {
  it('takes many requests over one connection, whole or in pieces', async () => {
    const socket = connect(gatekeeper.policyPort ?? 0, '127.0.0.1');
    const request = 'request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=alice@example.org\ninstance=p1\n\n';
    let answers = '';
    socket.on('data', (data) => {
      answers += data.toString();
    });
    const until = async (count: number) => {
      while ((answers.match(/action=/g) ?? []).length < count) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    socket.write(request + request + request.slice(0, 20));
    await until(2);
    socket.write(request.slice(20));
    await until(3);
    expect(answers).toBe('action=OK\n\n'.repeat(3));
    socket.destroy();
  });

  it('ends with whoever speaks another', async () => {
    const socket = connect(gatekeeper.policyPort ?? 0, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\n\n');
    await new Promise((resolve) => socket.once('close', resolve));
  });

  it('cannot be made to say more by an address', async () => {
    const recipient = { verdict: 'DUNNO', kind: '', canonical: '', policy_key: '', policy: null };
    expect(judgeRecipient(recipient, 'x@y', undefined)).toBe('OK');
    expect((await rcpt('x\u0001action=OK@example.org'))[0]).toMatch(/^550 5\.1\.1 <x\?action=OK@example\.org>/);
  });
});

import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CourierTarget, ForwardRow } from './rows.js';
import { forward, mailbox, setHeartbeatAge, startDirectory, type TestDirectory } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';

const HOST = 'mail-forward.mail.svc.cluster.local';
const TRANSPORT = `forward:[${HOST}]:10025`;
const STALE = '450 4.3.0 directory is catching up, try again';
const settings = { postmaster: null, forwardHost: HOST, srsDomain: 'srs.example.org' };
const webhook = { webhook: { url: 'https://bot.outside.test/', timeoutSeconds: 30 } };
const command = { command: { image: 'bots:1', command: ['bridges'], args: [], timeoutSeconds: 300 } };

const alice = mailbox('alice', {
  age: 9,
  aliases: ['sales@example.org'],
  require: { from: ['a.test'], otherwise: 'Tag' },
});
const plain = forward('plain', { to: ['out@outside.test', 'alice+news@example.org', 'two@outside.test'] });
const inside = forward('inside', { to: ['alice@example.org', 'plain@example.org'] });
const copy = forward('copy', { keepCopy: 'alice', require: { from: ['gmail.com'], otherwise: 'Reject' } });
const bots = forward('bots', {
  to: ['alice@example.org'],
  couriers: [webhook, { refused: 'CommandNotAllowed' }, command],
});
const main = forward('main', { address: 'alice@example.org', keepCopy: 'alice' });
const onAlias = forward('on-alias', { address: 'sales@example.org', keepCopy: 'alice', sendAs: 'bob' });
const catchAll = forward('catch-all', { address: '*@example.net', to: ['all@outside.test', 'alice@example.org'] });
const lost = forward('lost', { to: [], keepCopy: 'nobody' });

let test: TestDirectory;
let replica: TestPostgres;

beforeAll(async () => {
  test = await startDirectory();
  replica = await test.server.addReplica('replica_1');
  await test.directory.projectSettings(settings);
  await test.directory.projectMailboxes([alice, mailbox('bob')]);
  const { value } = await test.directory.projectForwards([plain, inside, copy, bots, main, onAlias, catchAll, lost]);
  expect(value.map(({ result }) => result)).toEqual(Array(8).fill('written'));
});

// To the leader a heartbeat to come is fresh: so it stays on a busy machine.
beforeEach(() => setHeartbeatAge(test.server, -50));

afterAll(async () => {
  await test?.stop();
});

const ROLES: Record<string, string> = {
  forward_targets: 'posthorn_forward',
  delivered_to: 'posthorn_forward',
  srs_sender: 'posthorn_forward',
  courier_target: 'posthorn_courier',
  sender_logins: 'posthorn_submission',
  submission_rcpt_verdict: 'posthorn_submission',
};

async function ask<Answer = string>(name: string, argument: string, server = test.server): Promise<Answer | null> {
  const rows = await server.query<{ answer: Answer | null }>(
    ROLES[name] ?? 'posthorn_mx',
    `SELECT directory_v1.${name}($1) AS answer`,
    [argument],
  );
  return rows[0]?.answer ?? null;
}

async function recipient(address: string, server = test.server) {
  const rows = await server.query('posthorn_mx', 'SELECT * FROM directory_v1.recipient($1)', [address]);
  return rows[0];
}

/** What a map gives, sorted. */
async function list(name: string, argument: string): Promise<string[] | undefined> {
  return (await ask(name, argument))?.split(',').sort();
}

async function caughtUp(): Promise<void> {
  const lsn = await test.directory.currentLsn();
  await vi.waitFor(async () => expect(await test.directory.replayedEverywhere(lsn)).toMatchObject({ ok: true }), {
    timeout: 10_000,
  });
}

describe('at the mx', () => {
  it.each([
    ['plain@example.org', ['alice+news@example.org', 'plain@example.org']],
    ['Plain+x@Example.org', ['plain@example.org']],
    ['inside@example.org', ['alice@example.org', 'plain@example.org']],
    ['copy@example.org', ['alice@example.org', 'copy@example.org']],
    ['bots@example.org', ['alice@example.org', 'bots@example.org']],
    ['alice@example.org', ['alice@example.org', `${main.object.uid}@forward.invalid`]],
    ['alice+x@example.org', ['alice+x@example.org', `${main.object.uid}@forward.invalid`]],
    ['sales@example.org', ['alice@example.org', 'sales@example.org']],
    ['sales+x@example.org', ['sales@example.org']],
    ['any@example.net', ['alice@example.org', 'any@example.net']],
    ['any+detail@example.net', ['alice@example.org', 'any+detail@example.net']],
    ['lost@example.org', undefined],
    ['out@outside.test', undefined],
    [`${main.object.uid}@forward.invalid`, undefined],
  ])('alias(%j) is %j', async (address, expected) => {
    expect(await list('alias', address)).toEqual(expected?.sort());
  });

  it('what needs quotes comes out in quotes: a map separates by commas', async () => {
    const address = 'alice+x,victim@outside.test,"\\@example.org';
    expect(await ask('alias', address)).toBe(
      `"alice+x,victim@outside.test,\\"\\\\"@example.org,${main.object.uid}@forward.invalid`,
    );
    for (const odd of ['a,b@outside.test,c@example.net', 'a b@example.net', '"ab"@example.net', 'a\nb@example.net']) {
      expect(await ask('rcpt_verdict', odd)).toMatch(/^550 5.1.1/);
      expect(await ask('alias', odd)).toBeNull();
    }
  });

  it('routes to the forward role what alias() has left to it, and only that', async () => {
    const uid = `${main.object.uid}@forward.invalid`;
    for (const address of ['plain@example.org', 'sales@example.org', 'copy@example.org', 'any@example.net', uid]) {
      expect(await ask('route', address), address).toBe(TRANSPORT);
    }
    expect(await ask('route', 'alice@example.org')).toMatch(/^lmtp:/);
    expect(await ask('route', 'out@outside.test')).toBeNull();
    expect(await ask('rcpt_verdict', uid)).toMatch(/^554 5.7.1/);
    await test.directory.projectSettings({ ...settings, forwardHost: null });
    expect(await ask('route', 'plain@example.org')).toMatch(/^retry:/);
    await test.directory.projectSettings(settings);
  });

  it('mail that waited while its address became an alias comes back by the forward role, to be expanded', async () => {
    await test.directory.projectSettings({ ...settings, postmaster: 'bob@example.org' });
    const box = mailbox('moving');
    const heir = mailbox('heir', { aliases: ['moving@example.org'] });
    await test.directory.projectMailboxes([box]);
    expect(await ask('route', 'moving@example.org')).toMatch(/^lmtp:/);
    await test.directory.tombstoneMailboxes([{ uuid: box.uuid, objectUid: box.object.uid }]);
    await test.directory.projectMailboxes([heir]);
    for (const [address, mailbox] of [
      ['moving@example.org', 'heir@example.org'],
      ['Moving+x@example.org', 'heir@example.org'],
      ['abuse@example.org', 'bob@example.org'],
    ] as const) {
      expect(await ask('route', address), address).toBe(TRANSPORT);
      expect(await ask('forward_targets', address), address).toBeNull();
      expect(await ask('delivered_to', address), address).toBeNull();
      expect(await ask('alias', address), address).toBe(mailbox);
      expect(await ask('route', mailbox)).toMatch(/^lmtp:/);
    }
    await test.directory.tombstoneMailboxes([{ uuid: heir.uuid, objectUid: heir.object.uid }]);
    await test.directory.projectSettings(settings);
  });

  it('a catch-all comes after the address, the address without +detail, and the postmaster', async () => {
    await test.directory.projectSettings({ ...settings, postmaster: 'bob@example.org' });
    const box = mailbox('own', { address: 'own@example.net' });
    await test.directory.projectMailboxes([box]);
    expect(await ask('alias', 'own@example.net')).toBeNull();
    expect(await ask('alias', 'own+x@example.net')).toBeNull();
    expect(await ask('alias', 'abuse@example.net')).toBe('bob@example.org');
    expect(await ask('rcpt_verdict', 'nobody@example.org')).toMatch(/^550/);
    await test.directory.projectSettings(settings);
    expect(await list('alias', 'abuse@example.net')).toEqual(['abuse@example.net', 'alice@example.org']);
    await test.directory.tombstoneMailboxes([{ uuid: box.uuid, objectUid: box.object.uid }]);
    expect(await list('alias', 'own@example.net')).toEqual(['alice@example.org', 'own@example.net']);
  });

  it('a postmaster may be a forward', async () => {
    await test.directory.projectSettings({ ...settings, postmaster: 'plain@example.org' });
    expect(await ask('alias', 'postmaster+x@example.org')).toBe('plain@example.org');
    expect(await recipient('postmaster@example.org')).toMatchObject({
      verdict: 'DUNNO',
      canonical: 'plain@example.org',
    });
    await test.directory.projectSettings({ ...settings, postmaster: 'alice@example.org' });
    expect(await ask('alias', 'postmaster@example.org')).toBe('alice@example.org');
    await test.directory.projectSettings({ ...settings, postmaster: 'admin@outside.test' });
    expect(await recipient('abuse+x@example.org')).toMatchObject({
      verdict: 'DUNNO',
      kind: 'forward',
      canonical: 'abuse@example.org',
    });
    expect(await ask('route', 'abuse+x@example.org')).toBe(TRANSPORT);
    expect(await ask('forward_targets', 'abuse+x@example.org')).toBe('admin@outside.test');
    expect(await ask('delivered_to', 'abuse+x@example.org')).toBe('abuse@example.org');
    await test.directory.projectSettings(settings);
  });

  it('recipient() tells the filter what it has to know', async () => {
    const filter = { rejectAbove: 7, dmarc: 'Enforce', deny: ['spam.test'] };
    const domain = {
      domain: 'example.net',
      object: { uid: 'd', namespace: 'mail', name: 'example.net' },
      dkimSelector: null,
    };
    await test.directory.projectDomains([{ ...domain, filter }]);
    const answers: Record<string, unknown> = {};
    for (const name of ['alice+x', 'sales', 'copy', 'plain', 'nobody'])
      answers[name] = await recipient(`${name}@example.org`);
    const none = { policy_key: '', policy: null };
    const key = expect.stringMatching(/^[0-9a-f]{32}$/);
    expect(answers).toEqual({
      'alice+x': {
        verdict: 'DUNNO',
        kind: 'forward',
        canonical: 'alice@example.org',
        policy_key: key,
        policy: { require: { from: ['a.test'], otherwise: 'Tag' } },
      },
      sales: {
        verdict: 'DUNNO',
        kind: 'forward',
        canonical: 'sales@example.org',
        policy_key: key,
        policy: { require: { from: ['a.test'], otherwise: 'Tag' } },
      },
      copy: {
        verdict: 'DUNNO',
        kind: 'forward',
        canonical: 'copy@example.org',
        policy_key: key,
        policy: { require: { from: ['gmail.com'], otherwise: 'Reject' } },
      },
      plain: { verdict: 'DUNNO', kind: 'forward', canonical: 'plain@example.org', ...none },
      nobody: { verdict: '550 5.1.1 <nobody@example.org>: no such address here', kind: '', canonical: null, ...none },
    });
    expect(await recipient('Any@example.net')).toMatchObject({ canonical: 'any@example.net', policy: filter });
    expect(await recipient('bob@example.org')).toMatchObject({
      kind: 'mailbox',
      canonical: 'bob@example.org',
      ...none,
    });
    expect(await recipient('x@outside.test')).toMatchObject({
      kind: '',
      verdict: expect.stringMatching(/^554/),
      ...none,
    });
    expect(await recipient('nothing')).toMatchObject({ verdict: null });
  });
});

it('what a forward and the mailbox on its address require holds together', async () => {
  const required = async (from: string[], otherwise: 'Reject' | 'Tag') => {
    await test.directory.projectForwards([{ ...onAlias, require: { from, otherwise } }]);
    return ((await recipient('sales@example.org'))?.policy as { require: unknown } | undefined)?.require;
  };
  // alice requires a.test, and tags others.
  expect(await required(['gmail.com', 'mail.a.test'], 'Reject')).toEqual({
    from: ['mail.a.test'],
    otherwise: 'Reject',
  });
  expect(await required(['test', 'gmail.com'], 'Tag')).toEqual({ from: ['a.test'], otherwise: 'Tag' });
  expect(await required(['a.test', 'x.a.test'], 'Tag')).toEqual({ from: ['a.test', 'x.a.test'], otherwise: 'Tag' });
  expect(await required(['gmail.com', 'aa.test'], 'Tag')).toEqual({ from: [], otherwise: 'Tag' });
  await test.directory.projectForwards([onAlias]);
});

/** `RULEUID.KEY`, as the directory makes it. */
async function token(rule: ForwardRow, target: object): Promise<string> {
  const sql = 'SELECT posthorn.courier_key($1) AS key';
  const [row] = await test.server.query<{ key: string }>('posthorn', sql, [JSON.stringify(target)]);
  return `${rule.object.uid}.${row?.key}`;
}

describe('at the forward role and the courier', () => {
  const bot = async (target: object) => `${await token(bots, target)}@courier.invalid`;

  it('gives what lies outside, webhooks and commands', async () => {
    expect(await list('forward_targets', 'plain@example.org')).toEqual(['out@outside.test', 'two@outside.test']);
    const both = [await bot(webhook), await bot(command)];
    expect((await list('forward_targets', 'bots@example.org'))?.toSorted()).toEqual(both.toSorted());
    expect(await list('forward_targets', `${main.object.uid}@forward.invalid`)).toEqual(['main@outside.test']);
    expect(await list('forward_targets', 'any+x@example.net')).toEqual(['all@outside.test']);
    for (const address of ['out@outside.test', await bot(webhook), 'bob@example.org', 'nobody@example.org']) {
      expect(await ask('forward_targets', address), address).toBeNull();
    }
  });

  it('mail that waited while the last target outside was taken away goes back to the mx, for all that is inside', async () => {
    // Not its targets: of those that are forwards, this role would find the targets outside only.
    expect(await ask('forward_targets', 'inside@example.org')).toBeNull();
    expect(await ask('forward_targets', 'inside+x@example.org')).toBeNull();
    expect(await list('alias', 'inside@example.org')).toEqual(['alice@example.org', 'plain@example.org']);

    // The mx doesn't know forward.invalid: the name becomes the address, which means nothing more.
    const named = `${main.object.uid}@forward.invalid`;
    await test.directory.projectForwards([
      { ...main, to: ['plain@example.org'] },
      { ...catchAll, to: ['alice@example.org'] },
    ]);
    expect(await ask('forward_targets', named)).toBe('alice@example.org');
    expect(await ask('forward_targets', 'alice@example.org')).toBeNull();
    expect(await list('alias', 'alice@example.org')).toEqual(['alice@example.org', 'plain@example.org']);
    expect(await ask('forward_targets', 'any@example.net')).toBeNull();
    expect(await ask('alias', 'any@example.net')).toBe('alice@example.org');
    // A catch-all is not an address.
    await expect(ask('forward_targets', `${catchAll.object.uid}@forward.invalid`)).rejects.toThrow(/no target/);
    await test.directory.projectForwards([main, catchAll]);
    expect(await ask('forward_targets', `${catchAll.object.uid}@forward.invalid`)).toBe('all@outside.test');
  });

  it('mail for a forward that is gone, or has no target, waits, without looking like a database that has failed', async () => {
    const going = forward('going', { couriers: [webhook] });
    await test.directory.projectForwards([going]);
    const named = await token(going, webhook);
    expect(await ask('courier_target', named)).not.toBeNull();
    await test.directory.tombstoneForwards([{ uid: going.object.uid }]);
    for (const [address, trouble] of [
      [`${going.object.uid}@forward.invalid`, 'this forward is gone'],
      ['x@forward.invalid', 'this forward is gone'],
      ['lost@example.org', 'this forward has no target'],
      ['lost+x@example.org', 'this forward has no target'],
      [`${lost.object.uid}@forward.invalid`, 'this forward has no target'],
      ['SRS0=x@srs.example.org', 'no address of ours, or expired'],
    ] as const) {
      await expect(ask('forward_targets', address), address).rejects.toThrow(`<${address}>: ${trouble}`);
      expect(await ask('delivered_to', address)).toBe(`450 4.3.0 <${address}>: ${trouble}`);
    }
    for (const gone of [named, `${going.object.uid}.0`]) {
      await expect(ask('courier_target', gone), gone).rejects.toThrow(/is gone/);
    }
  });

  it('a target or postmaster in .invalid is none: only the rule itself gives its tokens', async () => {
    const to = [await bot(webhook), `${main.object.uid}@forward.invalid`, 'x@sub.invalid'];
    const sly = forward('sly', { to: [...to, 'out@outside.test'], couriers: [webhook] });
    await test.directory.projectForwards([sly]);
    const own = [`${await token(sly, webhook)}@courier.invalid`, 'out@outside.test'];
    expect((await list('forward_targets', 'sly@example.org'))?.toSorted()).toEqual(own.toSorted());
    await test.directory.projectForwards([{ ...sly, to, couriers: [] }]);
    await expect(ask('forward_targets', 'sly@example.org')).rejects.toThrow(/no target/);
    expect(await ask('alias', 'sly@example.org')).toBeNull();
    await test.directory.tombstoneForwards([{ uid: sly.object.uid }]);

    await test.directory.projectSettings({ ...settings, postmaster: await bot(webhook) });
    expect(await ask('rcpt_verdict', 'abuse@example.org')).toMatch(/^550/);
    expect(await ask('forward_targets', 'abuse@example.org')).toBeNull();
    await test.directory.projectSettings(settings);
  });

  it('names the address for Delivered-To', async () => {
    expect(await ask('delivered_to', 'plain+x@example.org')).toBe('plain@example.org');
    expect(await ask('delivered_to', `${main.object.uid}@forward.invalid`)).toBe('alice@example.org');
    expect(await ask('delivered_to', 'any+x@example.net')).toBe('any+x@example.net');
    expect(await ask('delivered_to', 'bob@example.org')).toBeNull();
  });

  it('tells the courier what a token stands for', async () => {
    const rule = { namespace: 'mail', name: 'bots', uid: bots.object.uid };
    const told = async (target: object) => ask<object>('courier_target', await token(bots, target));
    expect(await told(webhook)).toEqual({ rule, address: 'bots@example.org', target: webhook });
    expect(await told(command)).toMatchObject({ target: command });
    await expect(told({ webhook: { url: 'https://other.outside.test/' } })).rejects.toThrow(/is gone/);
    for (const named of ['', '.', '.x', '.-1', '.00000', `.${'0'.repeat(15)}`, `.${'g'.repeat(16)}`]) {
      expect(await ask('courier_target', bots.object.uid + named), named).toBeNull();
    }
  });

  it('still knows the places that the release before wrote into its queues', async () => {
    const target = (n: number) => ask<object>('courier_target', `${bots.object.uid}.${n}`);
    expect(await target(0)).toMatchObject({ target: webhook });
    expect(await target(1)).toMatchObject({ target: { refused: 'CommandNotAllowed' } });
    expect(await target(2)).toMatchObject({ target: command });
    await expect(target(3)).rejects.toThrow(/is gone/);
  });

  describe('when the list of targets changes, mail that waits', () => {
    const hook = (name: string, more = {}) => ({ webhook: { url: `https://${name}.outside.test/`, ...more } });
    const [a, b, c] = [hook('a'), hook('b'), hook('c')];
    const refused = { refused: 'WebhookNotAllowed' };
    let rules = 0;

    /** What mail for `of` becomes when the list has gone through these states. */
    async function later(of: object, ...lists: CourierTarget[][]): Promise<object | 'waits'> {
      rules += 1;
      const rule = forward(`changing${rules}`, { to: ['out@outside.test'], couriers: lists[0] ?? [] });
      for (const couriers of lists) {
        const { value } = await test.directory.projectForwards([{ ...rule, couriers }]);
        expect(value[0]?.result).toBe('written');
      }
      const answer = ask<{ target: object }>('courier_target', await token(rule, of));
      return answer.then(
        (told) => told?.target ?? 'waits',
        (error: Error) => (/is gone/.test(error.message) ? 'waits' : Promise.reject(error)),
      );
    }

    it.each([
      [
        'is put into another order',
        a,
        [
          [a, b, c],
          [c, a, b],
        ],
        a,
      ],
      [
        'gets another in front',
        command,
        [
          [a, command],
          [b, a, command],
        ],
        command,
      ],
      ['loses the one in front', b, [[a, b], [b]], b],
      [
        'gives it more time',
        a,
        [
          [a, b],
          [b, hook('a', { timeoutSeconds: 9 })],
        ],
        hook('a', { timeoutSeconds: 9 }),
      ],
      [
        'has it edited in its place',
        b,
        [
          [a, b],
          [a, c],
        ],
        c,
      ],
      ['has it edited twice', a, [[a], [b], [c]], c],
      [
        'has it edited, and then another order',
        a,
        [
          [a, b],
          [c, b],
          [b, c],
        ],
        c,
      ],
      ['has it edited and back', a, [[a], [b], [a]], a],
      [
        'has another edited',
        a,
        [
          [a, b],
          [a, c],
        ],
        a,
      ],
      ['gets it back', a, [[a, b], [b], [b, a]], a],
      ['has it refused, and then not', a, [[a], [refused], [a]], a],
    ] as [string, object, CourierTarget[][], object][])('goes where it went before: %s', async (_, of, lists, to) => {
      expect(await later(of, ...lists)).toEqual(to);
    });

    it.each([
      ['loses it', b, [[a, b], [a]]],
      ['loses it, and what follows takes its place', a, [[a, b], [b]]],
      [
        'loses it for another elsewhere',
        a,
        [
          [a, b],
          [b, c],
        ],
      ],
      [
        'loses two for two',
        a,
        [
          [a, b],
          [c, hook('d')],
        ],
      ],
      ['has a command in its place', a, [[a], [command]]],
      ['has it refused', a, [[a], [refused]]],
      ['has it refused, and then another in its place', a, [[a], [refused], [b]]],
      ['had another edited into what it was, and that is gone', b, [[a, b], [a, c], [a]]],
    ] as [string, object, CourierTarget[][]][])('waits: the list %s', async (_, of, lists) => {
      expect(await later(of, ...lists)).toBe('waits');
    });
  });

  it('an inside target that comes to be outside is forwarded, and the other way round', async () => {
    const object = { uid: 'd', namespace: 'mail', name: 'outside.test' };
    await test.directory.projectDomains([{ domain: 'outside.test', object, dkimSelector: null }]);
    expect(await list('alias', 'copy@example.org')).toEqual(['alice@example.org', 'copy@outside.test']);
    await test.directory.removeDomains([{ domain: 'outside.test', objectUid: 'd' }]);
    expect(await list('alias', 'copy@example.org')).toEqual(['alice@example.org', 'copy@example.org']);
  });

  it('who may send as a forward is its mailbox, and on the address of a mailbox both', async () => {
    expect(await ask('sender_logins', 'plain@example.org')).toBeNull();
    expect(await list('sender_logins', 'sales@example.org')).toEqual(['alice@example.org', 'bob@example.org']);
    await test.directory.projectForwards([{ ...plain, sendAs: 'bob' }]);
    expect(await ask('sender_logins', 'plain+x@example.org')).toBe('bob@example.org');
    await test.directory.projectForwards([plain]);
  });
});

describe('SRS', () => {
  const rewrite = (sender: string) => ask('srs_sender', sender);
  const original = async (address: string) => {
    const verdict = await ask('rcpt_verdict', address);
    return verdict === 'DUNNO' ? ask('forward_targets', address) : verdict;
  };

  it.each([
    ['bob@outside.test', /^SRS0=[0-9a-f]{10}=[a-z2-7]{2}=outside\.test=bob@srs\.example\.org$/],
    ['Bob.B+x=y@Outside.Test', /=outside\.test=Bob\.B\+x=y@srs/],
    ['SRS0=abcd=TT=first.test=bob@second.test', /^SRS1=[0-9a-f]{10}=second\.test==abcd=TT=first\.test=bob@srs/],
    ['srs0+abcd=TT=first.test=bob@second.test', /^SRS1=[0-9a-f]{10}=second\.test=\+abcd=TT=first\.test=bob@srs/],
    [
      'SRS1=xyz=second.test==abcd=TT=first.test=bob@third.test',
      /^SRS1=[0-9a-f]{10}=second\.test==abcd=TT=first\.test=bob@srs/,
    ],
    ['"a b,c"@outside.test', /^"SRS0=[0-9a-f]{10}=..=outside\.test=a b,c"@srs\.example\.org$/],
    ['jürgen@müller.test', /=müller\.test=jürgen@srs/],
  ])('rewrites %s', async (sender, expected) => {
    expect(await rewrite(sender)).toMatch(expected);
  });

  it('leaves alone what is none, ours, or nonsense', async () => {
    const made = (await rewrite('bob@outside.test')) ?? '';
    for (const sender of [
      '',
      '<>',
      'alice@example.org',
      'nobody@Example.ORG',
      made,
      'bob',
      '@outside.test',
      'a@[192.0.2.1]',
      'a@b,c',
    ]) {
      expect(await rewrite(sender), sender).toBeNull();
    }
  });

  it('bounces come back to the sender, whatever case the address has suffered', async () => {
    for (const [sender, back] of [
      ['bob+x@outside.test', 'bob+x@outside.test'],
      ['"a b,c\\""@outside.test', '"a b,c\\""@outside.test'],
      ['SRS0=abcd=TT=first.test=bob@second.test', 'SRS0=abcd=TT=first.test=bob@second.test'],
      ['srs1+x=second.test=-abcd=TT=first.test=bob@third.test', 'SRS0-abcd=TT=first.test=bob@second.test'],
    ] as const) {
      const made = (await rewrite(sender)) ?? '';
      expect(await original(made), made).toBe(back);
      expect((await original(made.toLowerCase()))?.toLowerCase()).toBe(back.toLowerCase());
      expect((await original(made.toUpperCase()))?.toLowerCase()).toBe(back.toLowerCase());
      expect(await ask('alias', made)).toBeNull();
      expect(await ask('route', made)).toBe(TRANSPORT);
      expect(await recipient(made)).toMatchObject({ verdict: 'DUNNO', kind: 'srs', canonical: back });
      expect(await ask('delivered_to', made)).toBeNull();
      expect(await ask('sender_logins', made)).toBeNull();
    }
    expect(await ask('hosted_domain', 'SRS.example.org')).toBe('srs.example.org');
    expect(await ask('rcpt_verdict', 'bob@srs.example.org')).toMatch(/^550 5.1.1/);
  });

  it('never stands for an address that our own roles understand', async () => {
    const token = `${bots.object.uid}.0@courier.invalid`;
    for (const sender of [token, 'x@forward.invalid', 'x@Forward.INVALID.', 'x@deep.sub.invalid', 'x@invalid']) {
      await expect(rewrite(sender), sender).rejects.toThrow(/not a sender/);
    }
    expect(await rewrite('x@valid.notinvalid')).toMatch(/^SRS0/);
    const made = async (signed: string, kind: string) => {
      const [row] = await test.server.query<{ hash: string }>(
        'posthorn',
        'SELECT posthorn.srs_hash(key, $1) AS hash FROM posthorn.srs_secrets',
        [signed],
      );
      return `${kind}=${row?.hash}=${signed}@srs.example.org`;
    };
    const [day] = await test.server.query<{ day: string }>(
      'posthorn',
      'SELECT posthorn.srs_day(posthorn.srs_today()) AS day',
    );
    const outside = (domain: string) => made(`${day?.day}=${domain}=${bots.object.uid}.0`, 'SRS0');
    expect(await original(await outside('outside.test'))).toBe(`${bots.object.uid}.0@outside.test`);
    for (const domain of ['courier.invalid', 'Courier.Invalid.', 'invalid']) {
      const address = await outside(domain);
      expect(await original(address), address).toMatch(/^550/);
      await expect(ask('forward_targets', address)).rejects.toThrow(/no address of ours/);
    }
    expect(await original(await made('forward.invalid==x', 'SRS1'))).toMatch(/^550/);
  });

  it('refuses what was forged', async () => {
    const made = (await rewrite('bob@outside.test')) ?? '';
    const forged = [
      made.replace('bob@', 'eve@'),
      made.replace('outside.test', 'elsewhere.test'),
      made.replace(/=([0-9a-f]{10})=/, '=0123456789='),
      made.replace(/=([0-9a-f]{9})[0-9a-f]=/, '=$1='),
      made.replace(/=[a-z2-7]{2}=/, '=aa='),
      'SRS0=x@srs.example.org',
      'SRS1=0123456789=second.test==abcd=TT=first.test=bob@srs.example.org',
    ];
    for (const address of forged) {
      expect(await original(address), address).toBe(`550 5.1.1 <${address}>: not an address of ours, or expired`);
      await expect(ask('forward_targets', address)).rejects.toThrow(/no address of ours/);
    }
  });

  it('addresses are valid for 21 days, and a day ahead', async () => {
    const [secret] = await test.server.query<{ key: Buffer }>('posthorn', 'SELECT key FROM posthorn.srs_secrets');
    const made = (daysAgo: number) => {
      const day = (Math.floor(Date.now() / 86_400_000) - daysAgo) & 1023;
      const letters = 'abcdefghijklmnopqrstuvwxyz234567';
      const signed = `${letters[day >> 5]}${letters[day & 31]}=outside.test=Bob`;
      // An implementation by itself: that of the database is its own.
      const hash = createHmac('sha256', secret?.key ?? '')
        .update(signed.toLowerCase())
        .digest('hex')
        .slice(0, 10);
      return `SRS0=${hash}=${signed}@srs.example.org`;
    };
    expect(await rewrite('Bob@outside.test')).toBe(made(0));
    for (const days of [-1, 0, 1, 20, 21]) expect(await original(made(days)), `${days}`).toBe('Bob@outside.test');
    for (const days of [-2, 22, 23, 500]) expect(await original(made(days)), `${days}`).toMatch(/^550/);
  });

  it('keys change with overlap', async () => {
    const maintain = async () => (await test.directory.maintain({ srsRotateDays: 90 })).value.srsRotated;
    const age = (interval: string) =>
      test.server.query('posthorn', `UPDATE posthorn.srs_secrets SET created_at = created_at - interval '${interval}'`);
    const first = (await rewrite('bob@outside.test')) ?? '';
    expect(await maintain()).toBe(false);
    await age('91 days');
    expect(await maintain()).toBe(true);
    expect(await maintain()).toBe(false);
    expect(await rewrite('bob@outside.test')).toBe(first); // for a minute, until all members know the new one
    await age('2 minutes');
    const second = (await rewrite('bob@outside.test')) ?? '';
    expect(second).not.toBe(first);
    expect(await original(first)).toBe('bob@outside.test');
    await age('22 days');
    await maintain();
    expect(await original(first)).toBe('bob@outside.test'); // by its key; in truth it would be too old
    await age('2 days');
    await maintain();
    expect(await original(first)).toMatch(/^550/);
    expect(await original(second)).toBe('bob@outside.test');
  });

  it('without an SRS domain nothing is forwarded with a sender of others', async () => {
    await test.directory.projectSettings({ ...settings, srsDomain: null });
    await expect(rewrite('bob@outside.test')).rejects.toThrow(/no SRS domain/);
    expect(await rewrite('alice@example.org')).toBeNull();
    await test.directory.projectSettings(settings);
  });
});

describe('on a replica that lags', () => {
  it('says yes, never no', async () => {
    const made = (await ask('srs_sender', 'bob@outside.test')) ?? '';
    await setHeartbeatAge(test.server, 30);
    await caughtUp();
    const there = (name: string, argument: string) => ask(name, argument, replica);
    expect(await there('rcpt_verdict', 'plain@example.org')).toBe('DUNNO');
    expect(await there('alias', 'copy@example.org')).toBe('alice@example.org,copy@example.org');
    expect(await there('route', 'plain@example.org')).toBe(TRANSPORT);
    expect(await there('alias', `${main.object.uid}@forward.invalid`)).toBeNull();
    expect(await there('route', `${main.object.uid}@forward.invalid`)).toBe(TRANSPORT);
    expect(await there('forward_targets', 'copy@example.org')).toBe('copy@outside.test');
    expect(await there('rcpt_verdict', made)).toBe('DUNNO');
    expect(await there('rcpt_verdict', made.replace('bob@', 'eve@'))).toBe(STALE);
    expect(await recipient('nobody@example.org', replica)).toMatchObject({ verdict: STALE });
    expect(await there('forward_targets', 'out@outside.test')).toBeNull();
    expect(await there('courier_target', await token(bots, webhook))).not.toBeNull();
    for (const [name, argument] of [
      ['forward_targets', 'nobody@example.org'],
      ['forward_targets', 'x@forward.invalid'],
      ['forward_targets', 'inside@example.org'],
      ['forward_targets', 'bob@example.org'],
      ['delivered_to', 'nobody@example.org'],
      ['delivered_to', 'x@forward.invalid'],
      ['alias', 'nobody@example.org'],
      ['sender_logins', 'nobody@example.org'],
      ['courier_target', `${bots.object.uid}.${'7'.repeat(16)}`],
    ] as const) {
      await expect(there(name, argument), name).rejects.toThrow(/catching up/);
    }
  });

  it('leaves nothing to a catch-all: the address may be a mailbox by now', async () => {
    const there = (name: string, argument: string) => ask(name, argument, replica);
    const RETRY = 'retry:4.3.0 directory is catching up';
    await setHeartbeatAge(test.server, 0);
    await caughtUp();
    expect(await there('rcpt_verdict', 'new@example.net')).toBe('DUNNO');
    expect(await there('alias', 'new@example.net')).toBe('alice@example.org,new@example.net');
    await setHeartbeatAge(test.server, 6);
    await caughtUp();
    await replica.query('postgres', 'SELECT pg_wal_replay_pause()');
    const box = mailbox('new', { address: 'new@example.net' });
    try {
      await test.directory.projectMailboxes([box]);
      await setHeartbeatAge(test.server, 0);
      expect(await ask('route', 'new@example.net')).toMatch(/^lmtp:/);
      for (const address of ['new@example.net', 'new+x@example.net']) {
        expect(await there('rcpt_verdict', address)).toBe(STALE);
        expect(await there('submission_rcpt_verdict', address)).toBe(STALE);
        expect(await recipient(address, replica)).toMatchObject({ verdict: STALE, policy: null });
        expect(await there('route', address)).toBe(RETRY);
        for (const name of ['alias', 'forward_targets', 'delivered_to', 'sender_logins']) {
          await expect(there(name, address), name).rejects.toThrow(/catching up/);
        }
      }
      // What is found by itself, without its +detail, or by the postmaster is a yes as before.
      expect(await there('rcpt_verdict', 'bob+x@example.org')).toBe('DUNNO');
      expect(await there('route', 'plain+x@example.org')).toBe(TRANSPORT);
    } finally {
      await replica.query('postgres', 'SELECT pg_wal_replay_resume()');
      await test.directory.tombstoneMailboxes([{ uuid: box.uuid, objectUid: box.object.uid }]);
    }
  });
});

import assert from 'node:assert/strict';
import { type Check, recipients } from './check.js';
import { message, pem, rsa, signed } from './message.js';
import { deliver, type Outcome, type Session } from './milter.js';
import { HOSTNAME, type Stage } from './stage.js';

const ELSEWHERE = '198.51.100.9';
const REPORT = {
  'Content-Type': 'multipart/report; report-type=delivery-status; boundary=x',
  'Auto-Submitted': 'auto-replied',
};

/** Hosted: example.org (the host name's organisation), ours.test (another one), shaky.test (its DNS does not answer). */
async function host(stage: Stage): Promise<void> {
  for (const domain of ['example.org', 'ours.test', 'shaky.test'])
    await stage.redis.hset('DKIM_SELECTORS', domain, 's1');
  for (const domain of ['example.org', 'ours.test']) {
    await stage.redis.hset('DKIM_KEYS', `s1.${domain}`, pem(rsa.privateKey));
    stage.zone[`s1._domainkey.${domain}`] = stage.zone['s1._domainkey.outside.test'] ?? {};
    stage.zone[domain] = { TXT: ['v=spf1 ip4:192.0.2.1 -all'] };
  }
  await stage.redis.set('posthorn:dkim:loaded', '1');
}

/** From a server that nobody has listed, unless it says otherwise. */
async function to(stage: Stage, kind: string, raw: string, session: Partial<Session> = {}): Promise<Outcome> {
  stage.gatekeeper.answer = recipients(() => ({ kind, policy: null }));
  return deliver({ ip: ELSEWHERE, from: 'someone@elsewhere.test', to: ['team@ours.test'], ...session }, raw);
}

const header = ({ message: raw }: Outcome, name: string): string[] => {
  const head = raw.slice(0, raw.indexOf('\r\n\r\n')).replaceAll(/\r\n[ \t]+/g, ' ');
  return [...head.matchAll(new RegExp(`^${name}: (.*)`, 'gim'))].map((match) => match[1] ?? '');
};

const forgedChecks: Record<string, Check> = {
  'filter: nobody has mail forwarded in our name who can’t show that it is theirs': async (stage) => {
    await host(stage);
    const forged: [why: string, From: string | null][] = [
      ['a hosted domain', 'boss@ours.test'],
      ['in capitals, with a dot', 'Boss <boss@OURS.test.>'],
      ['the host name’s organisation', 'boss@example.org'],
      ['below it', 'boss@anything.example.org'],
      ['the host name', `postmaster@${HOSTNAME}`],
      ['the organisation of the SRS domain', 'boss@example.com'],
      ['one of two authors', 'x@elsewhere.test, boss@ours.test'],
      ['the second From', 'x@elsewhere.test\r\nFrom: boss@ours.test'],
      ['a group', 'Friends: boss@ours.test;'],
      ['two addresses in brackets', '<x@elsewhere.test> <boss@ours.test>'],
      ['a comment in between', 'boss@ (here) ours.test, x@elsewhere.test'],
      ['white space within', 'boss@ours . test, x@elsewhere.test'],
      ['a route', '<@elsewhere.test:boss@ours.test>'],
    ];
    for (const [why, From] of forged) {
      for (const raw of [message({ From }), await signed(message({ From }), 'elsewhere.test')]) {
        const outcome = await to(stage, 'forward', raw);
        assert.match(outcome.reply, /^554 5\.7\.1 unauthenticated mail from a domain of ours \(/, why);
        assert.match(header(outcome, 'X-Posthorn-Refused')[0] ?? '', /^5\.7\.26 /, why);
      }
    }
    const report = message({ ...REPORT, From: 'boss@ours.test' });
    assert.match(
      (await to(stage, 'srs', report, { from: '' })).reply,
      /^554 5\.7\.1 unauthenticated/,
      'to an SRS address',
    );
    const shaky = await signed(message({ From: 'boss@shaky.test' }), 'shaky.test');
    assert.match((await to(stage, 'forward', shaky)).reply, /^451 /, 'nobody can tell now');
  },
  'filter: what is ours and authenticated, and what is not ours, is forwarded': async (stage) => {
    await host(stage);
    for (const [why, raw, session] of [
      ['signed', await signed(message({ From: 'boss@ours.test' }), 'ours.test'), {}],
      ['from our server', message({ From: 'boss@ours.test' }), { from: 'boss@ours.test', ip: '192.0.2.1' }],
      ['a stranger', message({ From: 'x@elsewhere.test' }), {}],
      ['a name that looks like ours', message({ From: 'x@notours.test' }), {}],
      ['our address in the name', message({ From: '"boss@ours.test" <x@elsewhere.test>' }), {}],
    ] as const) {
      assert.equal((await to(stage, 'forward', raw, session)).reply, 'accept', why);
    }
    assert.equal((await to(stage, 'mailbox', message({ From: 'boss@ours.test' }))).reply, 'accept', 'stays here');
  },
  'filter: SRS addresses take delivery reports only': async (stage) => {
    await host(stage);
    for (const [why, headers, taken] of [
      ['a report', REPORT, true],
      ['a report by its type', { 'Content-Type': 'Multipart/Report;\r\n\tboundary=x' }, true],
      ['an automatic answer', { 'Auto-Submitted': 'auto-generated (failure)' }, true],
      ['a letter', {}, false],
      ['not automatic', { 'Auto-Submitted': 'no' }, false],
      ['empty', { 'Auto-Submitted': '' }, false],
      ['another type', { 'Content-Type': 'multipart/mixed; boundary="multipart/report;"' }, false],
      ['a longer type', { 'Content-Type': 'multipart/reporting; boundary=x' }, false],
    ] as const) {
      const { reply } = await to(stage, 'srs', message(headers), { from: '' });
      assert.match(reply, taken ? /^accept$/ : /^554 5\.7\.1 only delivery reports go to this address/, why);
    }
  },
  'filter: a report to an SRS address is not greylisted, unless it goes to somebody else as well': async (stage) => {
    await host(stage);
    const policy = { greylistAbove: 0.1 };
    const report = (Subject: string): string => message({ ...REPORT, Subject });
    const sent = (session: Partial<Session>, raw: string): Promise<Outcome> =>
      deliver({ ip: ELSEWHERE, from: '', to: ['srs0=x@ours.test'], ...session }, raw);
    stage.gatekeeper.answer = recipients((address) => ({
      kind: address.startsWith('srs0') ? 'srs' : 'mailbox',
      policy,
    }));
    assert.equal((await sent({}, report('report'))).reply, 'accept');
    assert.match((await sent({ from: 'x@elsewhere.test' }, report('with a sender'))).reply, /^451 4\.7\.1 Greylisted/);
    const both = { to: ['srs0=x@ours.test', 'team@ours.test'] };
    assert.match((await sent(both, report('to two'))).reply, /^451 4\.7\.1 Greylisted/);
    assert.match((await sent({ to: ['team@ours.test'] }, report('to one of us'))).reply, /^451 4\.7\.1 Greylisted/);
  },
};

const resultChecks: Record<string, Check> = {
  'filter: no stranger writes results of theirs into ours': async (stage) => {
    await host(stage);
    for (const [why, session] of [
      ['sender', { from: '"a) dkim=pass header.d=bank.test (b"@elsewhere.test' }],
      ['sender with a semicolon', { from: '"a; dkim=pass header.d=bank.test; b"@elsewhere.test' }],
      ['sender with quotes', { from: '"a\\"; dkim=pass header.d=bank.test; \\"b"@elsewhere.test' }],
      ['HELO', { from: '', helo: 'x) dkim=pass header.d=bank.test (' }],
      ['HELO with a semicolon', { from: '', helo: 'x; dkim=pass header.d=bank.test' }],
    ] as const) {
      const outcome = await to(stage, 'forward', message(), session);
      assert.equal(outcome.reply, 'accept', why);
      for (const name of ['Authentication-Results', 'ARC-Authentication-Results']) {
        const [text = '', ...more] = header(outcome, name);
        assert.deepEqual(more, [], why);
        assert.match(text, /\bspf=\w+ smtp\.(mailfrom|helo)=/, `${why}: ${text}`);
        const bare = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
        assert.doesNotMatch(bare, /bank\.test|dkim=pass|[()]/, `${why}: ${text}`);
      }
    }
  },
  'filter: results say what was found': async (stage) => {
    await host(stage);
    const good = await to(stage, 'mailbox', await signed(message(), 'outside.test'), {
      from: 'someone@outside.test',
      ip: '192.0.2.1',
    });
    const [text = ''] = header(good, 'Authentication-Results');
    assert.match(
      text,
      new RegExp(
        `^${HOSTNAME}; dkim=pass (header\\.[dsb]=\\S+ ?){3}; spf=pass smtp\\.mailfrom=someone@outside\\.test; dmarc=none`,
      ),
    );
    const bad = await to(stage, 'mailbox', message({ From: 'boss@strict.test' }));
    assert.match(
      header(bad, 'Authentication-Results')[0] ?? '',
      /; dkim=none; spf=fail smtp\.mailfrom=someone@elsewhere\.test; dmarc=fail policy\.dmarc=reject header\.from=strict\.test/,
    );
  },
  'filter: nobody answers automatically to who is not vouched for': async (stage) => {
    const name = 'X-Auto-Response-Suppress';
    const here = { ip: '192.0.2.1' };
    assert.deepEqual(header(await to(stage, 'mailbox', message()), name), ['OOF']);
    assert.deepEqual(header(await to(stage, 'mailbox', message({ [name]: 'AutoReply' })), name), ['AutoReply']);
    assert.deepEqual(header(await to(stage, 'mailbox', message(), here), name), [], 'SPF');
    const bySignature = await signed(message(), 'outside.test');
    const sender = { from: 'someone@outside.test' };
    assert.deepEqual(header(await to(stage, 'mailbox', bySignature, sender), name), [], 'DKIM');
    assert.deepEqual(header(await to(stage, 'mailbox', bySignature), name), ['OOF'], 'signed by another domain');
    const spoilt = bySignature.replace('see you at ten', 'see you at nine');
    assert.deepEqual(header(await to(stage, 'mailbox', spoilt, sender), name), ['OOF']);
    assert.deepEqual(header(await to(stage, 'mailbox', message(), { from: '' }), name), [], 'nobody to answer');
  },
};

export const awayChecks: Record<string, Check> = { ...forgedChecks, ...resultChecks };

import assert from 'node:assert/strict';
import { authenticate, sealMessage } from 'mailauth';
import { type Check, recipients } from './check.js';
import { ed25519, message, pem, record, rsa, signed } from './message.js';
import { deliver, type Outcome } from './milter.js';
import { HOSTNAME, type Stage } from './stage.js';

const FORWARD = 'team@example.org';
const PUT_OFF = /^451 4\.7\.1 Cannot judge this message now/;

async function loadKeys(stage: Stage): Promise<void> {
  await stage.redis.hset('DKIM_SELECTORS', {
    'example.org': 's1',
    'other.example': 's1',
    'young.example': 's1',
    'keyless.example': 's1',
  });
  await stage.redis.hset('DKIM_KEYS', {
    's1.example.org': pem(rsa.privateKey),
    's1.other.example': pem(rsa.privateKey),
    's1.young.example': pem(ed25519.privateKey),
  });
  await stage.redis.set('posthorn:dkim:loaded', '1');
  for (const domain of ['example.org', 'other.example'])
    stage.zone[`s1._domainkey.${domain}`] = { TXT: [record(rsa.publicKey)] };
}

async function forward(stage: Stage, raw: string, to: readonly string[] = [FORWARD], ip?: string): Promise<Outcome> {
  stage.gatekeeper.answer = recipients((address) => ({
    kind: address.startsWith('mailbox') ? 'mailbox' : 'forward',
    policy: null,
  }));
  return deliver({ from: 'someone@outside.test', to, ...(ip === undefined ? {} : { ip }) }, raw);
}

interface Verified {
  readonly arc: string;
  readonly instance: number | false;
  readonly seals: string[];
  readonly comment: string;
}

/** What an independent verifier says of the chain. */
async function verify(stage: Stage, raw: string): Promise<Verified> {
  const resolver = async (name: string, type: string): Promise<unknown> => {
    const entry = stage.zone[name.toLowerCase()];
    if (type === 'TXT' && entry?.TXT) return entry.TXT.map((text) => [text]);
    throw Object.assign(new Error(`no ${type} of ${name}`), { code: 'ENOTFOUND' });
  };
  const { arc } = await authenticate(Buffer.from(raw, 'latin1'), {
    ip: '192.0.2.77',
    helo: 'x.test',
    sender: 'x@x.test',
    mta: 'judge.test',
    resolver,
  } as never);
  assert.ok(arc !== false);
  const { status, i, signature } = arc as unknown as {
    status: { result: string; comment?: string };
    i?: number;
    signature?: { signingDomain?: string };
  };
  return {
    arc: status.result,
    instance: i ?? false,
    seals: raw.match(/^ARC-Seal: .*/gim) ?? [],
    comment: `${status.comment ?? ''} ${signature?.signingDomain ?? ''}`,
  };
}

const headers = (raw: string, name: string): string[] => {
  const head = raw.slice(0, raw.indexOf('\r\n\r\n')).replaceAll(/\r\n[ \t]+/g, ' ');
  return [...head.matchAll(new RegExp(`^${name}: (.*)`, 'gim'))].map((match) => match[1] ?? '');
};

/** What happens on the way out: the forward role's lines, and a signature of egress. */
async function onTheWay(raw: string): Promise<string> {
  const forwarded = `Received: by forward.example.org (Postfix) id 4ABC; Tue, 24 Nov 2026 14:00:00 +0000\r\nDelivered-To: ${FORWARD}\r\n${raw}`;
  return signed(`Return-Path: <SRS0=1=2=outside.test=someone@example.org>\r\n${forwarded}`, 'example.org');
}

const chainChecks: Record<string, Check> = {
  'filter: ARC: a forwarded message is sealed, and an independent verifier agrees': async (stage) => {
    await loadKeys(stage);
    for (const [why, raw] of [
      ['unsigned', message()],
      ['signed', await signed(message(), 'outside.test')],
      ['twice signed', await signed(await signed(message(), 'elsewhere.test'), 'outside.test')],
      [
        'odd headers',
        message({ Subject: '=?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n  and  more ', Cc: 'a@x.test,\r\n\tb@x.test', To: null }),
      ],
      ['long lines', message({}, `${'word '.repeat(900)}\r\n.dot\r\n\r\n\r\n`)],
      ['eight bits', message({ 'Content-Transfer-Encoding': '8bit' }, 'Gr\xc3\xbc\xc3\x9fe\r\n')],
      ['empty body', message({}, '')],
      ['no newline at the end', message({}, 'x')],
    ] as const) {
      const outcome = await forward(stage, raw);
      assert.equal(outcome.reply, 'accept', why);
      const [results = ''] = headers(outcome.message, 'ARC-Authentication-Results');
      assert.match(results, new RegExp(`^i=1; ${HOSTNAME}; `), why);
      assert.match(results, /spf=pass/, why);
      const [seal = ''] = headers(outcome.message, 'ARC-Seal');
      assert.match(seal, /\bcv=none;/, why);
      assert.match(seal, /\bd=example\.org;.* s=s1;/, why);
      for (const version of [outcome.message, await onTheWay(outcome.message)]) {
        const { arc, instance, comment } = await verify(stage, version);
        assert.deepEqual([arc, instance], ['pass', 1], `${why}: ${comment}`);
      }
    }
  },
  'filter: ARC: the verifier would notice changes': async (stage) => {
    await loadKeys(stage);
    const { message: sealed } = await forward(stage, await signed(message(), 'outside.test'));
    for (const [why, changed] of [
      ['body', sealed.replace('see you', 'SEE YOU')],
      ['subject', sealed.replace('Subject: A letter', 'Subject: A bill')],
      ['author', sealed.replace('From: Someone', 'From: Somebody')],
      ['another author', sealed.replace('\r\n\r\n', '\r\nFrom: evil@elsewhere.test\r\n\r\n')],
      ['results', sealed.replace(/(ARC-Authentication-Results:[\s\S]*?)spf=pass/, '$1spf=fail')],
    ] as const) {
      assert.notEqual((await verify(stage, changed)).arc, 'pass', why);
    }
  },
  'filter: ARC: chains that came along: continued when valid, sealed as failed when not': async (stage) => {
    await loadKeys(stage);
    const once = (await forward(stage, await signed(message(), 'outside.test'), ['x@other.example'])).message;
    const way = await onTheWay(once);
    const twice = await forward(stage, way, ['again@example.org']);
    assert.equal(twice.reply, 'accept');
    assert.match(headers(twice.message, 'ARC-Seal')[0] ?? '', /^i=2; .*cv=pass;/);
    assert.match(headers(twice.message, 'ARC-Authentication-Results')[0] ?? '', /arc=pass/);
    assert.deepEqual(await verify(stage, await onTheWay(twice.message)).then(({ arc, instance }) => [arc, instance]), [
      'pass',
      2,
    ]);
    const thrice = await forward(stage, twice.message, ['x@other.example']);
    assert.deepEqual(await verify(stage, thrice.message).then(({ arc, instance }) => [arc, instance]), ['pass', 3]);

    const theirs = await sealedElsewhere(message());
    assert.equal((await verify(stage, theirs)).arc, 'pass');
    const continued = await forward(stage, theirs);
    assert.match(headers(continued.message, 'ARC-Seal')[0] ?? '', /^i=2; .*cv=pass;/);
    assert.equal((await verify(stage, await onTheWay(continued.message))).arc, 'pass');

    const broken = await forward(stage, way.replace('see you', 'SEE YOU'), ['again@example.org']);
    assert.equal(broken.reply, 'accept');
    assert.match(headers(broken.message, 'ARC-Seal')[0] ?? '', /^i=2; .*cv=fail;/);
    assert.match(headers(broken.message, 'ARC-Authentication-Results')[0] ?? '', /arc=fail/);
    assert.equal((await verify(stage, broken.message)).arc, 'fail');
    const after = await forward(stage, broken.message, ['x@other.example']);
    assert.equal(after.reply, 'accept');
    assert.equal(headers(after.message, 'ARC-Seal').length, 2, 'nothing is added to a chain that has failed before');
    for (const [why, raw] of [
      ['no results', way.replace(/^ARC-Authentication-Results:.*\r\n([ \t].*\r\n)*/m, '')],
      ['no seal', way.replace(/^ARC-Seal:.*\r\n([ \t].*\r\n)*/m, '')],
      ['wrong number', way.replace(/^ARC-Seal: i=1/m, 'ARC-Seal: i=7')],
    ] as const) {
      const outcome = await forward(stage, raw, ['again@example.org']);
      assert.equal(outcome.reply, 'accept', why);
      assert.deepEqual(headers(outcome.message, 'ARC-Seal'), headers(raw, 'ARC-Seal'), why);
    }
  },
};

/** Sealed by another implementation, as a mailing list elsewhere would. */
async function sealedElsewhere(raw: string): Promise<string> {
  const set = await sealMessage(Buffer.from(raw, 'latin1'), {
    signingDomain: 'elsewhere.test',
    selector: 's1',
    privateKey: pem(rsa.privateKey),
    authResults: 'mx.elsewhere.test; spf=pass smtp.mailfrom=outside.test',
    cv: 'none',
    i: 1,
  } as never);
  return `${set.toString('latin1')}${raw}`;
}

const keyChecks: Record<string, Check> = {
  'filter: ARC: only what is forwarded is sealed': async (stage) => {
    await loadKeys(stage);
    const outcome = await forward(stage, message(), ['mailbox@example.org']);
    assert.deepEqual(headers(outcome.message, 'ARC-Seal'), []);
    const both = await forward(stage, message(), ['mailbox@example.org', FORWARD]);
    assert.equal(headers(both.message, 'ARC-Seal').length, 1);
  },
  'filter: ARC: keys not there: put off while unknown, unsealed when there is none': async (stage) => {
    assert.match((await forward(stage, message())).reply, PUT_OFF, 'cache empty');
    await loadKeys(stage);
    for (const domain of ['stranger.example', 'young.example', 'keyless.example']) {
      const outcome = await forward(stage, message(), [`team@${domain}`]);
      assert.equal(outcome.reply, 'accept', domain);
      assert.deepEqual(headers(outcome.message, 'ARC-Seal'), [], domain);
    }
    assert.match(await stage.logs(), /forwarded without an ARC seal: no RSA key s1\.young\.example/);
    const second = await forward(stage, message(), ['a@young.example', 'b@other.example']);
    assert.match(headers(second.message, 'ARC-Seal')[0] ?? '', /d=other\.example;/);
    await stage.redis.hset(
      'DKIM_KEYS',
      's1.example.org',
      pem(rsa.privateKey).replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA'),
    );
    const spoilt = await forward(stage, message());
    assert.ok(spoilt.reply !== 'accept' || headers(spoilt.message, 'ARC-Seal').length === 0, 'a spoilt key');
  },
  'filter: ARC: Redis frozen puts off what is to be forwarded': async (stage) => {
    await loadKeys(stage);
    await stage.podman('pause', stage.container('redis'));
    try {
      assert.match((await forward(stage, message())).reply, /^451 /);
    } finally {
      await stage.podman('unpause', stage.container('redis'));
    }
    assert.equal((await forward(stage, message())).reply, 'accept');
  },
};

export const sealChecks: Record<string, Check> = { ...chainChecks, ...keyChecks };

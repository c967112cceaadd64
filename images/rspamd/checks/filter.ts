import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Check, crashing, letsNothingThrough, mailbox, type Policy, recipients, skipped } from './check.js';
import { silence } from './gatekeeper.js';
import { message, signed } from './message.js';
import { deliver, type Outcome, type Session } from './milter.js';
import { HOSTNAME, type Stage } from './stage.js';

const TO = 'alice@example.org';
const PUT_OFF = /^451 4\.7\.1 Cannot judge this message now/;
/** About 2 points by themselves (no reverse name, no signature): the thresholds below are set around that. */
const plain: Session = { from: 'someone@outside.test', to: [TO] };

const GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n';

/** Delivers to one recipient with this policy. */
async function under(
  stage: Stage,
  policy: Policy | null,
  raw: string,
  session: Partial<Session> = {},
): Promise<Outcome> {
  stage.gatekeeper.answer = recipients(() => ({ kind: 'mailbox', policy }));
  return deliver({ ...plain, ...session }, raw);
}

const header = ({ message: raw }: Outcome, name: string): string | undefined =>
  new RegExp(`^${name}: (.*)`, 'im').exec(raw.slice(0, raw.indexOf('\r\n\r\n')))?.[1];

const score = (outcome: Outcome): number =>
  Number(/\[(-?[\d.]+) \//.exec(header(outcome, 'X-Spamd-Result') ?? '')?.[1]);

const gatekeeperChecks: Record<string, Check> = {
  'filter: asks once for all recipients, and lets a harmless message in': async (stage) => {
    stage.gatekeeper.asked.length = 0;
    stage.gatekeeper.answer = recipients(mailbox);
    const to = [TO, 'Bob+list@example.org'];
    const outcome = await deliver({ ...plain, to }, message());
    assert.equal(outcome.reply, 'accept');
    assert.deepEqual(stage.gatekeeper.asked, [{ path: '/v1/recipients', question: { recipients: to } }]);
    assert.match(outcome.message, new RegExp(`^Authentication-Results: ${HOSTNAME};`, 'm'));
    assert.equal(header(outcome, 'X-Spam'), undefined);
    // rspamd leaves out what it can't parse
    assert.match((await deliver({ ...plain, to: ['te\\am@example.org'] }, message())).reply, PUT_OFF);
  },
  'filter: an empty body, and no headers at all, are judged too': async (stage) => {
    stage.gatekeeper.answer = recipients(mailbox);
    assert.equal((await deliver(plain, message({}, ''))).reply, 'accept');
    assert.match((await deliver(plain, 'X: y\r\n\r\n')).reply, /^(accept|554|451 4\.7\.1 Try)/);
    stage.gatekeeper.answer = () => 500;
    assert.match((await deliver(plain, message({}, ''))).reply, PUT_OFF);
    assert.match((await deliver(plain, 'X: y\r\n\r\n')).reply, PUT_OFF);
  },
  'filter: without an answer of the gatekeeper that fits, mail is put off': async (stage) => {
    const right = { address: TO, canonical: TO, kind: 'mailbox', policy: null };
    const answers: unknown[] = [
      500,
      404,
      'not JSON',
      '',
      '[]',
      '{}',
      { recipients: [] },
      { recipients: [right, right] },
      { recipients: ['x'] },
      { recipients: [{ ...right, kind: null }] },
      { recipients: [{ ...right, kind: '' }] },
      { recipients: right },
      { recipients: [{ ...right, policy: { rejectAbove: 'many' } }] },
      { recipients: [{ ...right, policy: { deny: 'x' } }] },
    ];
    for (const answer of answers) {
      stage.gatekeeper.answer = () => answer;
      assert.match((await deliver(plain, message())).reply, PUT_OFF, JSON.stringify(answer));
    }
    stage.gatekeeper.answer = () => ({ recipients: [{ ...right, kind: '', verdict: 'DUNNO' }] });
    assert.equal((await deliver(plain, message())).reply, 'accept');
  },
  'filter: the gatekeeper silent, or away, puts mail off': async (stage) => {
    stage.gatekeeper.answer = () => silence;
    assert.match((await deliver(plain, message())).reply, PUT_OFF);
    await stage.gatekeeper.stop();
    try {
      assert.match((await deliver(plain, message())).reply, PUT_OFF);
    } finally {
      await stage.gatekeeper.start();
    }
    stage.gatekeeper.answer = recipients(mailbox);
    assert.equal((await deliver(plain, message())).reply, 'accept');
  },
  'filter: GTUBE is refused, its variant for "let in" is not obeyed': async (stage) => {
    stage.gatekeeper.answer = recipients(mailbox);
    assert.match((await deliver(plain, message({}, GTUBE))).reply, /^554 5\.7\.1 /);
    stage.gatekeeper.answer = () => 500;
    for (const variant of [GTUBE, GTUBE.replace('34X', 'no_action'), GTUBE.replace('34X', 'no action')]) {
      assert.match((await deliver(plain, message({}, variant))).reply, /^(554|451) /, variant);
    }
  },
};

const scoreChecks: Record<string, Check> = {
  'filter: thresholds of the domain: refuse, tag, quarantine': async (stage) => {
    const usual = await under(stage, null, message());
    const points = score(usual);
    assert.ok(points > 0.2 && points < 5, `the sample has ${points} points`);
    assert.match((await under(stage, { rejectAbove: 0.1 }, message())).reply, /^554 5\.7\.1 Spam message rejected/);
    const tagged = await under(stage, { tagAbove: 0.1 }, message());
    assert.equal(tagged.reply, 'accept');
    assert.equal(header(tagged, 'X-Spam'), 'Yes');
    assert.equal(header(tagged, 'X-Spam-Action'), undefined);
    for (const policy of [{ quarantineAbove: 0.1 }, { quarantineAbove: 0.1, tagAbove: 0.05 }]) {
      const aside = await under(stage, policy, message());
      assert.equal(aside.reply, 'accept');
      assert.equal(header(aside, 'X-Spam'), 'Yes');
      assert.equal(header(aside, 'X-Spam-Action'), 'quarantine');
    }
    const high = await under(stage, { rejectAbove: 900, tagAbove: 800, quarantineAbove: 850 }, message());
    assert.equal(header(high, 'X-Spam'), undefined);
    assert.equal(header(high, 'X-Spam-Action'), undefined);
  },
  'filter: the system’s thresholds count where the domain says nothing': async (stage) => {
    // a domain that only marks at 0.1 still refuses what the system refuses
    const spam = message({}, GTUBE);
    assert.match((await under(stage, { tagAbove: 0.1 }, spam)).reply, /^554/);
    assert.equal(header(await under(stage, { spf: 'Score' }, message()), 'X-Spam'), undefined);
  },
  'filter: greylisting is per domain, off for the system': async (stage) => {
    assert.equal((await under(stage, null, message())).reply, 'accept');
    const raw = message({ Subject: 'grey' });
    assert.match((await under(stage, { greylistAbove: 0.1 }, raw)).reply, /^451 4\.7\.1 Greylisted/);
    assert.match((await under(stage, { greylistAbove: 0.1 }, raw)).reply, /^451 4\.7\.1 Greylisted/);
    assert.equal((await under(stage, { greylistAbove: 0 }, raw)).reply, 'accept');
    await stage.redis.flushall();
    assert.equal((await under(stage, { greylistAbove: 5 }, message({ Subject: 'not grey' }))).reply, 'accept');
  },
  'filter: greylisting comes before the tag, and not for who is allowed': async (stage) => {
    const both: Policy = { greylistAbove: 0.1, tagAbove: 0.2 };
    assert.match((await under(stage, both, message())).reply, /^451 4\.7\.1 Greylisted/);
    await stage.redis.flushall();
    assert.equal((await under(stage, { ...both, allow: ['outside.test'] }, message())).reply, 'accept');
  },
  'filter: recipients who differ: refused only when all refuse, else marked': async (stage) => {
    const answer = (policies: Policy[]) =>
      recipients((address) => ({ kind: 'mailbox', policy: policies[Number(address[0])] ?? null }));
    const to = ['0@example.org', '1@example.org'];
    stage.gatekeeper.answer = answer([{ rejectAbove: 0.1 }, { rejectAbove: 0.2 }]);
    assert.match((await deliver({ ...plain, to }, message())).reply, /^554 5\.7\.1 /);
    for (const strict of [{ rejectAbove: 0.1 }, { deny: ['outside.test'] }]) {
      stage.gatekeeper.answer = answer([strict, {}]);
      const outcome = await deliver({ ...plain, to }, message());
      assert.equal(outcome.reply, 'accept', JSON.stringify(strict));
      assert.equal(header(outcome, 'X-Spam'), 'Yes');
    }
  },
  'filter: headers that only we may write are removed': async (stage) => {
    const forged = message({
      'X-Spam': 'No',
      'x-spam-action': 'quarantine',
      'X-Spam-Action': 'none',
      'X-POSTHORN-Unauthenticated': 'no',
      'X-Posthorn-Refused': '5.0.0 nothing',
      'X-Posthorn-Anything': 'yes',
      'Authentication-Results': `${HOSTNAME}; auth=pass`,
      'authentication-results': 'elsewhere.test; dkim=pass',
    });
    const outcome = await under(stage, null, forged);
    assert.equal(outcome.reply, 'accept');
    assert.doesNotMatch(outcome.message, /^x-spam(-action)?:|^x-posthorn/im);
    assert.doesNotMatch(outcome.message, /auth=pass|elsewhere\.test/);
    const claim = { 'Authentication-Results': `${HOSTNAME}; auth=pass` };
    for (const raw of [message(claim, ''), message({ ...claim, 'Content-Type': null, 'MIME-Version': null })]) {
      for (const policy of [null, { allow: ['outside.test'] }, { tagAbove: 0.01 }, { quarantineAbove: 0.01 }]) {
        const letIn = await under(stage, policy, raw);
        assert.equal(letIn.reply, 'accept');
        assert.doesNotMatch(letIn.message, /auth=pass/, JSON.stringify(policy));
      }
    }
    const tagged = await under(stage, { quarantineAbove: 0.1 }, forged);
    assert.deepEqual(tagged.message.match(/^(x-spam(-action)?|x-posthorn[^:]*):.*/gim)?.sort(), [
      'X-Spam-Action: quarantine',
      'X-Spam: Yes',
    ]);
  },
};

const senderChecks: Record<string, Check> = {
  'filter: SPF, DKIM and DMARC refuse only when enforced, and say which': async (stage) => {
    const elsewhere = { ip: '198.51.100.9' };
    const broken = (await signed(message(), 'outside.test')).replace('see you at ten', 'see you at nine');
    for (const [policy, raw, session, reply] of [
      [{ spf: 'Enforce' }, message(), elsewhere, /^554 5\.7\.1 SPF: outside\.test /],
      [{ dkim: 'Enforce' }, broken, {}, /^554 5\.7\.1 DKIM: the signature of outside\.test is not valid/],
      [
        { dmarc: 'Enforce' },
        message({ From: 'boss@strict.test' }),
        elsewhere,
        /^554 5\.7\.1 DMARC: .*strict\.test \(policy reject\)/,
      ],
      [
        { dmarc: 'Enforce' },
        message({ From: 'boss@careful.test' }),
        elsewhere,
        /^554 5\.7\.1 DMARC: .*\(policy quarantine\)/,
      ],
    ] as const) {
      assert.match((await under(stage, policy, raw, session)).reply, reply);
      assert.equal((await under(stage, {}, raw, session)).reply, 'accept', `not enforced: ${JSON.stringify(policy)}`);
    }
    const all: Policy = { spf: 'Enforce', dkim: 'Enforce', dmarc: 'Enforce' };
    assert.equal((await under(stage, all, await signed(message(), 'outside.test'))).reply, 'accept');
    assert.equal((await under(stage, all, message())).reply, 'accept', 'unsigned, right server');
    assert.equal((await under(stage, all, message({ From: 'boss@lax.test' }), elsewhere)).reply.slice(0, 3), '554');
    assert.equal(
      (await under(stage, { dmarc: 'Enforce' }, message({ From: 'boss@lax.test' }), elsewhere)).reply,
      'accept',
    );
  },
  'filter: the exact code of a refusal is in the header that Postfix reads': async (stage) => {
    const refused = await under(stage, { spf: 'Enforce' }, message(), { ip: '198.51.100.9' });
    assert.match(header(refused, 'X-Posthorn-Refused') ?? '', /^5\.7\.23 SPF: /);
  },
  'filter: what can not be looked up now is put off when enforced': async (stage) => {
    const raw = await signed(message({ From: 'boss@shaky.test' }), 'shaky.test');
    for (const policy of [{ spf: 'Enforce' }, { dkim: 'Enforce' }, { require: { from: ['shaky.test'] } }] as Policy[]) {
      const outcome = await under(stage, policy, raw, { from: 'boss@shaky.test' });
      assert.match(outcome.reply, /^451 4\.7\.1 .*try again later/, JSON.stringify(policy));
    }
    assert.equal((await under(stage, {}, raw, { from: 'boss@shaky.test' })).reply, 'accept');
  },
  'filter: deny lists know domains, addresses, servers and networks': async (stage) => {
    for (const entry of ['outside.test', 'OUTSIDE.test', 'someone@outside.test', '192.0.2.1', '192.0.2.0/24']) {
      assert.match(
        (await under(stage, { deny: [entry] }, message())).reply,
        /^554 5\.7\.1 mail from .* is not wanted/,
        entry,
      );
    }
    const from6 = { ip: '2001:db8::7' };
    assert.match((await under(stage, { deny: ['2001:db8::/32'] }, message(), from6)).reply, /^554 /);
    for (const entry of [
      'side.test',
      'sub.outside.test',
      'one@outside.test',
      '192.0.2.2',
      '192.0.3.0/24',
      '2001:db8::/32',
      '',
    ]) {
      assert.equal((await under(stage, { deny: [entry] }, message())).reply, 'accept', entry);
    }
    // the author counts as well as the envelope, and each of several authors
    const author = message({ From: 'x@innocent.test, y@denied.test' });
    assert.match((await under(stage, { deny: ['denied.test'] }, author)).reply, /^554 /);
    const second = message({ From: 'x@innocent.test\r\nFrom: y@denied.test' });
    assert.match((await under(stage, { deny: ['denied.test'] }, second)).reply, /^554 /);
  },
  'filter: allow lists count only for authors who are authenticated': async (stage) => {
    const strict: Policy = { rejectAbove: -50, allow: ['outside.test'] };
    const dkim = await signed(message(), 'outside.test');
    const elsewhere = { ip: '198.51.100.9', from: 'bounce@elsewhere.test' };
    assert.equal((await under(stage, strict, dkim, elsewhere)).reply, 'accept', 'by DKIM');
    const bySpf = await under(stage, strict, message());
    assert.equal(bySpf.reply, 'accept', 'by SPF');
    assert.match(header(bySpf, 'X-Spamd-Result') ?? '', /^default: False \[-?[\d.]+ \/ -?[\d.]+\]/);
    assert.equal(header(bySpf, 'X-Spam'), undefined);
    assert.equal((await under(stage, { ...strict, greylistAbove: 0.1, tagAbove: -50 }, message())).reply, 'accept');
    for (const [why, raw, session] of [
      ['neither', message(), elsewhere],
      ['another organisation’s signature', await signed(message(), 'elsewhere.test'), elsewhere],
      [
        'two authors',
        await signed(message({ From: 'someone@outside.test, x@elsewhere.test' }), 'outside.test'),
        elsewhere,
      ],
      ['only the beginning is signed', await signed(message(), 'outside.test', { maxBodyLength: 4 }), elsewhere],
      ['another author', await signed(message({ From: 'x@elsewhere.test' }), 'elsewhere.test'), elsewhere],
      ['envelope only', message({ From: 'x@elsewhere.test' }), {}],
    ] as const) {
      assert.match((await under(stage, strict, raw, session)).reply, /^554 5\.7\.1 Spam/, why);
    }
    assert.match((await under(stage, { ...strict, deny: ['outside.test'] }, dkim)).reply, /not wanted/, 'deny wins');
  },
};

const requireChecks: Record<string, Check> = {
  'filter: required authentication: who passes': async (stage) => {
    for (const [why, from, by, author] of [
      ['exact', 'outside.test', 'outside.test', 'someone@outside.test'],
      ['subdomain of what is listed', 'outside.org', 'outside.org', 'x@lists.outside.org'],
      ['signed by the subdomain itself', 'outside.org', 'lists.outside.org', 'x@lists.outside.org'],
      ['display name in quotes', 'outside.test', 'outside.test', '"x@evil.test, Inc." <someone@outside.test>'],
      ['upper case', 'Outside.TEST', 'outside.test', 'Someone@OUTSIDE.test'],
    ] as const) {
      const raw = await signed(message({ From: author }), by);
      const outcome = await under(stage, { require: { from: ['a.test', from] } }, raw, {
        from: 'bounce@elsewhere.test',
      });
      assert.equal(outcome.reply, 'accept', why);
      assert.equal(header(outcome, 'X-Posthorn-Unauthenticated'), undefined, why);
    }
  },
  'filter: required authentication: who does not': async (stage) => {
    const required = { from: ['outside.test', 'outside.co.uk'] };
    const good = await signed(message(), 'outside.test');
    const forgeries: [why: string, raw: string][] = [
      ['unsigned', message()],
      ['changed body', good.replace('see you at ten', 'see you at nine')],
      ['changed author', good.replace('someone@outside.test', 'else@outside.test')],
      ['another domain’s signature', await signed(message(), 'elsewhere.test')],
      ['not listed, though signed', await signed(message({ From: 'x@elsewhere.test' }), 'elsewhere.test')],
      ['a public suffix in common', await signed(message({ From: 'x@outside.co.uk' }), 'elsewhere.co.uk')],
      ['looks alike', await signed(message({ From: 'x@notoutside.test' }), 'notoutside.test')],
      ['listed domain as a prefix', await signed(message({ From: 'x@outside.test.evil.test' }), 'evil.test')],
      ['another From on top', `From: evil@elsewhere.test\r\n${good}`],
      ['another From below', good.replace('\r\n\r\nDear', '\r\nFrom: evil@elsewhere.test\r\n\r\nDear')],
      ['two mailboxes', await signed(message({ From: 'a@outside.test, b@outside.test' }), 'outside.test')],
      [
        'two mailboxes, one odd',
        await signed(message({ From: '<a@outside.test> <b@elsewhere.test>' }), 'outside.test'),
      ],
      ['group', await signed(message({ From: 'Friends: a@outside.test;' }), 'outside.test')],
      ['no From', await signed(message({ From: null, Sender: 'a@outside.test' }), 'outside.test')],
      ['empty From', await signed(message({ From: '' }), 'outside.test')],
      ['display name only', await signed(message({ From: '"a@outside.test" <b@elsewhere.test>' }), 'elsewhere.test')],
      ['only the beginning is signed', await signed(message(), 'outside.test', { maxBodyLength: 4 })],
      ['no such key', good.replace('s=s1', 's=s2')],
    ];
    for (const [why, raw] of forgeries) {
      const refused = await under(stage, { require: required }, raw);
      assert.match(
        refused.reply,
        /^554 5\.7\.1 this address takes only mail from outside\.test, outside\.co\.uk /,
        why,
      );
      const tagged = await under(stage, { require: { ...required, otherwise: 'Tag' } }, raw);
      assert.equal(tagged.reply, 'accept', why);
      assert.equal(header(tagged, 'X-Posthorn-Unauthenticated'), 'yes', why);
      assert.equal(header(tagged, 'X-Spam'), 'Yes', why);
    }
    const claim = `X-Posthorn-Unauthenticated: no\r\n${await signed(message(), 'elsewhere.test')}`;
    const tagged = await under(stage, { require: { ...required, otherwise: 'Tag' } }, claim);
    assert.deepEqual(tagged.message.match(/^X-Posthorn-.*/gim), ['X-Posthorn-Unauthenticated: yes']);
  },
  'filter: a forward that a message has been through is a loop': async (stage) => {
    const forward = recipients((address) => ({
      kind: 'forward',
      canonical: 'team@example.org',
      policy: null,
      address,
    }));
    await stage.redis.set('posthorn:dkim:loaded', '1');
    for (const value of ['team@example.org', ' <Team@Example.ORG>', 'other@x.test\r\nDelivered-To: team@example.org']) {
      stage.gatekeeper.answer = forward;
      const outcome = await deliver({ ...plain, to: ['team+tag@example.org'] }, message({ 'Delivered-To': value }));
      assert.match(outcome.reply, /^554 5\.7\.1 mail forwarding loop/, value);
      assert.match(header(outcome, 'X-Posthorn-Refused') ?? '', /^5\.4\.6 mail forwarding loop/);
    }
    stage.gatekeeper.answer = forward;
    assert.equal((await deliver(plain, message({ 'Delivered-To': 'alice@example.org.evil.test' }))).reply, 'accept');
    stage.gatekeeper.answer = recipients(mailbox);
    assert.equal((await deliver(plain, message({ 'Delivered-To': TO }))).reply, 'accept', 'a mailbox is no forward');
  },
};

/** Every message that these broken versions let in has gone unjudged. */
const brokenChecks: Record<string, Check> = {
  'filter: a broken policy rule puts mail off, it lets none in': async (stage) => {
    const policy = stage.file('policy.lua');
    const versions = {
      'does not parse': { 'policy.lua': 'this is not Lua' },
      'is not there': { 'policy.lua': null },
      'crashes at first': { 'policy.lua': crashing(policy, 'ask_policy') },
      'crashes with the answer': { 'policy.lua': crashing(policy, 'apply') },
      'crashes at last': { 'policy.lua': crashing(policy, 'decide') },
      'crashes when judging': { 'verdict.lua': crashing(stage.file('verdict.lua'), 'M.judge') },
      'crashes when marking': { 'policy.lua': crashing(policy, 'mark') },
      'first rule is not run': { 'policy.lua': skipped(policy, 'POSTHORN_POLICY') },
      'last rule is not run': { 'policy.lua': skipped(policy, 'POSTHORN_VERDICT') },
    };
    stage.gatekeeper.answer = recipients(mailbox);
    await letsNothingThrough(stage, versions, () => deliver(plain, message()));
  },
  'filter: Redis away: mail for mailboxes goes on': async (stage) => {
    await stage.podman('stop', '-t', '1', stage.container('redis'));
    try {
      stage.gatekeeper.answer = recipients(mailbox);
      assert.equal((await deliver(plain, message())).reply, 'accept');
    } finally {
      await stage.podman('start', stage.container('redis'));
      await sleep(1000);
    }
  },
};

export const filterChecks: Record<string, Check> = {
  ...gatekeeperChecks,
  ...scoreChecks,
  ...senderChecks,
  ...requireChecks,
  ...brokenChecks,
};

import assert from 'node:assert/strict';
import { type Check, crashing, letsNothingThrough, skipped } from './check.js';
import { silence } from './gatekeeper.js';
import { message } from './message.js';
import { deliver, type Outcome, type Session } from './milter.js';
import { SCORES, type Stage } from './stage.js';

const PUT_OFF = /^451 4\.7\.1 Cannot check this message now/;
const GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n';
const alice: Session = {
  login: 'alice@example.org',
  from: 'alice+tag@example.org',
  to: ['Bob+list@example.org', 'user@outside.test'],
  ip: '203.0.113.77',
  host: 'laptop.home.test',
};
const accept = (): unknown => ({ action: 'accept' });

async function send(stage: Stage, answer: unknown, raw: string, session: Partial<Session> = {}): Promise<Outcome> {
  stage.gatekeeper.asked.length = 0;
  stage.gatekeeper.answer = () => answer;
  return deliver({ ...alice, ...session }, raw);
}

export const outboundChecks: Record<string, Check> = {
  'outbound: asks the gatekeeper about the message as it is, and adds nothing': async (stage) => {
    const raw = message({ From: 'Alice\r\n\t<alice@example.org>', 'X-Odd': 'Gr\xc3\xbc\xc3\x9fe "\\ \x01 \xff' });
    const outcome = await send(stage, { action: 'accept' }, raw);
    assert.equal(outcome.reply, 'accept');
    assert.equal(outcome.message, raw);
    const [{ path, question } = { path: '', question: {} }] = stage.gatekeeper.asked;
    assert.equal(stage.gatekeeper.asked.length, 1);
    assert.equal(path, '/v1/submission');
    const { headers, score, size, ...rest } = question;
    assert.deepEqual(rest, { login: alice.login, sender: alice.from, recipients: alice.to, spam: false });
    assert.ok(typeof score === 'number' && score < SCORES.tag);
    assert.ok(typeof size === 'number' && Math.abs(size - raw.length) < 50);
    const head = String(headers).replaceAll('\r\n', '\n').trimEnd();
    // control characters, and what is not UTF-8, come as U+FFFD
    const sent = Buffer.from(raw.slice(0, raw.indexOf('\r\n\r\n')).replaceAll('\r\n', '\n'), 'latin1');
    assert.equal(head, sent.toString().replaceAll('\x01', '\ufffd').trimEnd());
  },
  'outbound: nothing tells where the sender sits': async (stage) => {
    const { message: sent } = await send(stage, { action: 'accept' }, message());
    assert.doesNotMatch(sent, /203\.0\.113\.77|laptop|^X-|^Authentication-Results|^Received/im);
  },
  'outbound: obeys the gatekeeper': async (stage) => {
    const refused = await send(stage, { action: 'reject', reply: '5.7.1 You are not bob@example.org' }, message());
    assert.equal(refused.reply, '554 5.7.1 You are not bob@example.org');
    const exact = await send(
      stage,
      { action: 'reject', reply: '5.6.0 From header must hold one mailbox\r\nX: y' },
      message(),
    );
    assert.equal(exact.reply, '554 5.7.1 From header must hold one mailbox??X: y');
    assert.match(exact.message, /^X-Posthorn-Refused: 5\.6\.0 From header must hold one mailbox\?\?X: y\r$/m);
    const waits = await send(stage, { action: 'defer', reply: '4.7.0 Too many messages in this hour' }, message());
    assert.equal(waits.reply, '451 4.7.1 Too many messages in this hour');
    assert.match((await send(stage, { action: 'reject' }, message())).reply, /^554 5\.7\.1 /);
    assert.match((await send(stage, { action: 'defer' }, message())).reply, /^451 4\.7\.1 /);
  },
  'outbound: without an answer nothing is sent': async (stage) => {
    const answers: unknown[] = [
      500,
      404,
      204,
      'x',
      '',
      '[]',
      '{}',
      '"accept"',
      { action: 'ACCEPT' },
      { action: true },
      { reply: 'x' },
    ];
    for (const answer of [...answers, silence]) {
      assert.match((await send(stage, answer, message())).reply, PUT_OFF, String(JSON.stringify(answer)));
    }
    await stage.gatekeeper.stop();
    try {
      assert.match((await deliver(alice, message())).reply, PUT_OFF);
      assert.match((await deliver(alice, message({}, ''))).reply, PUT_OFF);
      assert.match((await deliver(alice, message({}, GTUBE))).reply, /^(451|554) /);
    } finally {
      await stage.gatekeeper.start();
    }
    assert.equal((await send(stage, { action: 'accept' }, message())).reply, 'accept');
    assert.equal((await send(stage, { action: 'accept' }, message({}, ''))).reply, 'accept');
  },
  'outbound: who has not logged in, and recipients that nobody can read, wait': async (stage) => {
    const { login: _, ...nobody } = alice;
    stage.gatekeeper.answer = accept;
    assert.match((await deliver(nobody, message())).reply, PUT_OFF);
    assert.match((await deliver({ ...alice, login: '' }, message())).reply, PUT_OFF);
    assert.match((await deliver({ ...alice, to: ['te\\am@example.org'] }, message())).reply, PUT_OFF);
  },
  'outbound: spam is told to the gatekeeper and refused, whatever it answers': async (stage) => {
    for (const action of ['accept', 'reject']) {
      const refused = await send(stage, { action }, message({}, GTUBE));
      assert.match(refused.reply, /^554 5\.7\.1 /);
      assert.equal(stage.gatekeeper.asked[0]?.question.spam, true);
    }
    const strict = stage.file('policy.conf').replace(/reject = .*;/, 'reject = -100;');
    await stage.restart({ 'policy.conf': strict });
    try {
      assert.match(
        (await send(stage, { action: 'accept' }, message())).reply,
        /^554 5\.7\.1 This looks like spam and was not sent/,
      );
      assert.equal(stage.gatekeeper.asked[0]?.question.spam, true);
    } finally {
      await stage.restart();
    }
  },
  'outbound: headers that only we may write are removed': async (stage) => {
    const forged = message({
      'X-Spam': 'Yes',
      'x-spam-action': 'quarantine',
      'X-Posthorn-Anything': 'yes',
      'X-Mine': 'stays',
    });
    const { message: sent } = await send(stage, { action: 'accept' }, forged);
    assert.doesNotMatch(sent, /^x-spam|^x-posthorn/im);
    assert.match(sent, /^X-Mine: stays/m);
  },
  'outbound: no greylisting, no SPF, no DMARC': async (stage) => {
    stage.zone['example.org'] = { TXT: ['v=spf1 -all'] };
    stage.zone['_dmarc.example.org'] = { TXT: ['v=DMARC1; p=reject'] };
    const outcome = await send(stage, { action: 'accept' }, message({ From: 'alice@example.org' }));
    assert.equal(outcome.reply, 'accept');
    assert.doesNotMatch(await stage.logs(), /R_SPF_FAIL|DMARC_POLICY_REJECT|GREYLIST/);
  },
  'outbound: a broken rule puts mail off': async (stage) => {
    const rule = stage.file('outbound.lua');
    const versions = {
      'does not parse': { 'outbound.lua': 'this is not Lua' },
      'is not there': { 'outbound.lua': null },
      'crashes at first': { 'outbound.lua': crashing(rule, 'note_envelope') },
      'crashes when asking': { 'outbound.lua': crashing(rule, 'ask') },
      'crashes with the answer': { 'outbound.lua': crashing(rule, 'obey') },
      'crashes at the end': { 'outbound.lua': crashing(rule, 'strip') },
      'is not run': { 'outbound.lua': skipped(rule, 'POSTHORN_OUTBOUND') },
    };
    await letsNothingThrough(stage, versions, () => send(stage, { action: 'accept' }, message()));
  },
  'outbound: Redis away: mail goes on': async (stage) => {
    await stage.podman('stop', '-t', '1', stage.container('redis'));
    try {
      assert.equal((await send(stage, { action: 'accept' }, message())).reply, 'accept');
    } finally {
      await stage.podman('start', stage.container('redis'));
    }
  },
};

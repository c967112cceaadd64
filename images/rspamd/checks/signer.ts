import assert from 'node:assert/strict';
import type { Check } from './check.js';
import { message, pem, rsa } from './message.js';
import { deliver, type Outcome, type Session } from './milter.js';
import { HOSTNAME, type Stage } from './stage.js';

const OURS = 'Alice <alice@example.org>';
const PASSED = { 'Authentication-Results': `${HOSTNAME}; auth=pass` };
const REFUSED = /^554 5\.7\.1 From header must /;

async function loadKeys(stage: Stage): Promise<void> {
  await stage.redis.hset('DKIM_SELECTORS', 'example.org', 's1');
  await stage.redis.hset('DKIM_KEYS', 's1.example.org', pem(rsa.privateKey));
  await stage.redis.set('posthorn:dkim:loaded', '1');
}

const leave = (daemon: 'egress' | 'forward', raw: string, more: Partial<Session> = {}): Promise<Outcome> =>
  deliver({ daemon, from: 'x@example.org', to: ['user@outside.test'], ...more }, raw);

const signatures = ({ message: raw }: Outcome): number => raw.match(/^DKIM-Signature:/gm)?.length ?? 0;

export const signerChecks: Record<string, Check> = {
  'signer: our own mail is signed, or waits, or goes back': async (stage) => {
    assert.match((await leave('egress', message({ From: OURS }))).reply, /^451 /, 'no keys yet');
    assert.match((await leave('egress', message())).reply, /^451 /, 'no keys yet');
    await loadKeys(stage);
    const signed = await leave('egress', message({ From: OURS }));
    assert.deepEqual([signed.reply, signatures(signed)], ['accept', 1]);
    assert.equal(signatures(await leave('egress', message())), 0, 'not ours');
    for (const From of ['a@example.org, b@example.org', 'a@example.org\r\nFrom: b@x.test', '', null]) {
      assert.match((await leave('egress', message({ From }))).reply, REFUSED, String(From));
    }
  },
  'signer: what is forwarded is signed only for who had logged in': async (stage) => {
    await loadKeys(stage);
    const signed = await leave('forward', message({ From: OURS, ...PASSED }));
    assert.deepEqual([signed.reply, signatures(signed)], ['accept', 1]);
    for (const [why, headers] of [
      ['a stranger in our name', {}],
      [
        'judged by the filter',
        { 'Authentication-Results': `${HOSTNAME};\r\n\tdkim=none;\r\n\tspf=pass smtp.mailfrom=x@x.test` },
      ],
      ['another host says so', { 'Authentication-Results': 'mail.elsewhere.test; auth=pass' }],
      ['more than that', { 'Authentication-Results': `${HOSTNAME}; auth=pass smtp.auth=x` }],
      ['in a comment', { 'Authentication-Results': `x.test (${HOSTNAME}; auth=pass)` }],
      ['in another header', { 'X-Authentication-Results': `${HOSTNAME}; auth=pass` }],
    ] as const) {
      const outcome = await leave('forward', message({ From: OURS, ...headers }));
      assert.deepEqual([outcome.reply, signatures(outcome)], ['accept', 0], why);
    }
  },
  'signer: what is forwarded is never refused, and needs no keys': async () => {
    for (const From of ['a@x.test, b@x.test', 'a@x.test\r\nFrom: b@example.org', 'not an address', '', null]) {
      for (const headers of [{}, PASSED]) {
        const outcome = await leave('forward', message({ From, ...headers }), { from: '' });
        assert.deepEqual([outcome.reply, signatures(outcome)], ['accept', 0], String(From));
      }
    }
    assert.match((await leave('forward', message({ From: OURS, ...PASSED }))).reply, /^451 /, 'its author is ours');
  },
};

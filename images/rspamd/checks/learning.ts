import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Check, mailbox, recipients } from './check.js';
import { message } from './message.js';
import { deliver } from './milter.js';
import type { Stage } from './stage.js';

type Class = 'spam' | 'ham';

/** As the store does when somebody moves a message; the status of the answer. */
async function learn(kind: Class, raw: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:11334/learn${kind}`, {
    method: 'POST',
    headers: { 'deliver-to': 'alice@example.org' },
    body: Buffer.from(raw, 'latin1'),
  });
  await response.text();
  return response.status;
}

const SPAM = [
  'pharmacy',
  'discount',
  'lottery',
  'winner',
  'casino',
  'replica',
  'watches',
  'miracle',
  'cheapest',
  'pills',
];
const HAM = [
  'minutes',
  'meeting',
  'budget',
  'relays',
  'translation',
  'report',
  'volunteers',
  'train',
  'agenda',
  'review',
];

/** Forty words, of which every two neighbours are seen often in messages of the kind. */
function sample(kind: Class, seed: number): string {
  const words = kind === 'spam' ? SPAM : HAM;
  const text = Array.from({ length: 40 }, (_, i) => words[(i * (1 + (seed % 3)) + seed) % words.length]).join(' ');
  return message(
    { Subject: `${words[seed % 10]} ${words[(seed + 3) % 10]}` },
    `${text} ${seed.toString(36)}x${seed * 7919}\r\n`,
  );
}

async function bayes(stage: Stage, raw: string): Promise<string | undefined> {
  stage.gatekeeper.answer = recipients(mailbox);
  const outcome = await deliver({ from: 'someone@outside.test', to: ['alice@example.org'] }, raw);
  assert.equal(outcome.reply, 'accept');
  return /BAYES_(SPAM|HAM)/.exec(outcome.message)?.[1];
}

export const learningChecks: Record<string, Check> = {
  'filter: learning: a message counts once per class, and can be taught anew': async () => {
    const raw = sample('spam', 5000);
    assert.equal(await learn('spam', raw), 200);
    assert.equal(await learn('spam', raw), 208);
    assert.equal(await learn('ham', raw), 200, 'moved out of Junk');
    assert.equal(await learn('ham', raw), 208);
    assert.equal(await learn('spam', message({}, 'x')), 204, 'too short to learn from');
  },
  'filter: learning: both classes tell, after 200 messages of each, in every pod': async (stage) => {
    for (let n = 0; n < 199; n++)
      for (const kind of ['spam', 'ham'] as const) assert.equal(await learn(kind, sample(kind, n)), 200);
    assert.equal(await bayes(stage, sample('spam', 900)), undefined, 'too early');
    for (const kind of ['spam', 'ham'] as const) await learn(kind, sample(kind, 199));
    // the milter's processes read the number of learnt messages now and then; another pod is one that starts later
    await stage.restart();
    for (let tries = 0; (await bayes(stage, sample('spam', 901 + tries))) === undefined && tries < 20; tries++)
      await sleep(1000);
    assert.equal(await bayes(stage, sample('spam', 950)), 'SPAM');
    assert.equal(await bayes(stage, sample('ham', 950)), 'HAM');
  },
  'filter: learning: what is beyond doubt is learnt from': async (stage) => {
    const lower = stage.file('classifier-bayes.conf').replace('spam_threshold = 12.0', 'spam_threshold = 0.5');
    await stage.restart({ 'classifier-bayes.conf': lower });
    try {
      stage.gatekeeper.answer = recipients(() => ({ kind: 'mailbox', policy: { rejectAbove: 0.6 } }));
      const session = { from: 'someone@outside.test', to: ['alice@example.org'] };
      const raw = sample('spam', 7000);
      assert.match((await deliver(session, raw)).reply, /^554 5\.7\.1 Spam message rejected/);
      await sleep(500);
      assert.equal(await learn('spam', raw), 208);
      assert.equal(await learn('spam', sample('spam', 7001)), 200);
    } finally {
      await stage.restart();
    }
  },
  'filter: learning: Redis away is told, so that the store tries again': async (stage) => {
    await stage.podman('stop', '-t', '1', stage.container('redis'));
    try {
      const status = await learn('spam', sample('spam', 6000));
      assert.ok(status >= 500, `status ${status}`);
    } finally {
      await stage.podman('start', stage.container('redis'));
      await sleep(1000);
    }
    assert.equal(await learn('spam', sample('spam', 6000)), 200);
  },
};

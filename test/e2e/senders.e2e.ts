import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin } from '../../operator/runtime/object.js';
import { forwardRuleType, mailboxType } from '../../operator/types.js';
import { FORGERIES } from '../../services/gatekeeper/testing/forgeries.js';
import { domain, forwardRule, hostname, login, mailboxObjects, namespace } from './lib/environment.js';
import { apply, kube, remove, waitFor, waitForCondition } from './lib/kube.js';
import { decode, received, waitForReceived } from './lib/outside.js';
import { type Dialogue, dialogue, refusal, send } from './lib/smtp.js';

const environment = inject('environment');
const { submission, submissions, outside, ca } = environment;
const trusted = { ca, serverName: hostname };
const suffix = randomUUID().slice(0, 6);
const local = (label: string) => `${label}-${suffix}`;
const ours = (label: string) => `${local(label)}@${domain}`;
const recipient = (label: string) => `${label}-${randomUUID().slice(0, 8)}@outside.example`;

beforeAll(async () => {
  await apply(
    ...mailboxObjects(local('alice'), { aliases: [ours('director')] }),
    ...mailboxObjects(local('hasty'), { sending: { hour: 3 } }),
    forwardRule(local('gmail'), { to: ['alice@outside.example'], sendAs: { mailbox: local('alice') } }),
  );
  for (const label of ['alice', 'hasty']) await waitForCondition(mailboxType, { namespace, name: local(label) }, {});
  await waitForCondition(forwardRuleType, { namespace, name: local('gmail') }, {});
});

afterAll(async () => {
  await remove(forwardRuleType, { namespace, name: local('gmail') });
  for (const label of ['alice', 'hasty']) {
    await remove(mailboxType, { namespace, name: local(label) });
    await kube().delete(builtin.secret, { namespace, name: `${local(label)}-password` });
  }
});

async function logIn(label: string): Promise<Dialogue> {
  const session = await dialogue(submission);
  await session.command('EHLO client.example');
  await session.startTls();
  await session.command('EHLO client.example');
  const { user, pass } = login(local(label));
  const reply = await session.command(`AUTH PLAIN ${Buffer.from(`\0${user}\0${pass}`).toString('base64')}`);
  if (!reply.startsWith('235')) throw new Error(`log-in: ${reply}`);
  return session;
}

/** The table speaks of example.org; here alice is our alice, and the victim is orpheus. */
function translated(raw: string): string {
  const words: [RegExp, string][] = [
    [/alice\+list@example\.org/g, `${local('alice')}+list@${domain}`],
    [/alice@example\.org/g, ours('alice')],
    [/director@example\.org/g, ours('director')],
    [/victim@example\.org/g, `orpheus@${domain}`],
    [/example\.(org|net)/g, domain],
  ];
  const plain = (text: string) => words.reduce((done, [from, to]) => done.replace(from, to), text);
  return plain(raw).replace(/=\?utf-8\?B\?([^?]*)\?=/g, (_, text: string) => {
    const inner = plain(Buffer.from(text, 'base64').toString('utf8'));
    return `=?utf-8?B?${Buffer.from(inner).toString('base64')}?=`;
  });
}

/**
 * Kinds that Postfix may change before anybody judges them: it adds a missing From, ends the header at what is no field, and
 * makes an envelope line a header of no meaning. Then the message may go, if nothing of the forgery is left.
 */
const CHANGED = new Set(['no-from', 'nul', 'empty-line', 'not-a-field', 'too-long']);

describe('what nobody may write in the header, on 587', () => {
  it.each(Object.entries(FORGERIES))('[R15] %s', async (_name, [raw, kind]) => {
    const session = await logIn('alice');
    const to = recipient('forged');
    await session.command(`MAIL FROM:<${ours('alice')}>`);
    expect(await session.command(`RCPT TO:<${to}>`)).toMatch(/^250/);
    await session.command('DATA');
    const reply = await session.command(
      `${translated(raw)}Date: ${new Date().toUTCString()}\r\nMessage-ID: <${randomUUID()}@${domain}>\r\n\r\nbody\r\n.`,
    );
    session.close();
    if (reply.startsWith('250') && CHANGED.has(kind)) {
      const header = decode(await waitForReceived(outside, to)).split('\r\n\r\n')[0] ?? '';
      expect(header.match(/^from:.*$/gim)).toHaveLength(1);
      expect(header).toContain(ours('alice'));
      expect(header).not.toMatch(/^(from|sender|resent-from):.*orpheus/im);
      return;
    }
    expect(reply).toMatch(/^5/);
    expect(await received(outside, to)).toEqual([]);
  });
});

describe('what people may write', () => {
  const write = (from: string, headers: Record<string, string> = {}, to = recipient('fine')) =>
    refusal(send(submission, { from, to, text: 'x', headers }, { auth: login(local('alice')), ...trusted })).then(
      (refused) => ({ refused, to }),
    );

  it('[R15] is their address, their aliases, with details and names', async () => {
    for (const from of [ours('alice'), ours('director'), `${local('alice')}+list@${domain}`]) {
      const { refused, to } = await write(from);
      expect(refused, from).toBeUndefined();
      expect((await waitForReceived(outside, to)).from).toBe(from);
    }
  });

  it('[R15] is the address of a forward that names them: "send as" of Gmail', async () => {
    const { refused, to } = await write(ours('gmail'), { Sender: ours('alice') });
    expect(refused).toBeUndefined();
    const message = await waitForReceived(outside, to);
    expect(message.from).toBe(ours('gmail'));
    expect(decode(message)).toMatch(/^DKIM-Signature: /m);
  });

  it('[R15] is not what only others may write', async () => {
    const refused = await refusal(
      send(submission, { from: ours('gmail'), to: recipient('x'), text: 'x' }, { auth: login('mallory'), ...trusted }),
    );
    expect(refused?.code).toBe(553);
  });

  it('[R15] leaves without the address that it was written at', async () => {
    const { to } = await write(ours('alice'), {
      'X-Originating-IP': '[192.0.2.77]',
      'User-Agent': 'Agent/1.0 (secret-host)',
    });
    const header = decode(await waitForReceived(outside, to)).split('\r\n\r\n')[0] ?? '';
    expect(header).not.toMatch(/client\.outside\.example|192\.0\.2\.77/);
  });
});

describe('how much people may write', () => {
  it('[R15] is limited for each, with a reply that says when to try again', async () => {
    const replies: string[] = [];
    const session = await dialogue(submissions, { tls: true });
    await session.command('EHLO client.example');
    const { user, pass } = login(local('hasty'));
    await session.command(`AUTH PLAIN ${Buffer.from(`\0${user}\0${pass}`).toString('base64')}`);
    for (let i = 0; i < 5; i += 1) {
      await session.command(`MAIL FROM:<${user}>`);
      await session.command(`RCPT TO:<${recipient('rate')}>`);
      const data = await session.command('DATA');
      const text = `From: ${user}\r\nDate: ${new Date().toUTCString()}\r\nMessage-ID: <${randomUUID()}@${domain}>\r\nSubject: x\r\n\r\nx\r\n.`;
      replies.push(data.startsWith('354') ? await session.command(text) : data);
      await session.command('RSET');
    }
    session.close();
    expect(replies.slice(0, 3).every((reply) => reply.startsWith('250'))).toBe(true);
    for (const reply of replies.slice(3)) expect(reply).toMatch(/^450 4\.7\.1 .*try again/);
  });

  it('[R15] is not counted for somebody else', async () => {
    const to = recipient('other');
    await send(submission, { from: ours('alice'), to, text: 'x' }, { auth: login(local('alice')), ...trusted });
    await waitFor('the message', async () => (await received(outside, to))[0]);
  });

  it('[R13 R15] is nothing that the filter takes for spam', async () => {
    const GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X';
    const refused = await refusal(
      send(
        submission,
        { from: ours('alice'), to: recipient('spam'), text: GTUBE },
        { auth: login(local('alice')), ...trusted },
      ),
    );
    expect(refused?.code).toBeGreaterThanOrEqual(500);
  });
});

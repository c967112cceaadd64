import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin } from '../../operator/runtime/object.js';
import { forwardRuleType, mailboxType, mailDomainType } from '../../operator/types.js';
import { FORGERIES } from '../../services/gatekeeper/testing/forgeries.js';
import { domain, forwardRule, hostname, login, mailboxObjects, namespace, password } from './lib/environment.js';
import { apply, kube, remove, waitFor, waitForCondition } from './lib/kube.js';
import { decode, received, waitForReceived } from './lib/outside.js';
import { type Dialogue, dialogue, refusal, send } from './lib/smtp.js';

const environment = inject('environment');
const { submission, outside, ca } = environment;
const trusted = { ca, serverName: hostname };
const suffix = randomUUID().slice(0, 6);
const local = (label: string) => `${label}-${suffix}`;
const ours = (label: string) => `${local(label)}@${domain}`;
const recipient = (label: string) => `${label}-${randomUUID().slice(0, 8)}@outside.example`;

/** As the table of forgeries has it: alice is logged in, the victim is somebody else here. */
const TABLE_DOMAINS = ['example.org', 'example.net'];
const alice = { user: 'alice@example.org', pass: password('alice') };

beforeAll(async () => {
  for (const name of TABLE_DOMAINS) {
    await apply({ apiVersion: 'posthorn.dev/v1alpha1', kind: 'MailDomain', metadata: { name, namespace } });
  }
  await apply(
    ...mailboxObjects('alice', { address: alice.user, aliases: ['director@example.org'], sending: { hour: 100_000 } }),
    ...mailboxObjects('victim', { address: 'victim@example.org' }),
    ...mailboxObjects(local('alice'), { aliases: [ours('director')] }),
    ...mailboxObjects(local('hasty'), { sending: { hour: 3 } }),
    forwardRule(local('gmail'), { to: ['alice@outside.example'], sendAs: { mailbox: local('alice') } }),
  );
  for (const name of ['alice', 'victim', local('alice'), local('hasty')]) {
    await waitForCondition(mailboxType, { namespace, name }, {});
  }
  await waitForCondition(forwardRuleType, { namespace, name: local('gmail') }, {});
});

afterAll(async () => {
  await remove(forwardRuleType, { namespace, name: local('gmail') });
  for (const name of ['alice', 'victim', local('alice'), local('hasty')]) {
    await remove(mailboxType, { namespace, name });
    await kube().delete(builtin.secret, { namespace, name: `${name}-password` });
  }
  for (const name of TABLE_DOMAINS) await remove(mailDomainType, { namespace, name });
});

async function logIn({ user, pass }: { user: string; pass: string }): Promise<Dialogue> {
  const session = await dialogue(submission);
  await session.command('EHLO client.example');
  await session.startTls();
  await session.command('EHLO client.example');
  const reply = await session.command(`AUTH PLAIN ${Buffer.from(`\0${user}\0${pass}`).toString('base64')}`);
  if (!reply.startsWith('235')) throw new Error(`log-in: ${reply}`);
  return session;
}

/**
 * Kinds that Postfix takes the sting out of before anybody judges them: it adds a missing From, ends the header at what is no
 * field, makes an envelope line a field of no meaning, a bare CR a space, and removes a dot at the end of a domain. Then the
 * message may go, if nothing of the forgery is left.
 */
const DEFUSED = new Set([
  'no-from',
  'nul',
  'empty-line',
  'not-a-field',
  'space-before-colon',
  'fold-first',
  'bare-cr',
  'domain',
  'too-long',
]);

describe('what nobody may write in the header, on 587', () => {
  it.each(Object.entries(FORGERIES))('[R15] %s', async (_name, [raw, kind]) => {
    const session = await logIn(alice);
    const to = recipient('forged');
    await session.command(`MAIL FROM:<${alice.user}>`);
    expect(await session.command(`RCPT TO:<${to}>`)).toMatch(/^250/);
    await session.command('DATA');
    const more = `Date: ${new Date().toUTCString()}\r\nMessage-ID: <${randomUUID()}@example.org>\r\n\r\nbody\r\n.`;
    const reply = await session.command(`${raw}${more}`);
    session.close();
    if (reply.startsWith('250') && DEFUSED.has(kind)) {
      const header = decode(await waitForReceived(outside, to)).split('\r\n\r\n')[0] ?? '';
      const authors = header.match(/^(from|sender|resent-from|resent-sender)\s*:.*$/gim) ?? [];
      expect(authors).toHaveLength(1);
      expect(authors[0]).toMatch(/^From: (Alice <)?alice@example\.org>?\r?$/);
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
    const { user } = login(local('hasty'));
    const session = await logIn(login(local('hasty')));
    for (let i = 0; i < 5; i += 1) {
      await session.command(`MAIL FROM:<${user}>`);
      const answer = await session.command(`RCPT TO:<${recipient('rate')}>`);
      const date = new Date().toUTCString();
      const text = `From: ${user}\r\nDate: ${date}\r\nMessage-ID: <${randomUUID()}@${domain}>\r\nSubject: x\r\n\r\nx\r\n.`;
      const taken = answer.startsWith('250') && (await session.command('DATA')).startsWith('354');
      replies.push(taken ? await session.command(text) : answer);
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

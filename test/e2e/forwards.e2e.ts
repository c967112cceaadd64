import { randomUUID } from 'node:crypto';
import { authenticate } from 'mailauth';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { forwardRuleType, mailDomainType } from '../../operator/types.js';
import { domain, forwardRule, hostname, login, namespace } from './lib/environment.js';
import { findMessages, waitForMessage } from './lib/imap.js';
import { apply, kubectl, kubectlOk, remove, waitFor, waitForCondition } from './lib/kube.js';
import { decode, type Received, received, refused, resolverOf, waitForReceived } from './lib/outside.js';
import { publishSender, type Signer, senderDomain, sendFrom } from './lib/sender.js';
import { dialogue, refusal, send } from './lib/smtp.js';
import { sql } from './lib/sql.js';

const { smtp, imap, outside } = inject('environment');
const second = 'second.example';
const suffix = randomUUID().slice(0, 6);
const local = (label: string) => `${label}-${suffix}`;
const ours = (label: string) => `${local(label)}@${domain}`;
const freshSender = () => `amy-${randomUUID().slice(0, 8)}@${senderDomain}`;
const freshId = () => `<${randomUUID()}@${senderDomain}>`;
const rules: string[] = [];
let signer: Signer;

async function rule(name: string, spec: Record<string, unknown>): Promise<void> {
  rules.push(name);
  await apply(forwardRule(name, { address: `${name}@${domain}`, ...spec }));
}

beforeAll(async () => {
  signer = await publishSender();
  await apply({ apiVersion: 'posthorn.dev/v1alpha1', kind: 'MailDomain', metadata: { name: second, namespace } });
  await rule(local('ariel'), { to: [`ariel-${suffix}@strict.example`] });
  await rule(local('both'), { to: [`both-${suffix}@strict.example`], keepCopy: { mailbox: 'mallory' } });
  await rule(local('bouncer'), { to: [`dsn-${suffix}@strict.example`] });
  await rule(local('refuser'), { to: [`reject-${suffix}@strict.example`] });
  await rule(local('inside'), { to: [`orpheus@${domain}`, ours('ariel')] });
  await rule(local('looper'), { to: [`back+${local('looper')}=${domain}@outside.example`] });
  await rule(local('catchall'), { address: `*@${second}`, to: [`mallory@${domain}`] });
  for (const name of rules) await waitForCondition(forwardRuleType, { namespace, name }, {});
});

afterAll(async () => {
  for (const name of rules) await remove(forwardRuleType, { namespace, name });
  await remove(mailDomainType, { namespace, name: second });
});

describe('a forwarded message', () => {
  let message: Received;
  let sent: string;

  it('[R11] passes SPF at a strict server thanks to SRS, and its ARC chain saves it from the DMARC policy', async () => {
    const from = freshSender();
    // No DKIM: of DMARC only SPF passes, and that only where the sender hands it over.
    sent = await sendFrom(smtp, { from, to: ours('ariel'), text: 'forward me' });
    message = await waitForReceived(outside, `ariel-${suffix}@strict.example`);
    expect(message.from).toMatch(new RegExp(`^SRS0=[^@]+=${senderDomain}=${from.split('@')[0]}@${hostname}$`, 'i'));
    expect(message.verdicts).toMatchObject({
      spf: { result: 'pass', domain: hostname },
      dmarc: { result: 'fail', policy: 'reject' },
      arc: { result: 'pass', sealers: [domain], dmarc: 'pass', trusted: true },
    });
  });

  it('[R11] has an ARC chain that an independent verifier accepts, a loop header, and the body as it was', async () => {
    const found = await authenticate(Buffer.from(message.raw, 'base64'), {
      ip: message.client.replace(/^::ffff:/, ''),
      helo: message.helo,
      sender: message.from,
      mta: 'mx.elsewhere.example',
      resolver: resolverOf(outside) as never,
    });
    expect((found as { arc?: { status?: { result?: string } } }).arc?.status?.result).toBe('pass');
    expect(decode(message)).toMatch(new RegExp(`^Delivered-To: ${ours('ariel')}\\r?$`, 'm'));
    expect(decode(message).split('\r\n\r\n')[1]?.trim()).toBe(sent.split('\r\n\r\n')[1]?.trim());
  });

  it('[R11] keeps the DKIM signature of its author valid', async () => {
    const messageId = freshId();
    await sendFrom(smtp, { from: freshSender(), to: ours('ariel'), messageId }, signer);
    const signed = await waitFor('the signed message', async () =>
      (await received(outside, `ariel-${suffix}@strict.example`)).find((m) => decode(m).includes(messageId)),
    );
    expect(signed.verdicts?.dkim).toContainEqual({ result: 'pass', domain: senderDomain, aligned: true });
    expect(signed.verdicts?.dmarc.result).toBe('pass');
  });

  it('[R11] would be refused there without the seal: the strict server is strict', async () => {
    const to = `direct-${suffix}@strict.example`;
    const refusedNow = await refusal(send({ host: outside.strict, port: 25 }, { from: `x@${domain}`, to, text: 'x' }));
    expect(refusedNow?.text).toMatch(/5\.7\.26/);
    expect(await refused(outside, to)).toHaveLength(1);
  });

  it.each([
    ['a report from the target', 'bouncer'],
    ['a refusal by the target', 'refuser'],
  ])('[R11] that can not be delivered comes back to its original sender: %s', async (_what, name) => {
    const from = freshSender();
    await sendFrom(smtp, { from, to: ours(name) });
    const report = await waitForReceived(outside, from, 90_000);
    expect(report.from).toBe('');
    expect(decode(report)).toMatch(/message\/delivery-status/);
    expect(report.to).toEqual([from]);
  });

  it('[R11] to a mailbox and a forward at once is rewritten on the forward only', async () => {
    const [from, messageId] = [freshSender(), freshId()];
    await send(smtp, {
      from,
      to: [`mallory@${domain}`, ours('ariel')],
      raw: `From: ${from}\r\nTo: you\r\nMessage-ID: ${messageId}\r\nDate: ${new Date().toUTCString()}\r\nSubject: x\r\n\r\nx\r\n`,
    });
    const inside = await waitForMessage(imap, login('mallory'), messageId);
    expect(inside).toMatch(new RegExp(`^Return-Path: <${from}>`, 'm'));
    expect(inside).not.toMatch(/SRS0/i);
    const forwarded = await waitFor('the forwarded copy', async () =>
      (await received(outside, `ariel-${suffix}@strict.example`)).find((m) => decode(m).includes(messageId)),
    );
    expect(forwarded.from).toMatch(/^SRS0=/i);
  });

  it('[R11] is kept as a copy where the rule says so', async () => {
    const messageId = freshId();
    await sendFrom(smtp, { from: freshSender(), to: ours('both'), messageId });
    await waitForReceived(outside, `both-${suffix}@strict.example`);
    expect(await waitForMessage(imap, login('mallory'), messageId)).not.toMatch(/SRS0/i);
  });

  it('[R11] goes to targets here without a new sender, and on by another rule', async () => {
    const [from, messageId] = [freshSender(), freshId()];
    await sendFrom(smtp, { from, to: ours('inside'), messageId });
    expect(await waitForMessage(imap, login('orpheus'), messageId)).toMatch(new RegExp(`^Return-Path: <${from}>`, 'm'));
    const chained = await waitFor('the message by way of two rules', async () =>
      (await received(outside, `ariel-${suffix}@strict.example`)).find((m) => decode(m).includes(messageId)),
    );
    expect(chained.verdicts?.spf.result).toBe('pass');
  });

  it('[R11] for any address of a domain goes where the catch-all says', async () => {
    const messageId = freshId();
    await sendFrom(smtp, { from: freshSender(), to: `anything-${suffix}@${second}`, messageId });
    await waitForMessage(imap, login('mallory'), messageId);
  });
});

describe('the sender address of a forwarded message', () => {
  /** The verdict of the mx on a recipient. */
  async function rcpt(address: string, from = ''): Promise<string> {
    const session = await dialogue(smtp);
    await session.command('EHLO client.outside.example');
    await session.command(`MAIL FROM:<${from}>`);
    const reply = await session.command(`RCPT TO:<${address}>`);
    session.close();
    return reply;
  }

  it('[R11] is taken when it is ours and fresh, and refused when it is forged or expired', async () => {
    const { from: genuine } = (await received(outside, `ariel-${suffix}@strict.example`))[0] as Received;
    expect(await rcpt(genuine)).toMatch(/^250/);
    expect(await rcpt(genuine.toUpperCase())).toMatch(/^250/);
    const hash = /^SRS0=([0-9a-f]+)=/i.exec(genuine)?.[1] ?? '';
    const other = hash.replace(/[0-9a-f]/i, (digit) => (digit === '0' ? '1' : '0'));
    const expired = await sql(
      `SELECT 'SRS0=' || posthorn.srs_hash(s.key, signed) || '=' || signed || '@${hostname}'
       FROM posthorn.srs_secrets s, (SELECT posthorn.srs_day((posthorn.srs_today() + 1024 - 30) % 1024)
         || '=${senderDomain}=amy' AS signed) x LIMIT 1`,
    );
    expect(expired).toMatch(/^SRS0=/);
    for (const forged of [
      genuine.replace(hash, other),
      genuine.replace(senderDomain, 'victim.example'),
      genuine.replace(/=amy[^@]*@/, '=postmaster@'),
      `SRS0=0000000000=AA=victim.example=bob@${hostname}`,
      `SRS1=0000000000=victim.example==AA=bb=other.example=bob@${hostname}`,
      `SRS0=@${hostname}`,
      expired,
    ]) {
      expect(await rcpt(forged), forged).toMatch(/^550 5\.1\.1/);
    }
  });
});

describe('a loop', () => {
  it('[R11] by way of an outside server ends when the message comes back', async () => {
    const messageId = freshId();
    await sendFrom(smtp, { from: freshSender(), to: ours('looper'), messageId });
    const out = `back+${local('looper')}=${domain}@outside.example`;
    await waitForReceived(outside, out);
    // It came back, and was refused.
    await waitFor('the mx to refuse it', async () => {
      const log = await kubectlOk(['logs', '-n', namespace, 'mail-mx-0', '-c', 'postfix', '--since=120s']);
      return log.split('\n').some((line) => line.includes('5.4.6') && line.includes(local('looper')))
        ? true
        : undefined;
    });
    expect(await received(outside, out)).toHaveLength(1);
  });

  it('[R11] is refused at the mx, so that whoever made it is told', async () => {
    const from = freshSender();
    const raw = `Delivered-To: ${ours('ariel')}\r\nFrom: ${from}\r\nSubject: x\r\nDate: ${new Date().toUTCString()}\r\nMessage-ID: ${freshId()}\r\n\r\nx\r\n`;
    const refusedNow = await refusal(send(smtp, { from, to: ours('ariel'), raw }));
    expect(refusedNow?.text).toMatch(/^55\d 5\.4\.6/);
    // To somebody else the same header means nothing.
    const messageId = freshId();
    await send(smtp, {
      from,
      to: `mallory@${domain}`,
      raw: raw.replace(/Message-ID: .*\r\n/, `Message-ID: ${messageId}\r\n`),
    });
    await waitForMessage(imap, login('mallory'), messageId);
  });

  it('[R11 R34] that is declared does not go live, and says which way it runs', async () => {
    await rule(local('ping'), { to: [ours('pong')] });
    await rule(local('pong'), { to: [ours('ping')] });
    const conditions = await waitFor('one of the two to be refused', async () => {
      for (const name of [local('ping'), local('pong')]) {
        const object = await waitForCondition(
          forwardRuleType,
          { namespace, name },
          { type: 'Accepted', status: 'False' },
          2_000,
        ).catch(() => undefined);
        const accepted = object?.status?.conditions?.find(({ type }) => type === 'Accepted');
        if (accepted?.reason === 'LoopDetected') return accepted;
      }
      return undefined;
    });
    expect(conditions.message).toContain(local('ping'));
  });
});

describe('a rule that can not be', () => {
  it('[R34] is refused when a target does not parse or is the address itself', async () => {
    for (const to of ['not an address', '@example.org', 'a@b@c', `${local('self')}@${domain}`]) {
      const yaml = JSON.stringify(forwardRule(local('self'), { to: [to] }));
      const { code, stderr } = await kubectl(['apply', '-f', '-'], yaml);
      expect(code, to).not.toBe(0);
      expect(stderr).toMatch(/spec\.to|must/);
    }
  });

  it('[R34] has no effect when its address is taken, and says by whom', async () => {
    await rule(local('thief'), { address: `mallory@${domain}`, to: ['thief@outside.example'] });
    const name = local('thief');
    const object = await waitForCondition(
      forwardRuleType,
      { namespace, name },
      { type: 'Accepted', status: 'False', reason: 'AddressConflict' },
    );
    expect(JSON.stringify(object.status?.conditions)).toMatch(/mallory/);
    const messageId = freshId();
    await sendFrom(smtp, { from: freshSender(), to: `mallory@${domain}`, messageId });
    await waitForMessage(imap, login('mallory'), messageId);
    expect(await received(outside, 'thief@outside.example')).toEqual([]);
    expect(await findMessages(imap, login('mallory'), ['Message-ID', messageId])).toHaveLength(1);
  });
});

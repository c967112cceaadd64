import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin } from '../../operator/runtime/object.js';
import { mailboxType } from '../../operator/types.js';
import { domain, hostname, login, mailboxObjects, namespace } from './lib/environment.js';
import { messageIds, waitForMessage, withImap } from './lib/imap.js';
import { apply, remove, waitFor, waitForCondition } from './lib/kube.js';
import { decode, waitForReceived } from './lib/outside.js';
import { dialogue, refusal, send } from './lib/smtp.js';

const environment = inject('environment');
const { smtp, imap, outside } = environment;
const GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X';
const freshId = () => `<${randomUUID()}@outside.example>`;

describe('mail from outside', () => {
  it('[R1 R13] is accepted on port 25, filtered, stored, and read over IMAPS', async () => {
    const messageId = freshId();
    await send(smtp, {
      from: 'friend@outside.example',
      to: `mallory@${domain}`,
      subject: 'hello',
      text: 'read me',
      messageId,
    });
    const raw = await waitForMessage(imap, login('mallory'), messageId);
    expect(raw).toContain('read me');
    expect(raw).toMatch(new RegExp(`^Authentication-Results: ${hostname.replaceAll('.', '\\.')};`, 'm'));
    expect(raw).toMatch(/^X-Spamd-Result: /m);
  });

  it('[R1] reaches the mailbox at its aliases, with a detail, and whatever the case', async () => {
    await apply(...mailboxObjects('alias-owner', { aliases: [`helpdesk@${domain}`] }));
    await waitForCondition(mailboxType, { namespace, name: 'alias-owner' }, {});
    for (const to of [
      `helpdesk@${domain}`,
      `alias-owner+news@${domain}`,
      `Alias-Owner@${domain.toUpperCase()}`,
      `helpdesk+x@${domain}`,
    ]) {
      const messageId = freshId();
      await send(smtp, { from: 'friend@outside.example', to, subject: to, text: 'x', messageId });
      await waitForMessage(imap, login('alias-owner'), messageId);
    }
  });

  it('[R1] for postmaster and abuse reaches the postmaster of the system', async () => {
    for (const local of ['postmaster', 'abuse']) {
      const messageId = freshId();
      await send(smtp, { from: 'friend@outside.example', to: `${local}@${domain}`, text: 'x', messageId });
      await waitForMessage(imap, login('orpheus'), messageId);
    }
  });

  it('[R13] that is spam is refused with 5xx before it is accepted', async () => {
    const refused = await refusal(
      send(smtp, { from: 'spammer@outside.example', to: `mallory@${domain}`, text: GTUBE }),
    );
    expect(refused?.code).toBe(554);
  });

  it('[R1] for an unknown recipient is refused with 550, and for a foreign domain with 554', async () => {
    const session = await dialogue(smtp);
    await session.command('EHLO client.outside.example');
    await session.command('MAIL FROM:<friend@outside.example>');
    expect(await session.command(`RCPT TO:<nobody-here@${domain}>`)).toMatch(/^550 5\.1\.1/);
    expect(await session.command('RCPT TO:<someone@elsewhere.example>')).toMatch(/^554 5\.7\.1/);
    expect(await session.command(`RCPT TO:<mallory@${domain}>`)).toMatch(/^250/);
    session.close();
  });

  it.each([
    'someone%elsewhere.example@posthorn.example',
    '@posthorn.example:someone@elsewhere.example',
    '"someone@elsewhere.example"@posthorn.example',
    'elsewhere.example!someone@posthorn.example',
    'someone@elsewhere.example@posthorn.example',
    'someone@[127.0.0.1]',
    '"someone@elsewhere.example"',
  ])('[R13] is not relayed by way of %s', async (recipient) => {
    const session = await dialogue(smtp);
    await session.command('EHLO client.outside.example');
    await session.command('MAIL FROM:<friend@outside.example>');
    expect(await session.command(`RCPT TO:<${recipient}>`)).toMatch(/^5\d\d/);
    session.close();
  });

  it('[R13] does not get more rights by XCLIENT, XFORWARD or a trusted HELO', async () => {
    const session = await dialogue(smtp);
    await session.command(`EHLO ${hostname}`);
    expect(await session.command('XCLIENT ADDR=127.0.0.1 NAME=localhost')).toMatch(/^5\d\d/);
    expect(await session.command('XFORWARD ADDR=127.0.0.1')).toMatch(/^5\d\d/);
    await session.command(`MAIL FROM:<mallory@${domain}>`);
    expect(await session.command('RCPT TO:<someone@elsewhere.example>')).toMatch(/^5\d\d/);
    session.close();
  });

  it('[R10] may come over TLS with the certificate of the system', async () => {
    const messageId = freshId();
    await send(
      smtp,
      { from: 'friend@outside.example', to: `mallory@${domain}`, text: 'x', messageId },
      { ca: environment.ca, serverName: hostname },
    );
    expect(await waitForMessage(imap, login('mallory'), messageId)).toMatch(/with ESMTPS/);
  });

  it('[R1] that does not fit the quota comes back to its sender, and what is there stays', async () => {
    await apply(...mailboxObjects('smallbox', { quota: '1Mi' }));
    await waitForCondition(mailboxType, { namespace, name: 'smallbox' }, {});
    const kept = freshId();
    await send(smtp, { from: 'friend@outside.example', to: `smallbox@${domain}`, text: 'small', messageId: kept });
    await waitForMessage(imap, login('smallbox'), kept);
    const sender = `full-${randomUUID().slice(0, 8)}@outside.example`;
    await send(smtp, {
      from: sender,
      to: `smallbox@${domain}`,
      text: 'x'.repeat(72).concat('\n').repeat(20_000),
      messageId: freshId(),
    });
    const bounce = await waitForReceived(outside, sender);
    expect(bounce.from).toBe('');
    expect(decode(bounce)).toMatch(/5\.2\.2/);
    expect(decode(bounce)).toMatch(/^DKIM-Signature: /m);
    expect(await messageIds(imap, login('smallbox'))).toEqual([kept]);
  });
});

describe('a mailbox', () => {
  const user = login('mallory');

  beforeAll(async () => {
    await waitFor('a login', () => withImap(imap, user, async () => true));
  });

  it('[R1] has the usual folders, full-text search and a quota', async () => {
    const word = `zanzibar${randomUUID().slice(0, 6)}`;
    const messageId = freshId();
    await send(smtp, { from: 'friend@outside.example', to: user.user, text: `meet me in ${word}`, messageId });
    await waitForMessage(imap, user, messageId);
    await withImap(imap, user, async (client) => {
      const folders = (await client.list()).map((folder) => folder.specialUse).filter(Boolean);
      expect(folders).toEqual(expect.arrayContaining(['\\Sent', '\\Drafts', '\\Junk', '\\Trash', '\\Archive']));
      const lock = await client.getMailboxLock('INBOX');
      try {
        expect(await client.search({ body: word })).toHaveLength(1);
        expect(await client.search({ body: `${word}nothing` })).toHaveLength(0);
      } finally {
        lock.release();
      }
    });
  });

  it('[R1] is not shown to another user, whatever name is used', async () => {
    const { user: name } = login('orpheus');
    for (const attempt of [
      { user: name, pass: user.pass },
      { user: `${name}*${user.user}`, pass: user.pass },
      { user: user.user, pass: '' },
    ]) {
      await expect(withImap(imap, attempt, async () => true)).rejects.toThrow();
    }
  });

  it('[R1] serves IMAP over TLS only', async () => {
    const session = await import('node:tls').then(({ connect }) =>
      connect({ host: imap.host, port: imap.port, ca: imap.ca, servername: hostname }),
    );
    await new Promise((resolve, reject) => session.once('secureConnect', resolve).once('error', reject));
    expect(session.authorized).toBe(true);
    session.destroy();
  });

  it('[R1] keeps flags, folders and copies that a client makes', async () => {
    const messageId = freshId();
    await send(smtp, { from: 'friend@outside.example', to: user.user, text: 'x', messageId });
    await waitForMessage(imap, user, messageId);
    const folder = `Work-${randomUUID().slice(0, 6)}`;
    await withImap(imap, user, async (client) => {
      await client.mailboxCreate(folder);
      const lock = await client.getMailboxLock('INBOX');
      try {
        const found = (await client.search({ header: { 'message-id': messageId } }, { uid: true })) || [];
        await client.messageFlagsAdd(found, ['\\Flagged'], { uid: true });
        await client.messageMove(found, folder, { uid: true });
      } finally {
        lock.release();
      }
    });
    expect(await messageIds(imap, user, folder)).toEqual([messageId]);
    expect(await messageIds(imap, user)).not.toContain(messageId);
  });
});

describe('a recipient list', () => {
  it('[R1] with a bad address among good ones is taken for the good ones', async () => {
    const session = await dialogue(smtp);
    const messageId = freshId();
    await session.command('EHLO client.outside.example');
    await session.command('MAIL FROM:<friend@outside.example>');
    expect(await session.command(`RCPT TO:<mallory@${domain}>`)).toMatch(/^250/);
    expect(await session.command(`RCPT TO:<missing@${domain}>`)).toMatch(/^550/);
    expect(await session.command(`RCPT TO:<eurydice@${domain}>`)).toMatch(/^250/);
    await session.command('DATA');
    expect(
      await session.command(
        `Message-ID: ${messageId}\r\nFrom: friend@outside.example\r\nTo: all\r\nDate: ${new Date().toUTCString()}\r\nSubject: x\r\n\r\nx\r\n.`,
      ),
    ).toMatch(/^250/);
    session.close();
    await waitForMessage(imap, login('mallory'), messageId);
    await waitForMessage(imap, login('eurydice'), messageId);
  });

  it('[R1] is cleaned up after: the mailboxes that this suite made', async () => {
    for (const name of ['alias-owner', 'smallbox']) {
      await remove(mailboxType, { namespace, name });
      await remove(builtin.secret, { namespace, name: `${name}-password` });
    }
  });
});

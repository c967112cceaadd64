import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { createAuthority } from '../../operator/runtime/testing/certificates.js';
import { domain, login } from './lib/environment.js';
import { messageIds } from './lib/imap.js';
import { received } from './lib/outside.js';
import { attempt, RELAY_TRICKS } from './lib/relay-tricks.js';
import { dialogue } from './lib/smtp.js';

const { smtp, imap, outside } = inject('environment');
const victim = `victim-${randomUUID().slice(0, 8)}`;
const victimAddress = `${victim}@outside.example`;

describe('port 25 does not send on', () => {
  it.each(Object.entries(RELAY_TRICKS))('[R13 R15] %s', async (_name, trick) => {
    const session = await dialogue(smtp);
    const reply = await attempt(session, trick, victim, outside.sink);
    session.close();
    // A reply, or a server that hangs up; never a promise.
    expect(reply).not.toMatch(/^[23]/);
  });

  it('[R13 R15] for a client certificate that somebody made', async () => {
    const authority = await createAuthority();
    const { cert, key } = await authority.issue({ cn: 'posthorn_submission', names: ['mail-submission-0'] });
    const plain = connect(smtp);
    const say = (socket: NodeJS.ReadWriteStream, line?: string) =>
      new Promise<string>((resolve) => {
        socket.once('data', (chunk: Buffer) => resolve(chunk.toString()));
        if (line !== undefined) socket.write(`${line}\r\n`);
      });
    await say(plain);
    await say(plain, 'EHLO client.outside.example');
    await say(plain, 'STARTTLS');
    const socket = tlsConnect({ socket: plain, cert, key, rejectUnauthorized: false });
    socket.on('error', () => undefined);
    await say(socket, 'EHLO client.outside.example');
    await say(socket, 'MAIL FROM:<friend@outside.example>');
    expect(await say(socket, `RCPT TO:<${victimAddress}>`)).toMatch(/^[45]/);
    socket.destroy();
    plain.destroy();
  });

  it('[R13 R15] for commands that were sent ahead of TLS', async () => {
    const session = await dialogue(smtp);
    await session.command('EHLO client.outside.example');
    const replies = [
      await session.command(`STARTTLS\r\nMAIL FROM:<friend@outside.example>\r\nRCPT TO:<${victimAddress}>`),
    ];
    session.close();
    expect(replies.join('\n')).not.toMatch(/^250/m);
  });

  it.each([
    ['LF dot LF', '\n.\n'],
    ['CR LF dot LF', '\r\n.\n'],
    ['LF dot CR LF', '\n.\r\n'],
    ['CR dot CR', '\r.\r'],
    ['CR LF dot CR', '\r\n.\r'],
  ])('[R13 R15] for a message within a message, after %s', async (_what, end) => {
    const messageId = `<smuggled-${randomUUID()}@outside.example>`;
    const session = await dialogue(smtp);
    await session.command('EHLO client.outside.example');
    await session.command('MAIL FROM:<friend@outside.example>');
    await session.command(`RCPT TO:<eurydice@${domain}>`);
    await session.command('DATA');
    const inner = `MAIL FROM:<mallory@${domain}>\r\nRCPT TO:<eurydice@${domain}>\r\nDATA\r\nMessage-ID: ${messageId}\r\nFrom: mallory@${domain}\r\nSubject: smuggled\r\n\r\nx`;
    await session.command(
      `From: friend@outside.example\r\nSubject: x\r\nMessage-ID: <${randomUUID()}@outside.example>\r\nDate: ${new Date().toUTCString()}\r\n\r\nx${end}${inner}\r\n.`,
    );
    await session.command('QUIT');
    session.close();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await messageIds(imap, login('eurydice'))).not.toContain(messageId);
  });

  it.each(['VRFY mallory', 'EXPN mallory', 'ETRN outside.example', 'TURN', 'SEND FROM:<a@b.example>'])(
    '[R13] nor answers %s',
    async (command) => {
      const session = await dialogue(smtp);
      await session.command('EHLO client.outside.example');
      expect(await session.command(command)).toMatch(/^(5|252)/);
      session.close();
    },
  );
});

afterAll(async () => {
  // Whatever was answered: nothing has gone out.
  expect(await received(outside, victimAddress)).toEqual([]);
});

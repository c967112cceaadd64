import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SMTPServer } from 'smtp-server';
import { open } from '../../postfix/checks/smtp.js';
import { type Check, recipients } from './check.js';
import { message } from './message.js';
import type { Stage } from './stage.js';

const here = import.meta.dirname;
const START = `cp -a /usr/share/posthorn/postfix/. /etc/postfix/ && cp /mta/* /etc/postfix/ && exec postfix start-fg`;

/** Postfix with the filter before its queue, and what it delivers. */
async function withPostfix(stage: Stage, use: (delivered: string[]) => Promise<void>): Promise<void> {
  const delivered: string[] = [];
  const sink = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    onData: (stream, _session, callback) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        delivered.push(Buffer.concat(chunks).toString('latin1'));
        callback(null);
      });
    },
  });
  await new Promise<void>((resolve) => sink.listen(2525, '127.0.0.1', () => resolve()));
  const config = mkdtempSync(join(tmpdir(), 'posthorn-mta-'));
  for (const file of ['main.cf', 'milter_header_checks.regexp'])
    copyFileSync(join(here, 'mta', file), join(config, file));
  copyFileSync(join(here, '../../../test/bench/reference/master.cf'), join(config, 'master.cf'));
  const container = await stage.start('postfix', `--entrypoint /usr/bin/tini -v ${config}:/mta:ro`, [
    '--',
    'sh',
    '-c',
    START,
  ]);
  try {
    for (const end = Date.now() + 30_000; ; await sleep(300)) {
      if (await greets()) break;
      if (Date.now() > end) throw new Error(await stage.podman('logs', container));
    }
    await use(delivered);
  } finally {
    await stage.podman('rm', '-f', '-t', '1', container);
    await new Promise<void>((resolve) => sink.close(() => resolve()));
    rmSync(config, { recursive: true });
  }
}

async function greets(): Promise<boolean> {
  try {
    const client = await open('127.0.0.1', 25);
    client.close();
    return client.greeting.startsWith('220');
  } catch {
    return false;
  }
}

async function send(to: readonly string[], text: string): Promise<string> {
  const client = await open('127.0.0.1', 25);
  try {
    for (const line of [
      'EHLO client.outside.test',
      'MAIL FROM:<someone@outside.test>',
      ...to.map((rcpt) => `RCPT TO:${rcpt}`),
      'DATA',
    ]) {
      const reply = await client.send(line);
      if (!/^[23]/.test(reply)) return reply;
    }
    return await client.send(`${text.replaceAll(/^\./gm, '..')}\r\n.`);
  } finally {
    client.close();
  }
}

/** Ways to write team@example.org that Postfix takes. */
const SPELLINGS = [
  '<team@example.org>',
  'team@example.org',
  '<"team"@example.org>',
  '<"te\\am"@example.org>',
  '<te\\am@example.org>',
  '<@relay.test:team@example.org>',
  '<@relay.test,@other.test:team@example.org>',
  '<team@example.org.>',
  '<team@EXAMPLE.org>',
  '<team (comment) @example.org>',
  '< team @ example.org >',
  '<(comment)team@example.org>',
  'Team <team@example.org>',
];

export const mtaChecks: Record<string, Check> = {
  'filter: through Postfix: exact codes of refusals, and headers': (stage) =>
    withPostfix(stage, async (delivered) => {
      stage.gatekeeper.answer = recipients(() => ({ kind: 'mailbox', policy: { spf: 'Enforce' } }));
      stage.zone['outside.test'] = { ...stage.zone['outside.test'], TXT: ['v=spf1 -all'] };
      try {
        assert.match(await send(['<alice@example.org>'], message()), /^550 5\.7\.23 SPF: outside\.test /);
      } finally {
        stage.zone['outside.test'] = { ...stage.zone['outside.test'], TXT: ['v=spf1 ip4:192.0.2.1 -all'] };
      }
      await stage.redis.set('posthorn:dkim:loaded', '1');
      stage.gatekeeper.answer = recipients(() => ({ kind: 'forward', policy: null }));
      const looping = message({ 'Delivered-To': 'alice@example.org' });
      assert.match(await send(['<alice@example.org>'], looping), /^550 5\.4\.6 mail forwarding loop/);
      // the header that a stranger writes refuses nothing
      stage.gatekeeper.answer = recipients(() => ({ kind: 'mailbox', policy: { quarantineAbove: 0.01 } }));
      const forged = message({ 'X-Posthorn-Refused': '5.0.0 forged', 'X-Spam-Action': 'none', 'x-posthorn-a': 'b' });
      assert.match(await send(['<alice@example.org>'], forged), /^250 /);
      for (let tries = 0; delivered.length === 0 && tries < 50; tries++) await sleep(200);
      const [raw = ''] = delivered;
      assert.deepEqual(raw.match(/^(x-spam(-action)?|x-posthorn[^:]*):.*/gim)?.sort(), [
        'X-Spam-Action: quarantine',
        'X-Spam: Yes',
      ]);
      assert.equal(raw.match(/^Authentication-Results:/gim)?.length, 1);
    }),
  'filter: through Postfix: however a recipient is written, its policy is asked for': (stage) =>
    withPostfix(stage, async () => {
      const about = recipients((address) =>
        address.toLowerCase() === 'team@example.org'
          ? { kind: 'mailbox', policy: { deny: ['outside.test'] } }
          : { kind: '', policy: null },
      );
      stage.gatekeeper.answer = about;
      for (const spelling of SPELLINGS) {
        stage.gatekeeper.asked.length = 0;
        const reply = await send([spelling], message());
        const asked = JSON.stringify(stage.gatekeeper.asked.map(({ question }) => question.recipients));
        assert.match(reply, /^[45]/, `${spelling} → ${asked}`);
      }
    }),
};

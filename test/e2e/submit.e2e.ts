import { randomUUID } from 'node:crypto';
import { authenticate } from 'mailauth';
import { describe, expect, inject, it } from 'vitest';
import { domain, hostname, login, namespace } from './lib/environment.js';
import { waitForMessage } from './lib/imap.js';
import { kubectlOk } from './lib/kube.js';
import {
  decode,
  type Received,
  received,
  resolverOf,
  setRecords,
  tlsaRecord,
  unsetRecords,
  waitForReceived,
} from './lib/outside.js';
import { dialogue, refusal, send } from './lib/smtp.js';

const environment = inject('environment');
const { submission, submissions, imap, outside, ca } = environment;
const auth = login('mallory');
const trusted = { ca, serverName: hostname };
const recipient = (label: string) => `${label}-${randomUUID().slice(0, 8)}@outside.example`;

/** What an independent verifier at the receiving side says. */
function verify(message: Received) {
  return authenticate(Buffer.from(message.raw, 'base64'), {
    ip: message.client.replace(/^::ffff:/, ''),
    helo: message.helo,
    sender: message.from,
    mta: 'mx.outside.example',
    resolver: resolverOf(outside) as never,
  });
}

describe('submission', () => {
  it.each([
    ['587 with STARTTLS', submission, false],
    ['465 with TLS from the start', submissions, true],
  ])(
    '[R12 R15] on port %s leaves with a DKIM signature that an independent verifier accepts',
    async (_port, target, implicitTls) => {
      const to = recipient('signed');
      await send(target, { from: auth.user, to, subject: 'Grüße', text: 'signed?' }, { auth, implicitTls, ...trusted });
      const message = await waitForReceived(outside, to);
      const { dkim, spf, dmarc } = await verify(message);
      expect(dkim.results.map((r) => [r.status.result, r.signingDomain])).toEqual([['pass', domain]]);
      expect(dmarc).toMatchObject({ status: { result: 'pass' } });
      expect(spf).toMatchObject({ status: { result: 'pass' } });
      expect(message.tls).toBe(true);
      expect(message.from).toBe(auth.user);
    },
  );

  it('[R15] to a mailbox here arrives there', async () => {
    const messageId = `<${randomUUID()}@${domain}>`;
    await send(submission, { from: auth.user, to: `orpheus@${domain}`, text: 'hi', messageId }, { auth, ...trusted });
    await waitForMessage(imap, login('orpheus'), messageId);
  });

  it('[R15] does not tell where the sender is', async () => {
    const to = recipient('private');
    await send(submission, { from: auth.user, to, text: 'x' }, { auth, ...trusted });
    expect(decode(await waitForReceived(outside, to))).not.toMatch(/client\.outside\.example/);
  });

  it('[R15] refuses an envelope sender that is not the login', async () => {
    for (const from of [`orpheus@${domain}`, 'mallory@elsewhere.example', `nobody@${domain}`]) {
      const refused = await refusal(
        send(submission, { from, to: recipient('forged'), text: 'x' }, { auth, ...trusted }),
      );
      expect(refused?.code, from).toBe(553);
    }
  });

  it('[R15] refuses the null sender', async () => {
    const session = await dialogue(submissions, { tls: true });
    await session.command('EHLO client');
    await session.command(`AUTH PLAIN ${Buffer.from(`\0${auth.user}\0${auth.pass}`).toString('base64')}`);
    const reply = await session.command('MAIL FROM:<>');
    expect(reply.startsWith('250') ? await session.command(`RCPT TO:<${recipient('null')}>`) : reply).toMatch(/^5\d\d/);
    session.close();
  });

  it('[R15] refuses strangers, wrong passwords, and passwords in the clear', async () => {
    const session = await dialogue(submission);
    expect(await session.command('EHLO client')).not.toMatch(/AUTH/);
    expect(
      await session.command(`AUTH PLAIN ${Buffer.from(`\0${auth.user}\0${auth.pass}`).toString('base64')}`),
    ).toMatch(/^5\d\d/);
    session.close();
    const open = await dialogue(submissions, { tls: true });
    await open.command('EHLO client');
    const mail = await open.command(`MAIL FROM:<${auth.user}>`);
    expect(mail.startsWith('250') ? await open.command(`RCPT TO:<${recipient('relay')}>`) : mail).toMatch(/^5\d\d/);
    open.close();
    const wrong = await refusal(
      send(
        submission,
        { from: auth.user, to: recipient('wrong'), text: 'x' },
        { auth: { ...auth, pass: 'wrong' }, ...trusted },
      ),
    );
    expect(wrong?.code).toBe(535);
  });

  it('[R15] refuses an unknown recipient here at once', async () => {
    const refused = await refusal(
      send(submission, { from: auth.user, to: `nobody-here@${domain}`, text: 'x' }, { auth, ...trusted }),
    );
    expect(refused?.code).toBe(550);
  });

  it('[R12] defers the mail of a domain whose key is gone from the cache', async () => {
    const to = recipient('keyless');
    await redis('DEL', 'DKIM_KEYS');
    await send(submission, { from: auth.user, to, text: 'x' }, { auth, ...trusted });
    await flushQueues();
    // The operator has put the key back meanwhile.
    const message = await waitForReceived(outside, to, 120_000);
    expect((await verify(message)).dkim.results[0]?.status.result).toBe('pass');
  });

  it('[R12] defers what can not be signed: with the key cache emptied nothing leaves unsigned, and then it leaves signed', async () => {
    const to = recipient('emptied');
    await kubectlOk(['scale', '-n', 'posthorn-system', 'deploy', '--all', '--replicas=0']);
    try {
      await kubectlOk([
        'wait',
        '-n',
        'posthorn-system',
        '--for=delete',
        'pod',
        '-l',
        'app.kubernetes.io/name=posthorn',
        '--timeout=60s',
      ]).catch(() => '');
      await redis('DEL', 'posthorn:dkim:loaded', 'DKIM_SELECTORS', 'DKIM_KEYS');
      await send(submission, { from: auth.user, to, text: 'x' }, { auth, ...trusted });
      await new Promise((resolve) => setTimeout(resolve, 8_000));
      expect(await received(outside, to)).toEqual([]);
    } finally {
      await kubectlOk(['scale', '-n', 'posthorn-system', 'deploy', '--all', '--replicas=1']);
    }
    await flushQueues();
    const message = await waitForReceived(outside, to, 120_000);
    expect((await verify(message)).dkim.results[0]?.status.result).toBe('pass');
  });
});

describe('delivery to the outside', () => {
  it('[R14] honours DANE: a server whose key is not the published one gets nothing, the right one does', async () => {
    const to = recipient('dane');
    await setRecords([await tlsaRecord(false)]);
    try {
      await pause(6_000);
      await send(submission, { from: auth.user, to, text: 'x' }, { auth, ...trusted });
      await pause(8_000);
      expect(await received(outside, to)).toEqual([]);
      await setRecords([await tlsaRecord(true)]);
      await pause(6_000);
      await flushQueues();
      const message = await waitForReceived(outside, to, 120_000);
      expect(message.tls).toBe(true);
    } finally {
      await unsetRecords('_25._tcp.mx.outside.example', 'TLSA');
    }
  });
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function redis(...command: string[]): Promise<string> {
  const answer = await kubectlOk([
    'exec',
    '-n',
    namespace,
    'mail-redis-0',
    '-c',
    'redis',
    '--',
    'sh',
    '-c',
    REDIS_CLI,
    'sh',
    ...command,
  ]);
  // The client prints errors and succeeds all the same.
  if (!/^\(?(integer|OK)|^\d/.test(answer.trim())) throw new Error(`redis ${command.join(' ')}: ${answer}`);
  return answer;
}

/** With the pod's own certificate, as the operator. */
const REDIS_CLI =
  'REDISCLI_AUTH=$(cat /users/operator) exec valkey-cli --user operator --no-auth-warning --tls --cert /tls/tls.crt --key /tls/tls.key --cacert /tls/ca.crt "$@"';

/** Deferred mail is tried again when its time has come; tests need not wait for that. */
async function flushQueues(): Promise<void> {
  for (let round = 0; round < 12; round += 1) {
    for (const pod of ['mail-submission-0', 'mail-mx-0', 'mail-egress-0']) {
      await kubectlOk(['exec', '-n', namespace, pod, '-c', 'postfix', '--', 'postqueue', '-f']).catch(() => '');
    }
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    if (round >= 3) return;
  }
}

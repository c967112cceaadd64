import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { mailboxType } from '../../operator/types.js';
import { domain, hostname, login, mailboxObjects, namespace, password } from './lib/environment.js';
import { canLogIn, imapClient, messageIds, waitForMessage, withImap } from './lib/imap.js';
import { apply, kube, kubectlOk, remove, type WithConditions, waitFor, waitForCondition } from './lib/kube.js';
import { decode, received, waitForReceived } from './lib/outside.js';
import { putScript } from './lib/sieve.js';
import { dialogue, refusal, send } from './lib/smtp.js';

const environment = inject('environment');
const { smtp, submission, imap, sieve, outside, ca } = environment;
const trusted = { ca, serverName: hostname };
const suffix = randomUUID().slice(0, 6);
const local = (label: string) => `${label}-${suffix}`;
const freshId = () => `<${randomUUID()}@outside.example>`;
const names: string[] = [];

/** Makes Mailboxes and waits for all of them. */
async function mailboxes(specs: Record<string, Record<string, unknown>>): Promise<void> {
  for (const [label, spec] of Object.entries(specs)) {
    names.push(local(label));
    await apply(...mailboxObjects(local(label), spec));
  }
  for (const label of Object.keys(specs)) await waitForCondition(mailboxType, { namespace, name: local(label) }, {});
}

/** Changes a Mailbox's spec, and does not wait. */
async function change(label: string, spec: Record<string, unknown>): Promise<void> {
  await kube().patchMerge(mailboxType, { namespace, name: local(label) }, { spec }, { fieldManager: 'e2e' });
}

const provisioned = (label: string) => waitForCondition(mailboxType, { namespace, name: local(label) }, {});

async function appPassword(name: string, value: string): Promise<void> {
  const metadata = { name, namespace };
  await apply({ apiVersion: 'v1', kind: 'Secret', metadata, stringData: { password: value } } as KubeObject);
}

/** An IMAP connection, and a promise of the moment when it is gone. */
async function openSession(label: string, pass = password(local(label))): Promise<{ gone: Promise<number> }> {
  const client = imapClient(imap, { user: `${local(label)}@${domain}`, pass });
  await client.connect();
  await client.mailboxOpen('INBOX');
  const gone = new Promise<number>((resolve) => client.once('close', () => resolve(Date.now())));
  return { gone };
}

const submit = (label: string, pass = password(local(label))) => {
  const user = `${local(label)}@${domain}`;
  return refusal(
    send(
      submission,
      { from: user, to: `x-${suffix}@outside.example`, text: 'x' },
      { auth: { user, pass }, ...trusted },
    ),
  );
};

async function receive(label: string): Promise<string> {
  const messageId = freshId();
  const to = `${local(label)}@${domain}`;
  const refused = await refusal(send(smtp, { from: 'friend@outside.example', to, text: 'x', messageId }));
  return refused === undefined ? messageId : refused.text;
}

beforeAll(async () => {
  await appPassword(local('phone'), 'phone-secret-1234');
  await mailboxes({
    'locked-in': {},
    'locked-out': { suspended: { mail: 'Refuse' } },
    reader: {},
    silent: {},
    off: {},
    brief: {},
    apps: { appPasswords: [{ name: 'phone', secretRef: { name: local('phone') }, protocols: ['imap'] }] },
    member: {},
    guest: {},
    stranger: {},
    scripted: {},
    away: { vacation: { subject: 'Away', message: 'I am away until Monday.' } },
    tiny: { quota: '1Mi' },
    learner: {},
  });
  await mailboxes({
    board: {
      aliases: [`${local('committee')}@${domain}`],
      members: [
        { mailbox: local('member'), sendAs: true },
        { mailbox: local('guest'), rights: 'ReadOnly' },
      ],
    },
  });
});

afterAll(async () => {
  for (const name of names) {
    await kube().delete(mailboxType, { namespace, name });
    await kube().delete(builtin.secret, { namespace, name: `${name}-password` });
  }
  await remove(builtin.secret, { namespace, name: local('phone') });
});

describe('a suspended account', () => {
  it('[R7] loses its open session within 3 s, can not log in or send at once, and its mail still arrives', async () => {
    const user = login(local('locked-in'));
    const session = await openSession('locked-in');
    const sending = await dialogue(environment.submissions, { tls: true });
    await sending.command('EHLO client');
    const token = Buffer.from(`\0${user.user}\0${user.pass}`).toString('base64');
    expect(await sending.command(`AUTH PLAIN ${token}`)).toMatch(/^235/);
    const started = Date.now();
    await change('locked-in', { state: 'Suspended' });
    expect((await session.gone) - started).toBeLessThanOrEqual(3_000);
    expect(await canLogIn(imap, user)).toBe(false);
    expect((await submit('locked-in'))?.code).toBeGreaterThanOrEqual(400);
    // The submission session that was open, too.
    expect(await sending.command(`MAIL FROM:<${user.user}>`)).not.toMatch(/^250/);
    sending.close();
    const messageId = await receive('locked-in');
    expect(messageId).toMatch(/^</);
    await change('locked-in', { state: 'Active' });
    await provisioned('locked-in');
    await waitForMessage(imap, user, messageId);
  });

  it('[R7] has its mail refused where that is declared', async () => {
    await change('locked-out', { state: 'Suspended' });
    await provisioned('locked-out');
    expect(await receive('locked-out')).toMatch(/^550 5\.7\.1/);
  });

  it('[R7 R34] has an Event that says so', async () => {
    const out = await kubectlOk([
      'get',
      'events',
      '-n',
      namespace,
      '--field-selector',
      `involvedObject.name=${local('locked-out')}`,
      '-o',
      'jsonpath={.items[*].message}',
    ]);
    expect(out).toMatch(/Suspended/);
  });
});

describe('an account', () => {
  it('[R7] that is ReceiveOnly reads and does not send', async () => {
    await change('reader', { state: 'ReceiveOnly' });
    await provisioned('reader');
    const messageId = await receive('reader');
    await waitForMessage(imap, login(local('reader')), messageId);
    expect((await submit('reader'))?.code).toBeGreaterThanOrEqual(400);
  });

  it('[R7] that is SendBlocked is told why it may not send', async () => {
    await change('silent', { state: 'SendBlocked' });
    await provisioned('silent');
    expect(await canLogIn(imap, login(local('silent')))).toBe(true);
    const refused = await submit('silent');
    expect(refused?.code).toBeGreaterThanOrEqual(500);
    expect(refused?.text).toMatch(/block/i);
  });

  it('[R7] that is LoginOff gets mail, and nobody gets in', async () => {
    await change('off', { state: 'LoginOff' });
    await provisioned('off');
    expect(await canLogIn(imap, login(local('off')))).toBe(false);
    expect((await submit('off'))?.code).toBeGreaterThanOrEqual(400);
    expect(await receive('off')).toMatch(/^</);
  });

  it('[R7] is Active again when the time of its state is over', async () => {
    const until = new Date(Date.now() + 8_000).toISOString().replace(/\.\d+Z$/, 'Z');
    await change('brief', { state: 'Suspended', stateUntil: until });
    await waitFor(
      'the suspension',
      async () => ((await canLogIn(imap, login(local('brief')))) ? undefined : true),
      6_000,
    );
    await waitFor('its end', async () => ((await canLogIn(imap, login(local('brief')))) ? true : undefined), 30_000);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(until));
  });

  it('[R7 R34] can not have a state that there is not', async () => {
    await expect(change('reader', { state: 'Sleepy' })).rejects.toThrow(/state/);
  });
});

describe('an app password', () => {
  const phone = () => ({ user: `${local('apps')}@${domain}`, pass: 'phone-secret-1234' });

  it('[R32] works for its protocols and no others, beside the password', async () => {
    expect(await canLogIn(imap, phone())).toBe(true);
    expect(await canLogIn(imap, login(local('apps')))).toBe(true);
    expect((await submit('apps', phone().pass))?.code).toBe(535);
    expect(await submit('apps')).toBeUndefined();
  });

  it('[R32] that is revoked ends its session and no other', async () => {
    const byPhone = await openSession('apps', phone().pass);
    await change('apps', { appPasswords: [] });
    await Promise.race([
      byPhone.gone,
      new Promise((_, reject) => setTimeout(() => reject(new Error('the session is still open')), 6_000)),
    ]);
    expect(await canLogIn(imap, phone())).toBe(false);
    expect(await canLogIn(imap, login(local('apps')))).toBe(true);
  });
});

describe('a shared mailbox', () => {
  const folderOf = (label: string) =>
    withImap(imap, login(local(label)), async (client) => {
      const folders = await client.list();
      return folders.find(
        ({ path, flags }) => path.includes(local('board')) && path.endsWith('INBOX') && !flags.has('\\Noselect'),
      )?.path;
    });

  it('[R1 R7] is seen by its members and by nobody else', async () => {
    const messageId = await receive('board');
    const folder = await waitFor('the shared folder', () => folderOf('member'), 30_000);
    await waitForMessage(imap, login(local('member')), messageId, folder);
    await waitForMessage(imap, login(local('guest')), messageId, await waitFor('it', () => folderOf('guest'), 30_000));
    expect(await folderOf('stranger')).toBeUndefined();
    await expect(messageIds(imap, login(local('stranger')), folder)).rejects.toThrow();
  });

  it('[R7] is changed by members with the right to, and not by the others', async () => {
    const folder = (await folderOf('member')) ?? '';
    const flag = (label: string) =>
      withImap(imap, login(local(label)), async (client) => {
        await client.mailboxOpen(folder);
        return client.messageFlagsAdd('1', ['\\Flagged']).catch(() => false);
      });
    const flagged = () =>
      withImap(imap, login(local('member')), async (client) => {
        await client.mailboxOpen(folder);
        const message = await client.fetchOne('1', { flags: true });
        return message === false ? undefined : message.flags?.has('\\Flagged');
      });
    await flag('guest');
    expect(await flagged()).toBe(false);
    await flag('member');
    expect(await flagged()).toBe(true);
  });

  it('[R15] is written from by members with the right to, and not by the others', async () => {
    const from = `${local('board')}@${domain}`;
    const as = (label: string) =>
      refusal(
        send(
          submission,
          { from, to: `as-${label}-${suffix}@outside.example`, text: 'x' },
          { auth: login(local(label)), ...trusted },
        ),
      );
    expect(await as('member')).toBeUndefined();
    expect((await waitForReceived(outside, `as-member-${suffix}@outside.example`)).from).toBe(from);
    expect((await as('guest'))?.code).toBe(553);
    expect((await as('stranger'))?.code).toBe(553);
  });

  it('[R7] is closed to a member within seconds of its removal', async () => {
    await change('board', { members: [{ mailbox: local('member'), sendAs: true }] });
    await waitFor(
      'the folder to be gone',
      async () => ((await folderOf('guest')) === undefined ? true : undefined),
      10_000,
    );
  });
});

describe('Sieve', () => {
  const file = (folder: string) =>
    `require ["fileinto", "mailbox"];\nif header :contains "subject" "file" { fileinto :create "${folder}"; }\n`;

  async function deliver(label: string): Promise<string> {
    const messageId = freshId();
    await send(smtp, {
      from: 'friend@outside.example',
      to: `${local(label)}@${domain}`,
      subject: 'file this',
      text: 'x',
      messageId,
    });
    return messageId;
  }

  it('[R1] that is declared works, beside the script of the person', async () => {
    await change('scripted', {
      sieve: 'require ["fileinto", "mailbox", "copy"];\nfileinto :copy :create "Declared";\n',
    });
    await waitForCondition(mailboxType, { namespace, name: local('scripted') }, { type: 'SieveReady' });
    await putScript(sieve, login(local('scripted')), 'mine', file('Personal'));
    const messageId = await deliver('scripted');
    await waitForMessage(imap, login(local('scripted')), messageId, 'Declared');
    await waitForMessage(imap, login(local('scripted')), messageId, 'Personal');
  });

  it('[R34] that does not compile changes nothing, and the condition quotes the compiler', async () => {
    await change('scripted', { sieve: 'require ["fileinto"];\nfileintoo "Nowhere";\n' });
    const object = await waitForCondition(
      mailboxType,
      { namespace, name: local('scripted') },
      { type: 'SieveReady', status: 'False' },
    );
    expect(object.status?.conditions?.find(({ type }) => type === 'SieveReady')?.message).toMatch(/fileintoo/);
    await waitForMessage(imap, login(local('scripted')), await deliver('scripted'), 'Declared');
  });

  it('[R1] answers for people who are away, once', async () => {
    const sender = `asks-${randomUUID().slice(0, 8)}@outside.example`;
    for (let i = 0; i < 2; i += 1) {
      await send(smtp, {
        from: sender,
        to: `${local('away')}@${domain}`,
        subject: 'are you there?',
        text: 'x',
        messageId: freshId(),
      });
    }
    const answer = await waitForReceived(outside, sender);
    expect(decode(answer)).toContain('I am away until Monday.');
    expect(decode(answer)).toMatch(/^Auto-Submitted: auto-replied/im);
    expect(decode(answer)).toMatch(/^DKIM-Signature: /m);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await received(outside, sender)).toHaveLength(1);
  });
});

describe('a full mailbox', () => {
  it('[R1] is said to be full before the message is sent, after a warning to its owner', async () => {
    const to = `${local('tiny')}@${domain}`;
    const text = 'x'.repeat(72).concat('\n').repeat(3_500);
    const ask = async () => {
      const session = await dialogue(smtp);
      await session.command('EHLO client.outside.example');
      await session.command('MAIL FROM:<friend@outside.example>');
      const answer = await session.command(`RCPT TO:<${to}>`);
      session.close();
      return answer.startsWith('250') ? undefined : answer;
    };
    // The one that makes it full is still taken.
    const reply = await waitFor(
      'RCPT to refuse',
      async () => {
        const answer = await ask();
        if (answer === undefined) {
          await refusal(send(smtp, { from: 'friend@outside.example', to, text, messageId: freshId() }));
          await new Promise((resolve) => setTimeout(resolve, 1_500));
        }
        return answer;
      },
      60_000,
    );
    expect(reply).toMatch(/^552 5\.2\.2/);
    const subjects = await withImap(imap, login(local('tiny')), async (client) => {
      await client.mailboxOpen('INBOX');
      const found: string[] = [];
      for await (const message of client.fetch('1:*', { envelope: true })) found.push(message.envelope?.subject ?? '');
      return found;
    });
    expect(subjects.join('\n')).toMatch(/quota|full/i);
  });
});

describe('the filter', () => {
  it('[R13] learns from what people move into Junk and out of it', async () => {
    const user = login(local('learner'));
    const learned = async (symbol: string): Promise<number> => {
      const perl = ['--', 'perl', '-MIO::Socket::INET', '-e', STAT];
      const out = await kubectlOk(['exec', '-n', namespace, 'mail-mx-0', '-c', 'rspamd', ...perl]);
      const { statfiles } = JSON.parse(out.slice(out.indexOf('{'))) as {
        statfiles: { symbol: string; revision: number }[];
      };
      return statfiles.find((file) => file.symbol === symbol)?.revision ?? Number.NaN;
    };
    const messageId = freshId();
    const text = `Learn me ${randomUUID()} ${Array.from({ length: 60 }, () => randomUUID().slice(0, 7)).join(' ')}`;
    await send(smtp, { from: 'friend@outside.example', to: user.user, text, messageId });
    await waitForMessage(imap, user, messageId);
    const spam = await learned('BAYES_SPAM');
    const move = (from: string, to: string) =>
      withImap(imap, user, async (client) => {
        await client.mailboxOpen(from);
        const found = (await client.search({ header: { 'message-id': messageId } }, { uid: true })) || [];
        await client.messageMove(found, to, { uid: true });
      });
    await move('INBOX', 'Junk');
    await waitFor('spam to be learned', async () => ((await learned('BAYES_SPAM')) > spam ? true : undefined), 30_000);
    const ham = await learned('BAYES_HAM');
    await move('Junk', 'INBOX');
    await waitFor('ham to be learned', async () => ((await learned('BAYES_HAM')) > ham ? true : undefined), 30_000);
  });
});

/** GET /stat of rspamd's controller: the image has Perl, and no client for HTTP. */
const STAT =
  '$s=IO::Socket::INET->new(PeerAddr=>"127.0.0.1",PeerPort=>11334) or die $!; print $s "GET /stat HTTP/1.0\\r\\n\\r\\n"; print while <$s>;';

it('[R34] a Mailbox tells its state in its table', async () => {
  const object = await kube().get<WithConditions>(mailboxType, { namespace, name: local('off') });
  expect(String(object.status?.detail)).toMatch(/LoginOff/);
});

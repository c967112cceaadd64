import { createHmac, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { forwardRuleType, mailboxType, mailDomainType } from '../../operator/types.js';
import { domain, forwardRule, login, mailboxObjects, namespace, systemName } from './lib/environment.js';
import { type Hooks, hooksHost, startHooks } from './lib/hooks.js';
import { waitForMessage } from './lib/imap.js';
import { apply, kube, kubectlOk, remove, type WithConditions, waitFor, waitForCondition } from './lib/kube.js';
import { decode, waitForReceived } from './lib/outside.js';
import { publishSender, type Signer, senderDomain, sendFrom } from './lib/sender.js';
import { refusal, send } from './lib/smtp.js';

const { smtp, imap, outside } = inject('environment');
const suffix = randomUUID().slice(0, 6);
const local = (label: string) => `${label}-${suffix}`;
const ours = (label: string) => `${local(label)}@${domain}`;
const freshSender = () => `amy-${randomUUID().slice(0, 8)}@${senderDomain}`;
const key = 'a key that only we know';
const secretName = local('hook-key');
/** A domain all of whose mail goes to one program. */
const caught = `caught-${suffix}.example`;
const rules: string[] = [];
let hooks: Hooks;
let signer: Signer;

/** A path of the hooks server that no other run has used. */
const path = (kind: string) => `/${kind}-${suffix}`;

async function webhookRule(label: string, kind: string, more: Record<string, unknown> = {}): Promise<void> {
  const webhook = { url: `https://${hooksHost}${path(kind)}`, secretRef: { name: secretName }, ...more };
  rules.push(local(label));
  await apply(forwardRule(local(label), { webhooks: [webhook] }));
}

async function commandRule(label: string, script: string): Promise<void> {
  const prefix = process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn';
  // Any image that the nodes have; this one knows nothing of being fed.
  const command = { image: `${prefix}/redis:dev`, command: ['sh', '-c', script], timeoutSeconds: 60 };
  rules.push(local(label));
  await apply(forwardRule(local(label), { commands: [command] }));
}

beforeAll(async () => {
  hooks = await startHooks();
  signer = await publishSender();
  await apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: secretName, namespace },
    stringData: { key, 'ca.crt': hooks.ca },
  } as KubeObject);
  await apply({ apiVersion: 'posthorn.dev/v1alpha1', kind: 'MailDomain', metadata: { name: caught, namespace } });
  rules.push(local('catches'));
  await apply(
    forwardRule(local('catches'), {
      address: `*@${caught}`,
      webhooks: [{ url: `https://${hooksHost}${path('ok-both')}`, secretRef: { name: secretName } }],
    }),
  );
  await webhookRule('takes', 'ok');
  await webhookRule('refuses', 'refuse');
  await webhookRule('hangs', 'hang', { timeoutSeconds: 20 });
  await webhookRule('busy', 'once');
  await commandRule('runs', 'cat >/tmp/m && grep -q "^Subject: for the bot" /tmp/m && test "$POSTHORN_ATTEMPT" = 1');
  await commandRule('says', 'echo "no bridges for $POSTHORN_ADDRESS" >$POSTHORN_REPLY; exit 65');
  await commandRule('again', 'test "$POSTHORN_ATTEMPT" -ge 2 || exit 75');
  rules.push(local('picky'));
  await apply(
    forwardRule(local('picky'), {
      webhooks: [{ url: `https://${hooksHost}${path('ok-picky')}`, secretRef: { name: secretName } }],
      require: { dkimAlignedFrom: [senderDomain] },
    }),
    ...mailboxObjects(local('tagger'), { require: { dkimAlignedFrom: [senderDomain], otherwise: 'Tag' } }),
  );
  for (const name of rules) await waitForCondition(forwardRuleType, { namespace, name }, {});
  await waitForCondition(mailboxType, { namespace, name: local('tagger') }, {});
});

afterAll(async () => {
  for (const name of rules) await remove(forwardRuleType, { namespace, name });
  await remove(mailDomainType, { namespace, name: caught });
  await remove(mailboxType, { namespace, name: local('tagger') });
  for (const name of [secretName, `${local('tagger')}-password`]) await remove(builtin.secret, { namespace, name });
});

/** What is deferred is tried again at once. */
async function flush(): Promise<void> {
  const pod = `${systemName}-forward-0`;
  await kubectlOk(['exec', '-n', namespace, pod, '-c', 'postfix', '--', 'postqueue', '-f']).catch(() => '');
}

const arrivals = (kind: string, count = 1) =>
  waitFor(
    `${count} requests to ${path(kind)}`,
    async () => {
      const found = await hooks.requests(path(kind));
      if (found.length >= count) return found;
      if (count > 1) await flush();
      return undefined;
    },
    90_000,
  );

describe('a webhook', () => {
  it('[R18] gets the message as it came, signed, with the id of the delivery', async () => {
    const messageId = `<${randomUUID()}@${senderDomain}>`;
    await sendFrom(smtp, { from: freshSender(), to: ours('takes'), messageId, text: 'for the webhook' });
    const [request] = await arrivals('ok');
    const body = Buffer.from(request?.body ?? '', 'base64');
    expect(body.toString()).toContain(messageId);
    expect(body.toString()).toContain('for the webhook');
    expect(request?.headers).toMatchObject({
      'content-type': 'message/rfc822',
      'x-posthorn-address': ours('takes'),
      'x-posthorn-attempt': '1',
      'x-posthorn-rule': `${namespace}/${local('takes')}`,
    });
    const { 'x-posthorn-delivery-id': id, 'x-posthorn-timestamp': at } = request?.headers ?? {};
    const signature = createHmac('sha256', key).update(`${id}.${at}.`).update(body).digest('hex');
    expect(request?.headers['x-posthorn-signature']).toBe(`sha256=${signature}`);
  });

  it('[R18] gets one message for two addresses twice, as two deliveries', async () => {
    const kind = 'ok-both';
    const from = freshSender();
    const to = ['one', 'two'].map((name) => `${name}@${caught}`);
    const date = new Date().toUTCString();
    const raw = `From: ${from}\r\nTo: both\r\nMessage-ID: <${randomUUID()}@x.example>\r\nDate: ${date}\r\nSubject: x\r\n\r\nx\r\n`;
    await send(smtp, { from, to, raw });
    const requests = await arrivals(kind, 2);
    expect(requests.map(({ headers }) => headers['x-posthorn-recipient']).sort()).toEqual(to);
    expect(new Set(requests.map(({ headers }) => headers['x-posthorn-delivery-id'])).size).toBe(2);
    expect(requests.map(({ headers }) => headers['x-posthorn-attempt'])).toEqual(['1', '1']);
  });

  it('[R18] that refuses makes the message come back to its sender', async () => {
    const from = freshSender();
    await sendFrom(smtp, { from, to: ours('refuses') });
    const report = await waitForReceived(outside, from);
    expect(report.from).toBe('');
    expect(decode(report)).toMatch(/HTTP 422/);
    expect(await hooks.requests(path('refuse'))).toHaveLength(1);
  });

  it('[R18] that is busy gets the message again, under the same id and with another number', async () => {
    await sendFrom(smtp, { from: freshSender(), to: ours('busy') });
    const requests = await arrivals('once', 2);
    const numbers = requests.map(({ headers }) => Number(headers['x-posthorn-attempt']));
    expect(numbers[0]).toBe(1);
    expect(numbers[1]).toBeGreaterThan(1);
    expect(new Set(requests.map(({ headers }) => headers['x-posthorn-delivery-id'])).size).toBe(1);
  });

  it('[R18] that hangs keeps nobody else waiting', async () => {
    for (let i = 0; i < 12; i += 1) await sendFrom(smtp, { from: freshSender(), to: ours('hangs') });
    await arrivals('hang');
    const before = (await hooks.requests(path('ok'))).length;
    const started = Date.now();
    await sendFrom(smtp, { from: freshSender(), to: ours('takes') });
    await arrivals('ok', before + 1);
    expect(Date.now() - started).toBeLessThan(10_000);
    // Nothing is given up: it waits.
    const queue = await kubectlOk([
      'exec',
      '-n',
      namespace,
      `${systemName}-forward-0`,
      '-c',
      'postfix',
      '--',
      'postqueue',
      '-p',
    ]);
    expect(queue).toContain('courier.invalid');
  });

  it('[R18 R34] inside the cluster is refused by the condition, unless the MailSystem allows its host', async () => {
    const name = local('inward');
    rules.push(name);
    const urls = [
      'https://kubernetes.default.svc/',
      'https://127.0.0.1/',
      'https://169.254.169.254/latest/',
      `http://mail-redis.${namespace}.svc:6379/`,
    ];
    await apply(forwardRule(name, { webhooks: urls.map((url) => ({ url })) }));
    const object = await waitForCondition(
      forwardRuleType,
      { namespace, name },
      { type: 'Accepted', status: 'False', reason: 'WebhookNotAllowed' },
    );
    expect(object.status?.conditions?.find(({ type }) => type === 'Accepted')?.message).toMatch(
      /kubernetes\.default\.svc/,
    );
  });
});

describe('a command', () => {
  type Job = KubeObject & { status?: { succeeded?: number; failed?: number } };
  const jobs = async (label: string) => {
    const rule = await kube().get<WithConditions>(forwardRuleType, { namespace, name: local(label) });
    const labelSelector = `posthorn.dev/rule=${rule.metadata.uid}`;
    return (await kube().list<Job>(builtin.job, { namespace, labelSelector })).items;
  };

  it('[R18] runs as a Job with the message on standard input', async () => {
    await sendFrom(smtp, { from: freshSender(), to: ours('runs'), subject: 'for the bot' });
    const done = await waitFor(
      'the Job to succeed',
      async () => (await jobs('runs')).find((job) => job.status?.succeeded === 1),
      90_000,
    );
    expect(await jobs('runs')).toHaveLength(1);
    const pods = await kube().list<KubeObject>(builtin.pod, {
      namespace,
      labelSelector: `batch.kubernetes.io/job-name=${done.metadata.name}`,
    });
    expect(pods.items).toHaveLength(1);
    await waitFor('the queue to be rid of it', async () => {
      const out = await kubectlOk([
        'exec',
        '-n',
        namespace,
        `${systemName}-forward-0`,
        '-c',
        'postfix',
        '--',
        'postqueue',
        '-j',
      ]);
      const rule = await kube().get(forwardRuleType, { namespace, name: local('runs') });
      return out.includes(rule.metadata.uid ?? '?') ? undefined : true;
    });
  });

  it('[R18] that refuses tells the sender why', async () => {
    const from = freshSender();
    await sendFrom(smtp, { from, to: ours('says') });
    const report = await waitForReceived(outside, from, 90_000);
    expect(decode(report)).toContain(`no bridges for ${ours('says')}`);
    expect(await jobs('says')).toHaveLength(1);
  });

  it('[R18] that puts the message off is run again, knows it, and an Event says so', async () => {
    await sendFrom(smtp, { from: freshSender(), to: ours('again') });
    const last = await waitFor(
      'a second Job',
      async () => {
        const found = await jobs('again');
        if (found.some((job) => job.status?.succeeded === 1)) return found;
        if (found.some((job) => job.status?.failed === 1)) await flush();
        return undefined;
      },
      120_000,
    );
    expect(last).toHaveLength(2);
    await waitFor('the Event', async () => {
      const out = await kubectlOk([
        'get',
        'events',
        '-n',
        namespace,
        '--field-selector',
        `involvedObject.name=${local('again')}`,
        '-o',
        'jsonpath={.items[*].reason}',
      ]);
      return out.includes('CommandRunAgain') ? true : undefined;
    });
  });
});

describe('required authentication of senders', () => {
  it('[R18] lets through mail with a valid signature of a listed domain', async () => {
    await sendFrom(smtp, { from: freshSender(), to: ours('picky'), text: 'believe me' }, signer);
    const [request] = await arrivals('ok-picky');
    expect(Buffer.from(request?.body ?? '', 'base64').toString()).toContain('believe me');
  });

  it('[R18] refuses the rest at the mx', async () => {
    const other = await publishSender(`other-${suffix}.example`, 'none');
    const listed = freshSender();
    for (const [what, work] of [
      ['no signature', () => sendFrom(smtp, { from: listed, to: ours('picky') })],
      [
        'a domain that is not listed',
        () => sendFrom(smtp, { from: `eve@other-${suffix}.example`, to: ours('picky') }, other),
      ],
      [
        'a signature of another domain',
        () => sendFrom(smtp, { from: `eve@other-${suffix}.example`, author: listed, to: ours('picky') }, other),
      ],
    ] as const) {
      const refused = await refusal(work());
      expect(refused?.code, what).toBeGreaterThanOrEqual(500);
    }
    expect(await hooks.requests(path('ok-picky'))).toHaveLength(1);
  });

  it('[R18] or marks it, where the Mailbox says so', async () => {
    const [bad, good] = [1, 2].map(() => `<${randomUUID()}@${senderDomain}>`) as [string, string];
    await sendFrom(smtp, { from: freshSender(), to: ours('tagger'), messageId: bad });
    await sendFrom(smtp, { from: freshSender(), to: ours('tagger'), messageId: good }, signer);
    // What is marked lies in Junk.
    expect(await waitForMessage(imap, login(local('tagger')), bad, 'Junk')).toMatch(
      /^X-Posthorn-Unauthenticated: yes/m,
    );
    expect(await waitForMessage(imap, login(local('tagger')), good)).not.toMatch(/^X-Posthorn-Unauthenticated: yes/m);
  });
});

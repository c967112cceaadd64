import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { mailboxType, mailDomainType } from '../../operator/types.js';
import { login, mailboxObjects, namespace, password } from './lib/environment.js';
import { findMessages, waitForMessage } from './lib/imap.js';
import { apply, remove, waitFor, waitForCondition } from './lib/kube.js';
import { setRecords } from './lib/outside.js';
import { type Composed, publishSender, type Signer, sendFrom } from './lib/sender.js';
import { refusal, send } from './lib/smtp.js';

const { smtp, imap, submission } = inject('environment');
const suffix = randomUUID().slice(0, 6);
const domain = `filter-${suffix}.example`;
const name = `reader-${suffix}`;
const to = `reader@${domain}`;
const reader = { user: to, pass: password(name) };
/** Its mail comes from the tests, and can be signed. */
const good = `good-${suffix}.example`;
/** No server may send its mail: a point. */
const bad = `bad-${suffix}.example`;
const GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X';
const freshId = () => `<${randomUUID()}@${good}>`;
let signer: Signer;

const mailDomain = (filter: Record<string, unknown>): KubeObject =>
  ({
    apiVersion: 'posthorn.dev/v1alpha1',
    kind: 'MailDomain',
    metadata: { name: domain, namespace },
    spec: { filter },
  }) as KubeObject;

async function setFilter(filter: Record<string, unknown>): Promise<void> {
  await apply(mailDomain(filter));
  await waitForCondition(mailDomainType, { namespace, name: domain }, { type: 'Provisioned' });
}

/** Waits until the mx judges by the new filter. */
const answer = (mail: Composed, expected: RegExp, by?: Signer) =>
  waitFor(
    `the answer ${expected} to mail from ${mail.from}`,
    async () => {
      const refused = await refusal(sendFrom(smtp, mail, by));
      return expected.test(refused?.text ?? '') ? refused : undefined;
    },
    30_000,
  );

/** Waits until a message such as this one is filed there. */
const filed = (mail: Composed, folder: string, by?: Signer) =>
  waitFor(
    `mail from ${mail.author ?? mail.from} in ${folder}`,
    async () => {
      const messageId = freshId();
      await sendFrom(smtp, { ...mail, messageId }, by);
      for (let tries = 0; tries < 10; tries++) {
        const [raw] = await findMessages(imap, reader, ['Message-ID', messageId], folder).catch(() => []);
        if (raw !== undefined) return raw;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      return undefined;
    },
    60_000,
  );

beforeAll(async () => {
  signer = await publishSender(good);
  await setRecords([
    { name: bad, type: 'TXT', value: '"v=spf1 -all"' },
    { name: bad, type: 'MX', value: '10 mx.outside.example.' },
  ]);
  await apply(mailDomain({ greylistAbove: 0 }), ...mailboxObjects(name, { address: to }));
  await waitForCondition(mailboxType, { namespace, name }, {});
});

afterAll(async () => {
  await remove(mailboxType, { namespace, name });
  await remove(mailDomainType, { namespace, name: domain });
  await remove(builtin.secret, { namespace, name: `${name}-password` });
});

describe('the filter of a MailDomain', () => {
  it('[R13] refuses whom it denies, and nobody else', async () => {
    await setFilter({ greylistAbove: 0, deny: [bad, `spammer@${good}`] });
    await answer({ from: `x@${bad}`, to }, /^55\d 5\.7\.1 .*not wanted/);
    await answer({ from: `spammer@${good}`, to }, /^55\d 5\.7\.1 .*not wanted/);
    await answer({ from: `x@${good}`, author: `x@${bad}`, to }, /^55\d 5\.7\.1 .*not wanted/);
    await filed({ from: `friend@${good}`, to }, 'INBOX', signer);
  });

  it('[R13] enforces SPF, DKIM and DMARC with the codes of RFC 7372', async () => {
    await setFilter({ greylistAbove: 0, spf: 'Enforce' });
    await answer({ from: `x@${bad}`, to }, /^550 5\.7\.23 SPF: /);
    await setFilter({ greylistAbove: 0, dkim: 'Enforce' });
    const forged = { key: (await publishSender(`other-${suffix}.example`)).key, domain: good };
    await answer({ from: `x@${good}`, to }, /^550 5\.7\.20 DKIM: /, forged);
    await setFilter({ greylistAbove: 0, dmarc: 'Enforce' });
    await answer({ from: `x@${bad}`, author: `boss@${good}`, to }, /^550 5\.7\.26 DMARC: /);
    await filed({ from: `friend@${good}`, to }, 'INBOX', signer);
  });

  it('[R13] tags, puts aside and lets in by its own thresholds, and believes only authors who are authenticated', async () => {
    const mail = { from: `x@${bad}`, author: `friend@${good}`, to };
    await setFilter({ greylistAbove: 0, tagAbove: 0 });
    expect(await filed(mail, 'Junk', signer)).toMatch(/^X-Spam: Yes/m);
    await setFilter({ greylistAbove: 0, tagAbove: 0, quarantineAbove: 0 });
    expect(await filed(mail, 'Quarantine', signer)).toMatch(/^X-Spam-Action: quarantine/m);
    await setFilter({ greylistAbove: 0, tagAbove: 0, quarantineAbove: 0, allow: [good] });
    expect(await filed(mail, 'INBOX', signer)).not.toMatch(/^X-Spam(-Action)?:/m);
    expect(await filed(mail, 'Quarantine')).toMatch(/^X-Spam: Yes/m);
  });

  it('[R13] greylists where it says so', async () => {
    await setFilter({ greylistAbove: 0.1 });
    await answer({ from: `grey@${bad}`, to }, /^451 4\.7\.1 Greylisted/);
    await setFilter({ greylistAbove: 0, tagAbove: 900, rejectAbove: 999 });
    await filed({ from: `grey@${bad}`, to }, 'INBOX');
  });
});

describe('what people send', () => {
  it('[R15] is refused when it is spam, and adds nothing that tells where they sit', async () => {
    const auth = login('eurydice');
    const mail = { from: auth.user, to };
    const refused = await refusal(send(submission, { ...mail, text: GTUBE }, { auth }));
    expect(refused?.text).toMatch(/^55\d 5\.7\.1 /);
    const messageId = freshId();
    await send(submission, { ...mail, messageId, text: 'harmless' }, { auth });
    const raw = await waitForMessage(imap, reader, messageId);
    expect(raw).not.toMatch(
      /^X-Spam|client\.outside\.example|^Received: from \S+ \(.*\) .*by mail\.posthorn\.example/m,
    );
  });
});

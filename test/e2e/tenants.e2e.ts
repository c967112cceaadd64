import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { forwardRuleType, mailboxType, mailDomainType } from '../../operator/types.js';
import { domain, labelledNamespace, login, namespace, systemName, tenantNamespace } from './lib/environment.js';
import { waitForMessage } from './lib/imap.js';
import { apply, kube, remove, type WithConditions, waitFor, waitForCondition } from './lib/kube.js';
import { setRecords, waitForReceived } from './lib/outside.js';
import { dialogue, refusal, send } from './lib/smtp.js';

const { smtp, imap, submission } = inject('environment');
const suffix = randomUUID().slice(0, 6);
const theirs = `tenant-${suffix}.example`;
const stranger = `stranger-${suffix}`;
const group = 'posthorn.dev/v1alpha1';
const object = (kind: string, name: string, spec: object, inNamespace = tenantNamespace) =>
  ({ apiVersion: group, kind, metadata: { name, namespace: inNamespace }, spec }) as KubeObject;
const here = { system: systemName, systemNamespace: namespace };

async function rcpt(address: string): Promise<string> {
  const session = await dialogue(smtp);
  await session.command('EHLO client.outside.example');
  await session.command('MAIL FROM:<friend@outside.example>');
  const reply = await session.command(`RCPT TO:<${address}>`);
  session.close();
  return reply;
}

const acceptedOf = async (name: string, inNamespace: string) =>
  (await kube().get<WithConditions>(forwardRuleType, { namespace: inNamespace, name })).status?.conditions?.find(
    ({ type }) => type === 'Accepted',
  );

beforeAll(async () => {
  await apply(labelledNamespace(tenantNamespace), labelledNamespace(stranger));
  await apply(object('MailDomain', theirs, here));
});

afterAll(async () => {
  for (const [inNamespace, name] of [
    [tenantNamespace, 'in'],
    [tenantNamespace, 'out'],
    [namespace, `to-tenant-${suffix}`],
  ] as const) {
    await kube().delete(forwardRuleType, { namespace: inNamespace, name });
  }
  await remove(mailboxType, { namespace: tenantNamespace, name: 'tess' }).catch(() => undefined);
  await remove(mailDomainType, { namespace: tenantNamespace, name: theirs }).catch(() => undefined);
  await kube().delete(builtin.namespace, { name: stranger });
});

describe('a domain of another namespace', () => {
  it('[R40] is not served before the DNS shows whose it is', async () => {
    const ref = { namespace: tenantNamespace, name: theirs };
    await waitForCondition(mailDomainType, ref, { type: 'OwnershipVerified', status: 'False' });
    expect(await rcpt(`tess@${theirs}`)).toMatch(/^554/);
  });

  it('[R40] is served when the record that the status asks for is there', async () => {
    const ref = { namespace: tenantNamespace, name: theirs };
    const { status } = await kube().get<WithConditions>(mailDomainType, ref);
    const records = (status?.records ?? []) as { name: string; type: string; value: string }[];
    const challenge = records.find(({ name }) => name.startsWith('_posthorn-challenge.'));
    expect(challenge).toMatchObject({ name: `_posthorn-challenge.${theirs}`, type: 'TXT' });
    await setRecords([{ ...challenge, value: 'wrong' } as never]);
    await setRecords([challenge as never]);
    // The look-up comes with growing intervals: a change of the object makes it come now.
    await kube().patchMerge(
      mailDomainType,
      ref,
      { metadata: { annotations: { looked: String(Date.now()) } } },
      { fieldManager: 'e2e' },
    );
    await waitForCondition(mailDomainType, ref, {}, 150_000);
    await apply(
      {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'tess', namespace: tenantNamespace },
        stringData: { password: 'tess-secret-1' },
      } as KubeObject,
      object('Mailbox', 'tess', { address: `tess@${theirs}`, passwordSecretRef: { name: 'tess' } }),
    );
    await waitForCondition(mailboxType, { namespace: tenantNamespace, name: 'tess' }, {});
    const messageId = `<${randomUUID()}@outside.example>`;
    await send(smtp, { from: 'friend@outside.example', to: `tess@${theirs}`, text: 'x', messageId });
    await waitForMessage(imap, { user: `tess@${theirs}`, pass: 'tess-secret-1' }, messageId);
  });

  it('[R40] is not served for a namespace that the MailSystem does not name', async () => {
    await apply(object('MailDomain', `${stranger}.example`, here, stranger));
    await waitForCondition(
      mailDomainType,
      { namespace: stranger, name: `${stranger}.example` },
      { status: 'False', reason: 'TenantNotAdmitted' },
    );
    await kube().delete(mailDomainType, { namespace: stranger, name: `${stranger}.example` });
  });

  it("[R40] can not be somebody else's", async () => {
    await apply(object('MailDomain', domain, here));
    const conflict = await waitForCondition(
      mailDomainType,
      { namespace: tenantNamespace, name: domain },
      { status: 'False' },
    );
    expect(JSON.stringify(conflict.status?.conditions)).toMatch(/DomainConflict|OwnershipNotVerified/);
    expect(await rcpt(`mallory@${domain}`)).toMatch(/^250/);
    await remove(mailDomainType, { namespace: tenantNamespace, name: domain });
  });
});

describe('addresses across namespaces', () => {
  it('[R40] are not made in a domain of another namespace', async () => {
    await apply(object('Mailbox', 'thief', { address: `thief@${domain}` }));
    await waitForCondition(mailboxType, { namespace: tenantNamespace, name: 'thief' }, { status: 'False' });
    expect(await rcpt(`thief@${domain}`)).toMatch(/^550/);
    await remove(mailboxType, { namespace: tenantNamespace, name: 'thief' });
  });

  it('[R40] are not written from by people of another namespace', async () => {
    const auth = { user: `tess@${theirs}`, pass: 'tess-secret-1' };
    const refused = await refusal(
      send(submission, { from: `mallory@${domain}`, to: 'x@outside.example', text: 'x' }, { auth }),
    );
    expect(refused?.code).toBe(553);
  });

  it('[R40] get no forwards without the consent of the domain that they are in', async () => {
    await apply(object('ForwardRule', 'in', { address: `in@${theirs}`, to: [`mallory@${domain}`] }));
    await waitFor('the refusal', async () =>
      (await acceptedOf('in', tenantNamespace))?.reason === 'ConsentMissing' ? true : undefined,
    );
    expect(await rcpt(`in@${theirs}`)).toMatch(/^5/);
  });

  it('[R40] get them with it', async () => {
    await kube().patchMerge(
      mailDomainType,
      { namespace, name: domain },
      { spec: { acceptForwardsFrom: [tenantNamespace] } },
      { fieldManager: 'e2e' },
    );
    try {
      await waitForCondition(forwardRuleType, { namespace: tenantNamespace, name: 'in' }, {});
      const messageId = `<${randomUUID()}@outside.example>`;
      await send(smtp, { from: 'friend@outside.example', to: `in@${theirs}`, text: 'x', messageId });
      await waitForMessage(imap, login('mallory'), messageId);
    } finally {
      await kube().patchMerge(
        mailDomainType,
        { namespace, name: domain },
        { spec: { acceptForwardsFrom: null } },
        { fieldManager: 'e2e' },
      );
    }
    await waitFor('the consent to be gone', async () =>
      (await acceptedOf('in', tenantNamespace))?.reason === 'ConsentMissing' ? true : undefined,
    );
  });

  it('[R40 R11] are forwarded to the world by their own namespace', async () => {
    const to = `out-${suffix}@outside.example`;
    await apply(object('ForwardRule', 'out', { address: `out@${theirs}`, to: [to] }));
    await waitForCondition(forwardRuleType, { namespace: tenantNamespace, name: 'out' }, {});
    await send(smtp, { from: 'friend@outside.example', to: `out@${theirs}`, text: 'x' });
    const { outside } = inject('environment');
    expect((await waitForReceived(outside, to)).from).toMatch(/^SRS0=/i);
  });

  it('[R40 R18] run no commands outside the namespace of the MailSystem', async () => {
    const command = { image: 'x', command: ['true'] };
    await apply(object('ForwardRule', 'out', { address: `out@${theirs}`, commands: [command] }));
    await waitFor('the refusal', async () =>
      (await acceptedOf('out', tenantNamespace))?.reason === 'CommandNotAllowed' ? true : undefined,
    );
  });
});

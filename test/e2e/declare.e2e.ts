import { randomUUID } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { mailboxType, mailDomainType, mailSystemType } from '../../operator/types.js';
import { domain, login, mailboxObjects, namespace, password, systemName } from './lib/environment.js';
import { canLogIn, waitForMessage } from './lib/imap.js';
import { apply, kube, kubectl, kubectlOk, podsAndRestarts, remove, waitFor, waitForCondition } from './lib/kube.js';
import { dialogue, send } from './lib/smtp.js';

const { smtp, imap } = inject('environment');
const unique = (name: string) => `${name}-${randomUUID().slice(0, 6)}`;
const freshId = () => `<${randomUUID()}@outside.example>`;
const ready = (name: string) => waitForCondition(mailboxType, { namespace, name }, {});
const refused = (name: string, reason: string) =>
  waitForCondition(mailboxType, { namespace, name }, { status: 'False', reason });

async function rcpt(address: string): Promise<string> {
  const session = await dialogue(smtp);
  await session.command('EHLO client.outside.example');
  await session.command('MAIL FROM:<friend@outside.example>');
  const reply = await session.command(`RCPT TO:<${address}>`);
  session.close();
  return reply;
}

/** What the mx has just taken it may take for 2 s more. */
function refusedSoon(address: string): Promise<true> {
  return waitFor('the address to be refused', async () => (/^5/.test(await rcpt(address)) ? true : undefined), 5_000);
}

async function drop(...mailboxes: string[]): Promise<void> {
  for (const name of mailboxes) {
    await remove(mailboxType, { namespace, name });
    await kube().delete(builtin.secret, { namespace, name: `${name}-password` });
  }
}

describe('a Mailbox', () => {
  it('[R34] applied to a running system logs in, without any pod restarting, and kubectl shows it', async () => {
    const name = unique('fresh');
    const before = await podsAndRestarts(namespace);
    await apply(...mailboxObjects(name));
    const object = await ready(name);
    expect(await canLogIn(imap, login(name))).toBe(true);
    expect(await podsAndRestarts(namespace)).toEqual(before);
    expect(object.status?.uuid).toBe(object.metadata.uid);
    const table = await kubectlOk(['get', 'mail', '-n', namespace]);
    expect(table).toMatch(new RegExp(`mailbox\\S*/${name} +True .*${name}@${domain}`));
    await drop(name);
  });

  it('[R34] whose password changes in the Secret takes the new one within seconds, and the old one no more', async () => {
    const name = unique('rekeyed');
    await apply(...mailboxObjects(name));
    await ready(name);
    const [secret] = mailboxObjects(name, {}, 'another-battery-staple');
    await apply(secret as KubeObject);
    const changed = Date.now();
    const fresh = { ...login(name), pass: 'another-battery-staple' };
    await waitFor('the new password', async () => ((await canLogIn(imap, fresh)) ? true : undefined), 15_000);
    expect(Date.now() - changed).toBeLessThan(15_000);
    expect(await canLogIn(imap, login(name))).toBe(false);
    await drop(name);
  });

  it('[R34] deleted with Retain keeps its mail, and comes back with it by spec.adopt; without it the address starts empty', async () => {
    const name = unique('kept');
    await apply(...mailboxObjects(name, { deletionPolicy: 'Retain' }));
    const uuid = String((await ready(name)).status?.uuid);
    const messageId = freshId();
    await send(smtp, { from: 'friend@outside.example', to: `${name}@${domain}`, text: 'keep me', messageId });
    await waitForMessage(imap, login(name), messageId);

    await remove(mailboxType, { namespace, name });
    await waitFor('the address to be refused', async () =>
      (await rcpt(`${name}@${domain}`)).startsWith('550') ? true : undefined,
    );
    expect(await canLogIn(imap, login(name))).toBe(false);

    await apply(...mailboxObjects(name));
    const empty = await ready(name);
    expect(empty.status?.conditions?.find((c) => c.type === 'Ready')?.message).toContain(uuid);
    await expect(waitForMessage(imap, login(name), messageId, 'INBOX', 2_000)).rejects.toThrow();
    await remove(mailboxType, { namespace, name });

    await apply(...mailboxObjects(name, { adopt: uuid }));
    expect((await ready(name)).status?.uuid).toBe(uuid);
    expect(await waitForMessage(imap, login(name), messageId)).toContain('keep me');
    await drop(name);
  });

  it('[R34] deleted with Delete loses its mail from the volume', async () => {
    const name = unique('shredded');
    await apply(...mailboxObjects(name, { deletionPolicy: 'Delete' }));
    const uuid = String((await ready(name)).status?.uuid);
    const messageId = freshId();
    await send(smtp, { from: 'friend@outside.example', to: `${name}@${domain}`, text: 'x', messageId });
    await waitForMessage(imap, login(name), messageId);
    const home = `/srv/mail/mailboxes/${uuid.slice(0, 2)}/${uuid}`;
    const exists = async () =>
      (await kubectl(['exec', '-n', namespace, `${systemName}-store-a-0`, '-c', 'dovecot', '--', 'test', '-d', home]))
        .code === 0;
    expect(await exists()).toBe(true);
    await drop(name);
    await waitFor('the data to be removed', async () => ((await exists()) ? undefined : true), 170_000);
  });

  it('[R34] that changes its address keeps its mail and password', async () => {
    const name = unique('renamed');
    await apply(...mailboxObjects(name));
    await ready(name);
    const messageId = freshId();
    await send(smtp, { from: 'friend@outside.example', to: `${name}@${domain}`, text: 'x', messageId });
    await waitForMessage(imap, login(name), messageId);
    await apply(...mailboxObjects(name, { address: `${name}-new@${domain}` }));
    await ready(name);
    await waitForMessage(imap, { user: `${name}-new@${domain}`, pass: password(name) }, messageId);
    await refusedSoon(`${name}@${domain}`);
    await drop(name);
  });
});

describe('bad input', () => {
  it('[R34] is refused by the API server where it can be said there', async () => {
    const bad = async (spec: Record<string, unknown>) =>
      (await kubectl(['apply', '-f', '-'], JSON.stringify(mailboxObjects(unique('bad'), spec)[1]))).stderr;
    expect(await bad({ quota: 'ten gigabytes' })).toMatch(/spec\.quota.*must be a size such as/s);
    expect(await bad({ address: 'not-an-address' })).toMatch(/spec\.address.*must be an address/s);
    expect(await bad({ adopt: 'yes' })).toMatch(/spec\.adopt.*UUID/s);
    const name = unique('bad');
    expect(await bad({ address: `${name}@${domain}`, aliases: [`${name.toUpperCase()}@${domain}`] })).toMatch(
      /must not contain the main address/,
    );
  });

  it('[R34] an unknown domain is told by a condition, and mended by making the MailDomain', async () => {
    const name = unique('homeless');
    const other = `${name}.example`;
    await apply(...mailboxObjects(name, { address: `x@${other}` }));
    expect((await refused(name, 'DomainNotFound')).status?.conditions?.[0]?.message).toContain(other);
    await apply({ apiVersion: 'posthorn.dev/v1alpha1', kind: 'MailDomain', metadata: { name: other, namespace } });
    await ready(name);
    await drop(name);
    await remove(mailDomainType, { namespace, name: other });
  });

  it('[R34] of two claims to an address the older object has it, and the other says so; when it is free the other gets it', async () => {
    const [older, younger] = [unique('older'), unique('younger')];
    const contested = `${unique('contested')}@${domain}`;
    await apply(...mailboxObjects(older, { aliases: [contested] }));
    await ready(older);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await apply(...mailboxObjects(younger, { address: contested }));
    expect((await refused(younger, 'AddressConflict')).status?.conditions?.[0]?.message).toContain(older);
    await apply(...mailboxObjects(older, { aliases: [] }));
    await ready(younger);
    // The older one asks for it again, and gets it back.
    await apply(...mailboxObjects(older, { aliases: [contested] }));
    await ready(older);
    await refused(younger, 'AddressConflict');
    const messageId = freshId();
    await send(smtp, { from: 'friend@outside.example', to: contested, text: 'x', messageId });
    await waitForMessage(imap, login(older), messageId);
    await drop(older, younger);
  });

  it('[R34] a missing or empty password Secret is told, and the password before it stays in effect', async () => {
    const name = unique('secretless');
    await apply(mailboxObjects(name)[1] as KubeObject);
    await refused(name, 'SecretNotFound');
    expect(await rcpt(`${name}@${domain}`)).toMatch(/^250/);
    await apply(mailboxObjects(name)[0] as KubeObject);
    await ready(name);
    expect(await canLogIn(imap, login(name))).toBe(true);
    await kubectlOk([
      'patch',
      'secret',
      '-n',
      namespace,
      `${name}-password`,
      '--type=json',
      '-p',
      '[{"op":"remove","path":"/data/password"}]',
    ]);
    await refused(name, 'KeyNotFound');
    expect(await canLogIn(imap, login(name))).toBe(true);
    await apply(...mailboxObjects(name, {}, ''));
    await refused(name, 'InvalidPassword');
    expect(await canLogIn(imap, login(name))).toBe(true);
    await drop(name);
  });

  it('[R34] a MailDomain that Mailboxes use stays and says why, mail goes on, and it goes when they are gone', async () => {
    const name = unique('leaving');
    const other = `${name}.example`;
    await apply({ apiVersion: 'posthorn.dev/v1alpha1', kind: 'MailDomain', metadata: { name: other, namespace } });
    await apply(...mailboxObjects(name, { address: `x@${other}` }));
    await ready(name);
    await kube().delete(mailDomainType, { namespace, name: other });
    const { status } = await waitForCondition(
      mailDomainType,
      { namespace, name: other },
      { type: 'Deleting', status: 'False', reason: 'InUse' },
    );
    expect(status?.conditions?.find((c) => c.type === 'Deleting')?.message).toContain('1 Mailboxes');
    const messageId = freshId();
    await send(smtp, { from: 'friend@outside.example', to: `x@${other}`, text: 'x', messageId });
    await waitForMessage(imap, { user: `x@${other}`, pass: password(name) }, messageId);
    await drop(name);
    await waitFor(
      'the domain to go',
      async () => ((await kube().find(mailDomainType, { namespace, name: other })) === undefined ? true : undefined),
      90_000,
    );
    await refusedSoon(`x@${other}`);
  });

  it('[R34] a MailSystem with data in it stays and says why', async () => {
    const system = unique('second');
    const other = `${system}.example`;
    const ns = `e2e-${system}`;
    await kubectlOk(['create', 'namespace', ns]);
    const at = (kind: string, name: string, spec: object): KubeObject =>
      ({ apiVersion: 'posthorn.dev/v1alpha1', kind, metadata: { name, namespace: ns }, spec }) as KubeObject;
    await apply(
      at('MailSystem', system, {
        hostname: `mail.${other}`,
        database: { members: 1, size: '256Mi' },
        store: { size: '256Mi' },
        images: { tag: 'none' },
      }),
      at('MailDomain', other, {}),
      at('Mailbox', 'someone', { address: `someone@${other}` }),
    );
    await waitForCondition(mailDomainType, { namespace: ns, name: other }, { type: 'SystemReady' });
    await kube().delete(mailSystemType, { namespace: ns, name: system });
    const { status } = await waitForCondition(
      mailSystemType,
      { namespace: ns, name: system },
      { type: 'Deleting', status: 'False', reason: 'InUse' },
    );
    expect(status?.conditions?.find((c) => c.type === 'Deleting')?.message).toContain('1 MailDomains and 1 Mailboxes');
    const { items } = await kube().list(builtin.statefulSet, { namespace: ns });
    expect(items.length).toBeGreaterThan(0);
    await remove(mailboxType, { namespace: ns, name: 'someone' });
    await remove(mailDomainType, { namespace: ns, name: other });
    await waitFor(
      'the MailSystem to go',
      async () =>
        (await kube().find(mailSystemType, { namespace: ns, name: system })) === undefined ? true : undefined,
      90_000,
    );
    await kubectlOk(['delete', 'namespace', ns, '--wait=false']);
  });
});

describe('drift', () => {
  it('[R34] of a child is repaired', async () => {
    const service = { namespace, name: `${systemName}-mx` };
    await kube().patchMerge(
      builtin.service,
      service,
      { spec: { ports: [{ name: 'smtp', port: 2525, targetPort: 25 }] } },
      { fieldManager: 'vandal' },
    );
    await waitFor(
      'port 25 to be back',
      async () => {
        const live = await kube().get<KubeObject & { spec?: { ports?: { port: number }[] } }>(builtin.service, service);
        return live.spec?.ports?.some((port) => port.port === 25) ? true : undefined;
      },
      60_000,
    );
  });

  it('[R34] does not exist at rest: a restarted operator writes nothing', async () => {
    await waitForCondition(mailSystemType, { namespace, name: systemName }, {});
    const versions = async () => {
      const kinds = [
        mailSystemType,
        mailDomainType,
        mailboxType,
        builtin.statefulSet,
        builtin.deployment,
        builtin.configMap,
        builtin.service,
        builtin.networkPolicy,
      ];
      const lists = await Promise.all(kinds.map((type) => kube().list(type, { namespace, metadataOnly: true })));
      // Patroni keeps its own ConfigMaps, which change all the time.
      const ours = lists
        .flatMap((list) => list.items)
        .filter(
          (object) =>
            !/-postgres-(config|leader|failover|sync|failsafe)$/.test(object.metadata.name) ||
            object.metadata.labels?.['posthorn.dev/inventory'] !== undefined,
        );
      return ours.map((object) => `${object.kind} ${object.metadata.name} ${object.metadata.resourceVersion}`).sort();
    };
    const before = await versions();
    await kubectlOk(['rollout', 'restart', '-n', 'posthorn-system', 'deploy', 'posthorn']);
    await kubectlOk(['rollout', 'status', '-n', 'posthorn-system', 'deploy', 'posthorn', '--timeout=90s']);
    await new Promise((resolve) => setTimeout(resolve, 45_000));
    expect(await versions()).toEqual(before);
  });
});

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Directory, openDirectory } from '../directory/directory.js';
import { startPostgres, type TestPostgres } from '../directory/testing/postgres.js';
import { type Client, createClient } from '../runtime/client.js';
import { loadConnection } from '../runtime/kubeconfig.js';
import { builtin } from '../runtime/object.js';
import { type RunningApiServer, startApiServer } from '../runtime/testing/apiserver.js';
import { createNamespace, eventually, installCrds } from '../runtime/testing/shared.js';
import { memorySigningCache } from '../testing/memory.js';
import { type NameServer, startNameServer } from '../testing/nameserver.js';
import {
  CRDS,
  type Kubectl,
  kubectl,
  type StatusObject,
  startOperator,
  type TestOperator,
} from '../testing/operator.js';

// An API server of its own: this operator looks after every namespace.
let server: RunningApiServer;
let client: Client;
let postgres: TestPostgres;
let directory: Directory;
let dns: NameServer;
let operator: TestOperator;
let home: string;
let tenant: string;
let landlord: Kubectl;
let guest: Kubectl;
const signing = memorySigningCache();

beforeAll(async () => {
  [server, postgres, dns] = await Promise.all([startApiServer(), startPostgres(), startNameServer()]);
  client = createClient(loadConnection({ path: server.kubeconfigPath }));
  await installCrds(client, CRDS);
  [home, tenant] = await Promise.all([createNamespace(client, 'mail'), createNamespace(client, 'shop')]);
  directory = openDirectory({ host: '127.0.0.1', port: postgres.port });
  [landlord, guest] = [kubectl(client, home), kubectl(client, tenant)];
  await landlord.system('mail', { resolver: { forwarders: [`127.0.0.1@${dns.port}`] } });
  await landlord.domain('example.org');
  await start();
  await landlord.until('domain', 'example.org', 'Ready', 'True');
}, 90_000);
afterAll(async () => {
  await operator?.stop();
  await directory?.close();
  await Promise.all([postgres?.stop(), dns?.stop()]);
  client?.close();
  await server?.stop();
});

async function start(): Promise<void> {
  operator = await startOperator({ namespace: undefined, postgres, signing, server });
}

const hosted = async () => (await directory.listDomains()).map(({ domain }) => domain);
const messageOf = ({ status }: StatusObject, type: string): string =>
  status?.conditions?.find((c) => c.type === type)?.message ?? '';
const admit = (namespaces: string[]) => landlord.patch('system', 'mail', { spec: { tenants: { namespaces } } });

/** Enters the record that the status of a MailDomain asks for. */
async function prove(name: string, k = guest): Promise<void> {
  const { status } = await k.get('domain', name);
  const record = status?.records?.find((each) => each.name === `_posthorn-challenge.${name}`);
  dns.serve({ records: { [`_posthorn-challenge.${name} TXT`]: [JSON.parse(record?.value ?? '""')] } });
}

describe("a tenant's MailDomain", () => {
  it('is not hosted without the consent of the MailSystem', async () => {
    await guest.domain('shop.example', { systemNamespace: home });
    await guest.mailbox('ann', { address: 'ann@shop.example' });
    const object = await guest.until('domain', 'shop.example', 'Ready', 'False', 'TenantNotAdmitted');
    expect(messageOf(object, 'SystemReady')).toContain(`add ${tenant} to its spec.tenants.namespaces`);
    await guest.until('mailbox', 'ann', 'Ready', 'False', 'SystemNotFound');
    expect(dns.questions).toEqual([]);
  });

  it('is not hosted before the DNS shows whose it is, and tells what to enter', async () => {
    await admit([tenant]);
    const object = await guest.until('domain', 'shop.example', 'OwnershipVerified', 'False', 'RecordNotFound');
    expect(object.status?.records).toEqual([
      expect.objectContaining({ name: '_posthorn-challenge.shop.example', type: 'TXT' }),
    ]);
    dns.serve({ records: { '_posthorn-challenge.shop.example TXT': ['something else'] } });
    await guest.until('domain', 'shop.example', 'OwnershipVerified', 'False', 'RecordDiffers');
    expect(await hosted()).toEqual(['example.org']);
    await guest.until('mailbox', 'ann', 'Ready', 'False', 'SystemNotFound');
  });

  it('is hosted as soon as it does, with a key in its own namespace, and its Mailbox works', async () => {
    await prove('shop.example');
    const object = await guest.until('domain', 'shop.example', 'Ready', 'True');
    expect(object.status?.ownership?.verifiedAt).toMatch(/^20\d\d-/);
    expect(await hosted()).toEqual(['example.org', 'shop.example']);
    await guest.until('mailbox', 'ann', 'Ready', 'True');
    const key = await client.find(builtin.secret, { namespace: tenant, name: 'dkim-posthorn.shop.example' });
    expect(key).toBeDefined();
    expect(signing.content.selectors['shop.example']).toBe('posthorn');
    const names = object.status?.records?.map(({ name }) => name);
    expect(names).toContain('_posthorn-challenge.shop.example');
    expect(names).toContain('posthorn._domainkey.shop.example');
  });

  it('keeps the domain from others of the same MailSystem, and tells them nothing', async () => {
    // Ages are told apart by seconds.
    await sleep(1_100);
    await landlord.domain('rival', { domain: 'shop.example' });
    const rival = await landlord.until('domain', 'rival', 'Ready', 'False', 'DomainConflict');
    expect(messageOf(rival, 'SystemReady')).not.toContain(tenant);
    await landlord.delete('domain', 'rival');
    await landlord.untilGone('domain', 'rival');
    await guest.until('domain', 'shop.example', 'Ready', 'True');
  });

  it('takes no domain that is served already, however well it is proved', async () => {
    await guest.domain('example.org', { systemNamespace: home });
    await guest.until('domain', 'example.org', 'OwnershipVerified', 'False');
    await prove('example.org');
    await guest.until('domain', 'example.org', 'Ready', 'False', 'DomainConflict');
    await landlord.until('domain', 'example.org', 'Ready', 'True');
    await guest.delete('domain', 'example.org');
    await guest.untilGone('domain', 'example.org');
    expect((await directory.listDomains()).find(({ domain }) => domain === 'example.org')?.object.namespace).toBe(home);
  });

  it('stays hosted when the record is gone for a while, and a restart writes nothing', async () => {
    dns.serve({});
    await sleep(1_000);
    await operator.stop();
    await start();
    await eventually(() => expect(operator.calls('projectMailboxes')).toBeGreaterThan(0));
    await sleep(3_000);
    expect(operator.proxy.writes()).toEqual([]);
    await guest.until('domain', 'shop.example', 'OwnershipVerified', 'True', 'Verified');
  });
});

describe('across namespaces', () => {
  it('a forward needs the consent of the domain that it leads to', async () => {
    await landlord.rule('to-ann', { to: ['ann@shop.example', 'x@y.example'] });
    const refused = await landlord.until('rule', 'to-ann', 'Ready', 'False', 'ConsentMissing');
    expect(messageOf(refused, 'Accepted')).toContain('spec.acceptForwardsFrom of the MailDomain shop.example');
    expect(refused.status?.targets).toBe(1);
    await guest.patch('domain', 'shop.example', { spec: { acceptForwardsFrom: [home] } });
    await landlord.until('rule', 'to-ann', 'Ready', 'True');
    await guest.patch('domain', 'shop.example', { spec: { acceptForwardsFrom: [] } });
    const again = await landlord.until('rule', 'to-ann', 'Ready', 'False', 'ConsentMissing');
    expect(again.status?.targets).toBe(1);
  });

  it("a tenant's own rules work, and run no commands", async () => {
    await guest.rule('sales', { address: 'sales@shop.example', to: ['ann@shop.example'] });
    await guest.until('rule', 'sales', 'Ready', 'True');
    await guest.rule('run', {
      address: 'run@shop.example',
      to: ['ann@shop.example'],
      commands: [{ image: 'bot', command: ['/bot'] }],
    });
    await guest.until('rule', 'run', 'Ready', 'False', 'CommandNotAllowed');
  });

  it('nobody has an address in a domain of others, nor their mail', async () => {
    await landlord.rule('thief', { address: 'sales@shop.example', to: ['x@y.example'] });
    await landlord.until('rule', 'thief', 'Ready', 'False', 'DomainNotFound');
    await landlord.mailbox('thief', { aliases: ['thief@shop.example'] });
    await landlord.until('mailbox', 'thief', 'Ready', 'False', 'DomainNotFound');
    const ann = await guest.get('mailbox', 'ann');
    await guest.delete('mailbox', 'ann');
    await landlord.mailbox('adopter', { adopt: ann.status?.uuid });
    await landlord.until('mailbox', 'adopter', 'Ready', 'False', 'NotAdoptable');
    await guest.mailbox('ann-again', { address: 'ann@shop.example', adopt: ann.status?.uuid });
    await guest.until('mailbox', 'ann-again', 'Ready', 'True');
  });
});

describe('at the end', () => {
  it('what a tenant deletes while the operator is away is deleted in the directory', async () => {
    await operator.stop();
    await guest.delete('rule', 'sales');
    const { metadata } = await guest.mailbox('brief', { address: 'brief@shop.example' });
    await start();
    await guest.until('mailbox', 'brief', 'Ready', 'True');
    await operator.stop();
    await guest.delete('mailbox', 'brief');
    await start();
    await eventually(async () => {
      const forwards: string[] = [];
      for await (const page of directory.listForwards()) forwards.push(...page.map(({ object }) => object.name));
      expect(forwards).not.toContain('sales');
      const mailboxes: string[] = [];
      for await (const page of directory.listMailboxes()) mailboxes.push(...page.map(({ object }) => object.uid));
      expect(mailboxes).not.toContain(metadata.uid);
      expect(mailboxes.length).toBeGreaterThan(0);
    });
  });

  it('a MailSystem is not deleted from under its tenants', async () => {
    await landlord.delete('system', 'mail');
    const system = await landlord.until('system', 'mail', 'Deleting', 'False', 'InUse');
    expect(messageOf(system, 'Deleting')).toContain('2 MailDomains');
    await guest.until('domain', 'shop.example', 'Ready', 'True');
  });
});

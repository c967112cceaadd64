import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Directory, openDirectory } from './directory/directory.js';
import { startPostgres, type TestPostgres } from './directory/testing/postgres.js';
import type { Client } from './runtime/client.js';
import { builtin } from './runtime/object.js';
import { createNamespace, eventually, installCrds, sharedClient } from './runtime/testing/shared.js';
import { memorySigningCache } from './testing/memory.js';
import { CRDS, type Kubectl, kubectl, startOperator, type TestOperator } from './testing/operator.js';
import { mailboxType, mailDomainType } from './types.js';

let client: Client;
let namespace: string;
let postgres: TestPostgres;
let directory: Directory;
let operator: TestOperator;
let k: Kubectl;
const signing = memorySigningCache();

/** No write for so long is rest. */
const REST_MS = 4_000;

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, CRDS);
  namespace = await createNamespace(client, 'controllers');
  postgres = await startPostgres();
  directory = openDirectory({ host: '127.0.0.1', port: postgres.port });
  k = kubectl(client, namespace);
  await k.system('mail');
  await k.domain('example.org');
  await start();
  await k.until('domain', 'example.org', 'Ready', 'True');
});
afterAll(async () => {
  await operator?.stop();
  await directory?.close();
  await postgres?.stop();
  client?.close();
});

async function start(prepare?: Parameters<typeof startOperator>[0]['prepare']): Promise<void> {
  operator = await startOperator({ namespace, postgres, signing, ...(prepare ? { prepare } : {}) });
}

async function restart(between: () => Promise<unknown> = async () => undefined): Promise<void> {
  await operator.stop();
  await between();
  await start();
}

async function live(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const page of directory.listMailboxes()) for (const { uuid, object } of page) found.set(uuid, object.name);
  return found;
}

const login = async (address: string): Promise<string | null | undefined> =>
  (
    await postgres.query<{ password: string | null }>('posthorn', 'SELECT password FROM directory_v1.login($1)', [
      address,
    ])
  )[0]?.password;

const statusWrites = (name: string): number =>
  operator.proxy.writes().filter(({ path }) => path.includes(`/${name}/status`)).length;

async function untilRest(): Promise<void> {
  await eventually(async () => {
    const before = operator.proxy.writes().length;
    await sleep(REST_MS);
    expect(operator.proxy.writes().length).toBe(before);
  }, 40_000);
}

describe('a Mailbox', () => {
  it('is Ready when the directory has it, which is said in one write', async () => {
    await k.secret('ann', 'first');
    await k.mailbox('ann', { passwordSecretRef: { name: 'ann' } });
    const { status, metadata } = await k.until('mailbox', 'ann', 'Ready', 'True');
    expect(status?.uuid).toBe(metadata.uid);
    expect((await live()).get(metadata.uid ?? '')).toBe('ann');
    expect(await login('ann@example.org')).toMatch(/^\{ARGON2ID\}/);
    expect(statusWrites('ann')).toBe(1);
  });

  it('gets a new password when its Secret changes, and says nothing new about it', async () => {
    const before = await login('ann@example.org');
    await k.patch('secret', 'ann', { stringData: { password: 'second' } });
    await eventually(async () => expect(await login('ann@example.org')).not.toBe(before));
    expect(statusWrites('ann')).toBe(1);
  });

  it('waits for its Secret, and is Ready as soon as that appears', async () => {
    await k.mailbox('ben', { passwordSecretRef: { name: 'ben' } });
    await k.until('mailbox', 'ben', 'PasswordReady', 'False', 'SecretNotFound');
    expect([...(await live()).values()]).toContain('ben');
    await k.secret('ben', 'a password');
    await k.until('mailbox', 'ben', 'Ready', 'True');
    expect(await login('ben@example.org')).toMatch(/^\{ARGON2ID\}/);
  });

  it('that is made anew under its name is another one', async () => {
    const first = await k.mailbox('cora');
    await k.until('mailbox', 'cora', 'Ready', 'True');
    await k.delete('mailbox', 'cora');
    const second = await k.mailbox('cora');
    await eventually(async () => {
      const { status } = await k.until('mailbox', 'cora', 'Ready', 'True');
      expect(status?.uuid).toBe(second.metadata.uid);
      expect([...(await live()).keys()]).not.toContain(first.metadata.uid);
    });
  });

  it('that adopts mail gets its own password, also from the Secret that its predecessor had', async () => {
    await k.secret('dan', 'a password');
    const spec = { passwordSecretRef: { name: 'dan' } };
    const first = await k.mailbox('dan', spec);
    await k.until('mailbox', 'dan', 'Ready', 'True');
    await restart(async () => {
      await k.delete('mailbox', 'dan');
      await k.mailbox('dan-again', { ...spec, address: 'dan@example.org', adopt: first.metadata.uid });
    });
    await k.until('mailbox', 'dan-again', 'Ready', 'True');
    expect(await login('dan@example.org')).toMatch(/^\{ARGON2ID\}/);
  });
});

describe('two Mailboxes with one address', () => {
  it('the older has it, and the younger gets it when it is free', async () => {
    await k.mailbox('older', { address: 'shared@example.org' });
    await k.until('mailbox', 'older', 'Ready', 'True');
    await sleep(1_100);
    await k.mailbox('younger', { address: 'shared@example.org' });
    const { status } = await k.until('mailbox', 'younger', 'Ready', 'False', 'AddressConflict');
    expect(status?.detail).toContain('older');
    await k.delete('mailbox', 'older');
    await k.until('mailbox', 'younger', 'Ready', 'True');
  });

  it('the older has it also when the younger was seen first', async () => {
    await k.mailbox('elder', { address: 'late@example.org' }, { annotations: { 'posthorn.dev/paused': 'true' } });
    await sleep(1_100);
    await k.mailbox('junior', { address: 'late@example.org' });
    await k.until('mailbox', 'junior', 'Ready', 'True');
    await k.patch('mailbox', 'elder', { metadata: { annotations: { 'posthorn.dev/paused': null } } });
    await k.until('mailbox', 'elder', 'Ready', 'True');
    await k.until('mailbox', 'junior', 'Ready', 'False', 'AddressConflict');
  });
});

describe('a MailDomain', () => {
  it('stays until no Mailbox has an address in it', async () => {
    await k.domain('example.net');
    await k.mailbox('eve', { aliases: ['eve@example.net'] });
    await k.until('mailbox', 'eve', 'Ready', 'True');
    await k.delete('domain', 'example.net');
    await k.until('domain', 'example.net', 'Deleting', 'False', 'InUse');
    expect((await directory.listDomains()).map(({ domain }) => domain)).toContain('example.net');
    await k.patch('mailbox', 'eve', { spec: { aliases: [] } });
    await k.delete('mailbox', 'eve');
    await k.untilGone('domain', 'example.net');
    expect((await directory.listDomains()).map(({ domain }) => domain)).not.toContain('example.net');
    await eventually(() => expect(Object.keys(signing.content.selectors)).not.toContain('example.net'));
  });

  it('waits for the signing cache, and recovers', async () => {
    signing.fail(true);
    await k.domain('example.com');
    await k.until('domain', 'example.com', 'DKIMReady', 'False', 'SigningCacheUnavailable');
    expect((await directory.listDomains()).map(({ domain }) => domain)).not.toContain('example.com');
    signing.fail(false);
    await k.until('domain', 'example.com', 'Ready', 'True');
    expect(signing.content.selectors['example.com']).toBe('posthorn');
  });
});

describe('at rest and at restarts', () => {
  it('nothing is written at rest, nor by a full look at a system', async () => {
    await untilRest();
    const [writes, looks] = [operator.proxy.writes().length, operator.calls('migrate')];
    // A label of somebody else's: reason to look, not to write.
    const metadata = { labels: { team: 'post' } };
    await client.patchMerge(builtin.service, { namespace, name: 'mail-mx' }, { metadata }, { fieldManager: 'test' });
    await eventually(() => expect(operator.calls('migrate')).toBeGreaterThan(looks));
    await sleep(1_000);
    expect(operator.proxy.writes().length).toBe(writes);
  });

  it('events of children attach nothing anew; a changed spec does', async () => {
    const calls = () => [operator.calls('projectMailboxes'), operator.calls('listMailboxes')];
    const before = calls();
    const migrations = operator.calls('migrate');
    const labels = {
      'app.kubernetes.io/name': 'posthorn',
      'app.kubernetes.io/instance': 'mail',
      'app.kubernetes.io/component': 'redis',
    };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'mail-redis-0', namespace, labels } };
    await client.create(
      builtin.pod,
      { ...pod, spec: { containers: [{ name: 'redis', image: 'redis' }] } } as typeof pod,
      { fieldManager: 'test' },
    );
    for (let i = 0; i < 20; i += 1) {
      await client.patchMerge(
        builtin.pod,
        { namespace, name: 'mail-redis-0' },
        { metadata: { labels: { turn: String(i) } } },
        { fieldManager: 'test' },
      );
      await sleep(100);
    }
    await sleep(3_000);
    expect(calls()).toEqual(before);
    expect(operator.calls('migrate') - migrations).toBeLessThanOrEqual(1);

    await k.patch('system', 'mail', { spec: { postmaster: 'ann@example.org' } });
    await eventually(() => expect(operator.calls('projectMailboxes')).toBeGreaterThan(before[0] ?? 0));
  });

  it('a restart writes nothing', async () => {
    await untilRest();
    await restart();
    await eventually(() => expect(operator.calls('projectMailboxes')).toBeGreaterThan(0));
    await sleep(REST_MS);
    expect(operator.proxy.writes()).toEqual([]);
  });

  it('says nothing about MailDomains that it has not seen yet', async () => {
    await untilRest();
    await operator.stop();
    let holding = true;
    setTimeout(() => {
      holding = false;
    }, 2_500);
    await start((proxy) =>
      proxy.intercept(({ path }) => (holding && path.includes('/maildomains') ? { status: 503 } : undefined)),
    );
    await sleep(REST_MS);
    expect(operator.proxy.writes()).toEqual([]);
  });

  it('what was deleted while the operator was away is deleted in the directory', async () => {
    await k.domain('gone.example');
    const { metadata } = await k.mailbox('fay', { address: 'fay@gone.example' });
    await k.until('mailbox', 'fay', 'Ready', 'True');
    await restart(async () => {
      await k.delete('mailbox', 'fay');
      await client.patchMerge(
        mailDomainType,
        { namespace, name: 'gone.example' },
        { metadata: { finalizers: [] } },
        { fieldManager: 'test' },
      );
      await k.delete('domain', 'gone.example');
    });
    await eventually(async () => {
      expect([...(await live()).keys()]).not.toContain(metadata.uid);
      expect((await directory.listDomains()).map(({ domain }) => domain)).not.toContain('gone.example');
    });
  });

  it('a directory that was restored gets back what it lost, with passwords', async () => {
    const uid = (await k.get('mailbox', 'ann')).metadata.uid;
    await postgres.query('posthorn', 'DELETE FROM posthorn.addresses WHERE mailbox = $1', [uid]);
    await postgres.query('posthorn', 'DELETE FROM posthorn.mailboxes WHERE uuid = $1', [uid]);
    // A comparison is due after minutes; a restart makes one at once.
    await restart();
    await eventually(async () => expect(await login('ann@example.org')).toMatch(/^\{ARGON2ID\}/));
  });
});

describe('with an API server in trouble', () => {
  it('catches up when it has answered 500 and 409 for a while', async () => {
    let turn = 0;
    operator.proxy.intercept(({ method }) => {
      if (method === 'GET') return undefined;
      turn += 1;
      return { status: turn % 2 === 0 ? 500 : 409 };
    });
    await k.mailbox('gus');
    await sleep(2_000);
    expect(turn).toBeGreaterThan(1);
    operator.proxy.intercept(undefined);
    await k.until('mailbox', 'gus', 'Ready', 'True');
  });

  it('one Secret that can not be read keeps nobody else', async () => {
    await k.secret('hal', 'a password');
    operator.proxy.intercept(({ path }) => (path.endsWith('/secrets/hal') ? { status: 500 } : undefined));
    await Promise.all([k.mailbox('hal', { passwordSecretRef: { name: 'hal' } }), k.mailbox('ida')]);
    await k.until('mailbox', 'ida', 'Ready', 'True');
    operator.proxy.intercept(undefined);
    await k.until('mailbox', 'hal', 'Ready', 'True');
  });

  it('misses nothing when all connections are cut', async () => {
    operator.proxy.refuse(true);
    operator.proxy.cut();
    const { metadata } = await k.mailbox('jon');
    await k.delete('mailbox', 'ida');
    operator.proxy.refuse(false);
    await k.until('mailbox', 'jon', 'Ready', 'True');
    await eventually(async () => expect([...(await live()).values()]).not.toContain('ida'));
    expect((await live()).has(metadata.uid ?? '')).toBe(true);
  });
});

it('500 Mailboxes converge with one status write each', async () => {
  const names = Array.from({ length: 500 }, (_, i) => `many-${i}`);
  const before = operator.proxy.writes().length;
  await Promise.all(names.map((name) => k.mailbox(name)));
  await eventually(async () => {
    const { items } = await client.list<{ status?: { detail?: string } } & Awaited<ReturnType<Kubectl['get']>>>(
      mailboxType,
      { namespace },
    );
    const ready = items.filter(
      ({ metadata, status }) => metadata.name.startsWith('many-') && status?.uuid !== undefined,
    );
    expect(ready).toHaveLength(names.length);
  }, 40_000);
  await sleep(1_000);
  expect(operator.proxy.writes().length - before).toBe(names.length);
});

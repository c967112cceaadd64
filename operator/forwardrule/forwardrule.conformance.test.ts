import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Directory, openDirectory } from '../directory/directory.js';
import { startPostgres, type TestPostgres } from '../directory/testing/postgres.js';
import type { Client } from '../runtime/client.js';
import { createNamespace, eventually, installCrds, sharedClient } from '../runtime/testing/shared.js';
import {
  CRDS,
  type Kubectl,
  kubectl,
  type StatusObject,
  startOperator,
  type TestOperator,
} from '../testing/operator.js';
import { forwardRuleType } from '../types.js';

let client: Client;
let namespace: string;
let postgres: TestPostgres;
let directory: Directory;
let operator: TestOperator;
let k: Kubectl;

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, CRDS);
  namespace = await createNamespace(client, 'forwardrule');
  postgres = await startPostgres();
  directory = openDirectory({ host: '127.0.0.1', port: postgres.port });
  k = kubectl(client, namespace);
  await k.system('mail');
  await k.domain('example.org');
  operator = await startOperator({ namespace, postgres });
  await k.until('domain', 'example.org', 'Ready', 'True');
});
afterAll(async () => {
  await operator?.stop();
  await directory?.close();
  await postgres?.stop();
  client?.close();
});

async function restart(between: () => Promise<unknown> = async () => undefined): Promise<void> {
  await operator.stop();
  await between();
  operator = await startOperator({ namespace, postgres });
}

async function live(): Promise<string[]> {
  const found: string[] = [];
  for await (const page of directory.listForwards()) for (const { object } of page) found.push(object.name);
  return found.sort();
}

const row = async (name: string) =>
  (
    await postgres.query<{ address: string; targets: string[]; couriers: object[]; keep_copy: string | null }>(
      'posthorn',
      'SELECT address, targets, couriers, keep_copy FROM posthorn.forwards WHERE object_name = $1',
      [name],
    )
  )[0];

const statusWrites = (name: string): number =>
  operator.proxy.writes().filter(({ path }) => path.includes(`/forwardrules/${name}/status`)).length;

const messageOf = ({ status }: StatusObject, type = 'Accepted'): string =>
  status?.conditions?.find((c) => c.type === type)?.message ?? '';

async function untilRest(restMs = 3_000): Promise<void> {
  await eventually(async () => {
    const before = operator.proxy.writes().length;
    await sleep(restMs);
    expect(operator.proxy.writes().length).toBe(before);
  }, 40_000);
}

describe('a ForwardRule', () => {
  it('is Ready when the directory has it, which is said in one write', async () => {
    await k.rule('ariel', { to: ['ariel.f@gmail.example'] });
    const { status } = await k.until('rule', 'ariel', 'Ready', 'True');
    expect(status).toMatchObject({ targets: 1, detail: '1 target' });
    expect(await row('ariel')).toMatchObject({ address: 'ariel@example.org', targets: ['ariel.f@gmail.example'] });
    expect(statusWrites('ariel')).toBe(1);
  });

  it('that is made anew under its name is another one, and one that is gone is gone', async () => {
    await k.rule('cora', { to: ['x@y.example'] });
    await k.until('rule', 'cora', 'Ready', 'True');
    await k.delete('rule', 'cora');
    await k.rule('cora', { to: ['z@y.example'] });
    await k.until('rule', 'cora', 'Ready', 'True');
    await eventually(async () => expect(await row('cora')).toMatchObject({ targets: ['z@y.example'] }));
    await k.delete('rule', 'cora');
    await eventually(async () => expect(await live()).not.toContain('cora'));
  });

  it('waits for its domain, and for a target of ours', async () => {
    await k.rule('dora', { address: 'dora@later.example', to: ['box@example.org'] });
    await k.until('rule', 'dora', 'Ready', 'False', 'DomainNotFound');
    await k.domain('later.example');
    await k.until('rule', 'dora', 'Ready', 'False', 'TargetNotFound');
    expect(await live()).not.toContain('dora');
    await k.mailbox('box');
    await k.until('rule', 'dora', 'Ready', 'True');
    await k.delete('mailbox', 'box');
    await k.until('rule', 'dora', 'Ready', 'False', 'TargetNotFound');
    await eventually(async () => expect(await live()).not.toContain('dora'));
  });

  it('keeps its domain from being deleted', async () => {
    await k.domain('kept.example');
    await k.rule('kept', { address: '*@kept.example', to: ['x@y.example'] });
    await k.until('rule', 'kept', 'Ready', 'True');
    await k.delete('domain', 'kept.example');
    await k.until('domain', 'kept.example', 'Deleting', 'False', 'InUse');
    await k.delete('rule', 'kept');
    await k.untilGone('domain', 'kept.example');
  });

  it('says which webhook is not allowed, until the MailSystem allows its host', async () => {
    await k.rule('bot', { webhooks: [{ url: 'https://bot.bots.svc/mail' }, { url: 'https://bots.example.net/' }] });
    const refused = await k.until('rule', 'bot', 'Ready', 'False', 'WebhookNotAllowed');
    expect(refused.status?.targets).toBe(1);
    expect(messageOf(refused)).toContain('https://bot.bots.svc/mail leads into the cluster');
    await k.patch('system', 'mail', { spec: { webhooks: { allowHosts: ['bot.bots.svc'] } } });
    const { status } = await k.until('rule', 'bot', 'Ready', 'True');
    expect(status?.targets).toBe(2);
  });
});

describe('a Mailbox that comes to ask more of its senders', () => {
  it('gets no more mail by a rule that asks less, as target and as keeper of a copy, until the rule asks for it too', async () => {
    await k.mailbox('strict');
    await k.until('mailbox', 'strict', 'Ready', 'True');
    await k.rule('to-strict', { to: ['strict@example.org', 'x@y.example'] });
    await k.rule('copy-strict', { to: ['x@y.example'], keepCopy: { mailbox: 'strict' } });
    for (const name of ['to-strict', 'copy-strict']) await k.until('rule', name, 'Ready', 'True');
    const require = { dkimAlignedFrom: ['riseup.net'] };
    await k.patch('mailbox', 'strict', { spec: { require } });
    for (const name of ['to-strict', 'copy-strict']) {
      await k.until('rule', name, 'Accepted', 'False', 'RequirementMissing');
    }
    expect(await row('to-strict')).toMatchObject({ targets: ['x@y.example'] });
    expect(await row('copy-strict')).toMatchObject({ keep_copy: null });
    for (const name of ['to-strict', 'copy-strict']) {
      await k.patch('rule', name, { spec: { require } });
      await k.until('rule', name, 'Ready', 'True');
    }
    expect(await row('to-strict')).toMatchObject({ targets: ['strict@example.org', 'x@y.example'] });
    expect(await row('copy-strict')).toMatchObject({ keep_copy: 'strict' });
  });
});

describe('two claims to one address', () => {
  it('of rules: the older has it, and the younger when it is free', async () => {
    await k.rule('older', { address: 'shared@example.org', to: ['x@y.example'] });
    await k.until('rule', 'older', 'Ready', 'True');
    await sleep(1_100);
    await k.rule('younger', { address: 'shared@example.org', to: ['z@y.example'] });
    expect(messageOf(await k.until('rule', 'younger', 'Ready', 'False', 'AddressConflict'))).toContain('older');
    await k.delete('rule', 'older');
    await k.until('rule', 'younger', 'Ready', 'True');
  });

  it('of a rule and an older Mailbox: the rule says what to do, and forwards when keepCopy names the Mailbox', async () => {
    await k.mailbox('eve', { aliases: ['eva@example.org'] });
    await k.until('mailbox', 'eve', 'Ready', 'True');
    await sleep(1_100);
    await k.rule('eve-away', { address: 'eve@example.org', to: ['eve@y.example'] });
    await k.rule('eva-away', { address: 'eva@example.org', to: ['eve@y.example'] });
    const refused = await k.until('rule', 'eve-away', 'Ready', 'False', 'AddressConflict');
    expect(messageOf(refused)).toMatch(/main address of Mailbox .*\/eve: to forward its mail as well, .*keepCopy/);
    await k.until('rule', 'eva-away', 'Ready', 'False', 'AddressConflict');
    for (const name of ['eve-away', 'eva-away']) {
      await k.patch('rule', name, { spec: { keepCopy: { mailbox: 'eve' } } });
      await k.until('rule', name, 'Ready', 'True');
    }
    expect((await k.get('mailbox', 'eve')).status?.conditions?.[0]?.status).toBe('True');
    await k.patch('rule', 'eve-away', { spec: { keepCopy: null } });
    await k.until('rule', 'eve-away', 'Ready', 'False', 'AddressConflict');
  });

  it('of a Mailbox and an older rule: the Mailbox waits', async () => {
    await k.rule('fay-away', { address: 'fay@example.org', to: ['x@y.example'] });
    await k.until('rule', 'fay-away', 'Ready', 'True');
    await sleep(1_100);
    await k.mailbox('fay');
    await k.until('mailbox', 'fay', 'Ready', 'False', 'AddressConflict');
    await k.delete('rule', 'fay-away');
    await k.until('mailbox', 'fay', 'Ready', 'True');
  });

  it('says that the Mailbox in keepCopy or sendAs is missing, until it is there', async () => {
    await k.rule('gil', { address: 'gil-away@example.org', to: ['x@y.example'], sendAs: { mailbox: 'gil' } });
    await k.until('rule', 'gil', 'Ready', 'False', 'MailboxNotFound');
    expect(await live()).toContain('gil');
    await k.mailbox('gil');
    await k.until('rule', 'gil', 'Ready', 'True');
  });
});

describe('a loop', () => {
  it('is refused before it goes live: what was there stays, and the chain is named', async () => {
    await k.rule('a', { to: ['x@y.example'] });
    await k.until('rule', 'a', 'Ready', 'True');
    await k.rule('b', { to: ['c@example.org', 'b@y.example'] });
    await k.rule('c', { to: ['a@example.org'] });
    await k.until('rule', 'b', 'Ready', 'True');
    await k.patch('rule', 'a', { spec: { to: ['b@example.org'] } });
    const looped = await k.until('rule', 'a', 'Ready', 'False', 'LoopDetected');
    expect(messageOf(looped)).toContain('a@example.org → b@example.org → c@example.org → a@example.org');
    await k.until('rule', 'c', 'Ready', 'False', 'LoopDetected');
    expect(await row('a')).toMatchObject({ targets: ['x@y.example'] });
    expect(await row('c')).toMatchObject({ targets: ['a@example.org'] });
  });

  it('that is new does not exist, and is gone when one of its rules is mended', async () => {
    await k.patch('rule', 'b', { spec: { to: ['b@y.example'] } });
    for (const name of ['a', 'b', 'c']) await k.until('rule', name, 'Ready', 'True');
    expect(await row('a')).toMatchObject({ targets: ['b@example.org'] });
    await k.rule('d', { to: ['d+again@example.org'] });
    await k.until('rule', 'd', 'Ready', 'False', 'LoopDetected');
    expect(await live()).not.toContain('d');
  });

  it('is found by a catch-all that comes later', async () => {
    await k.rule('e', { to: ['nobody@example.org'] });
    await k.until('rule', 'e', 'Ready', 'False', 'TargetNotFound');
    await k.rule('all', { address: '*@example.org', to: ['e@example.org'] });
    await k.until('rule', 'all', 'Ready', 'False', 'LoopDetected');
    await k.until('rule', 'e', 'Ready', 'False', 'LoopDetected');
    await k.delete('rule', 'all');
    await k.until('rule', 'e', 'Ready', 'False', 'TargetNotFound');
  });

  it('that comes about because a Mailbox is gone loses the target that leads back, and keeps the others', async () => {
    await k.mailbox('end');
    await k.rule('rest', { address: '*@example.org', to: ['end@example.org', 'x@y.example'] });
    await k.until('rule', 'rest', 'Ready', 'True');
    await k.delete('mailbox', 'end');
    const { status } = await k.until('rule', 'rest', 'Ready', 'False', 'LoopDetected');
    expect(status?.targets).toBe(1);
    expect(await row('rest')).toMatchObject({ targets: ['x@y.example'] });
    await k.delete('rule', 'rest');
    await k.until('rule', 'e', 'Ready', 'False', 'TargetNotFound');
  });
});

describe('at rest and at restarts', () => {
  it('nothing is written at rest, nor by a restart', async () => {
    await untilRest();
    await restart();
    await eventually(() => expect(operator.calls('projectForwards')).toBeGreaterThan(0));
    await sleep(4_000);
    expect(operator.proxy.writes()).toEqual([]);
  });

  it('what was deleted while the operator was away is gone, and what was lost comes back', async () => {
    await restart(async () => {
      await k.delete('rule', 'ariel');
      await postgres.query(
        'posthorn',
        "SELECT posthorn.remove_forwards(array_agg(uid)) FROM posthorn.forwards WHERE object_name = 'bot'",
      );
    });
    await eventually(async () => {
      expect(await live()).not.toContain('ariel');
      expect(await live()).toContain('bot');
    });
  });
});

it('2,000 ForwardRules converge with one status write each', async () => {
  await k.rule('hub', { to: ['hub@y.example'] });
  await k.until('rule', 'hub', 'Ready', 'True');
  await untilRest();
  const names = Array.from({ length: 2_000 }, (_, i) => `many-${i}`);
  const before = operator.proxy.writes().length;
  for (let n = 0; n < names.length; n += 50) {
    await Promise.all(
      names.slice(n, n + 50).map((name) => k.rule(name, { to: [`${name}@y.example`, 'hub@example.org'] })),
    );
  }
  await eventually(async () => {
    const { items } = await client.list<StatusObject>(forwardRuleType, { namespace });
    const ready = items.filter(({ metadata, status }) => metadata.name.startsWith('many-') && status?.targets === 2);
    expect(ready).toHaveLength(names.length);
  }, 120_000);
  await sleep(1_500);
  expect(operator.proxy.writes().length - before).toBe(names.length);
}, 180_000);

import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { API_VERSION, GROUP, KINDS, type KindName, VERSION } from '../../crds/group.js';
import type { Client } from '../../operator/runtime/client.js';
import type { KubeObject } from '../../operator/runtime/object.js';
import { kubeProgram } from '../../operator/runtime/testing/apiserver.js';
import { createNamespace, installCrds, sharedApiServer, sharedClient } from '../../operator/runtime/testing/shared.js';

type Spec = Record<string, unknown> | undefined;

const ADDRESS_MESSAGE =
  "must be an address such as mallory@example.org: before the @ letters, digits and _ ' & ~ - with single dots between, after it a domain";
const SIZE_MESSAGE = 'must be a size such as 500Mi, 10Gi or 1.5Ti (Ki, Mi, Gi, Ti, Pi or k, M, G, T, P)';
const DOMAIN_MESSAGE =
  'must be a domain with at least two labels of letters, digits and inner hyphens, such as example.org';

let client: Client;
let namespace: string;
let objects = 0;

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, join(import.meta.dirname, '../../crds/generated'));
  namespace = await createNamespace(client, 'crds');
});

afterAll(() => client.close());

describe('Mailbox', () => {
  const address = 'mallory@example.org';

  it.each<[string, Spec]>([
    ['only an address', { address }],
    ['an internationalised domain', { address: 'mallory@bücher.example', aliases: ['Mallory@xn--bcher-kva.example'] }],
    ['64 aliases', { address, aliases: Array.from({ length: 64 }, (_, n) => `a${n}@example.org`) }],
    [
      'everything',
      {
        address,
        aliases: ["o'brien@example.org"],
        quota: '1.5Gi',
        passwordSecretRef: { name: 'm', key: 'a_b.c-d' },
        deletionPolicy: 'Delete',
        adopt: '6f2c1f0e-2f4b-4a3e-9d0c-0b8f6a1d2c3e',
      },
    ],
  ])('is accepted with %s', async (_, spec) => {
    expect(await refusal('Mailbox', spec)).toBeUndefined();
  });

  it.each<[string, Spec, string]>([
    ['without an address', {}, 'spec.address: Required value'],
    [
      'with an address without a domain',
      { address: 'mallory' },
      `spec.address: Invalid value: "mallory": ${ADDRESS_MESSAGE}`,
    ],
    [
      'with a detail',
      { address: 'm+x@example.org' },
      `spec.address: Invalid value: "m+x@example.org": ${ADDRESS_MESSAGE}`,
    ],
    [
      'with a local part that is too long',
      { address: `${'a'.repeat(65)}@example.org` },
      'must have at most 64 characters before the @',
    ],
    ['with a bad alias', { address, aliases: ['a@b'] }, `spec.aliases[0]: Invalid value: "a@b": ${ADDRESS_MESSAGE}`],
    [
      'with an alias twice',
      { address, aliases: ['d@example.org', 'd@example.org'] },
      'spec.aliases[1]: Duplicate value: "d@example.org"',
    ],
    [
      'with its address as an alias',
      { address, aliases: ['MALLORY@example.org'] },
      'spec.aliases: Invalid value: must not contain the main address: remove it from aliases',
    ],
    [
      'with 65 aliases',
      { address, aliases: Array.from({ length: 65 }, (_, n) => `a${n}@example.org`) },
      'spec.aliases: Too many: 65: must have at most 64 items',
    ],
    ['with a malformed quota', { address, quota: '10 GB' }, `spec.quota: Invalid value: "10 GB": ${SIZE_MESSAGE}`],
    ['with a tiny quota', { address, quota: '10' }, 'spec.quota: Invalid value: "10": must be from 1Mi to 1Pi'],
    [
      'with an unknown policy',
      { address, deletionPolicy: 'Keep' },
      'spec.deletionPolicy: Unsupported value: "Keep": supported values: "Retain", "Delete"',
    ],
    [
      'with a malformed UUID',
      { address, adopt: 'ABC' },
      'spec.adopt: Invalid value: "ABC": must be a UUID in lower case, as in status.uuid of the Mailbox that had the mail',
    ],
    [
      'with a malformed Secret name',
      { address, passwordSecretRef: { name: 'A_b' } },
      'spec.passwordSecretRef.name: Invalid value: "A_b": must be the name of an object: lower-case letters, digits, "-" and "."',
    ],
  ])('is refused %s', async (_, spec, message) => {
    expect(await refusal('Mailbox', spec)).toContain(message);
  });

  const uuid = '6f2c1f0e-2f4b-4a3e-9d0c-0b8f6a1d2c3e';
  const fixed = 'spec.adopt: Invalid value: is fixed at creation: ';

  it.each<[string, Spec, Spec, string | undefined]>([
    ['its address', { address }, { address: 'other@example.org' }, undefined],
    ['its aliases', { address, aliases: ['a@example.org'] }, { address, aliases: ['b@example.org'] }, undefined],
    ['adopt to another', { address, adopt: uuid }, { address, adopt: uuid.replace('6', '7') }, fixed],
    ['adopt to nothing', { address, adopt: uuid }, { address }, fixed],
    ['adopt from nothing', { address }, { address, adopt: uuid }, fixed],
  ])('may change %s or says why not', async (_, before, after, message) => {
    expectMessage(await refusedChange('Mailbox', before, after), message);
  });
});

describe('MailDomain', () => {
  it.each<[string, Spec, string | undefined]>([
    ['example.org', undefined, undefined],
    ['xn--bcher-kva.example', {}, undefined],
    ['b', { domain: 'bücher.example' }, undefined],
    [
      'b',
      undefined,
      `spec.domain: Invalid value: without it the object's name is the domain, and that ${DOMAIN_MESSAGE}: set spec.domain, or rename the object`,
    ],
    ['courier.invalid', undefined, 'spec.domain: Invalid value: is below .invalid'],
    ['b', { domain: 'Forward.Invalid' }, 'spec.domain: Invalid value: is below .invalid'],
    ['192.0.2.1', undefined, `spec.domain: Invalid value: without it the object's name is the domain`],
    ['b', { domain: 'a_b.example' }, `spec.domain: Invalid value: "a_b.example": ${DOMAIN_MESSAGE}`],
    [
      'b',
      { domain: 'b.example', dkim: { selector: 'A' } },
      'spec.dkim.selector: Invalid value: "A": must be a DNS label',
    ],
    [
      'b',
      { domain: 'b.example', dkim: { algorithm: 'rsa-1024' } },
      'spec.dkim.algorithm: Unsupported value: "rsa-1024"',
    ],
  ])('called %s with spec %j is accepted, or refused with a message', async (name, spec, message) => {
    expectMessage(await refusal('MailDomain', spec, name), message);
  });

  const domain = 'a.example';
  it.each<[string, Spec, Spec, string | undefined]>([
    [
      'its domain',
      { domain },
      { domain: 'b.example' },
      'spec.domain: Invalid value: the domain of a MailDomain is fixed: create another MailDomain for another domain',
    ],
    ['a missing system', { domain }, { domain, system: 'mail' }, undefined],
    [
      'its system',
      { domain, system: 'mail' },
      { domain, system: 'other' },
      'spec.system: Invalid value: a domain stays with its MailSystem',
    ],
    [
      'its system to nothing',
      { domain, system: 'mail' },
      { domain },
      'spec.system: Invalid value: a domain stays with its MailSystem',
    ],
    ['algorithm and selector', { domain }, { domain, dkim: { algorithm: 'ed25519', selector: 's' } }, undefined],
    [
      'algorithm alone',
      { domain },
      { domain, dkim: { algorithm: 'ed25519' } },
      'spec.dkim.algorithm: Invalid value: needs another dkim.selector when it changes',
    ],
    ['selector alone', { domain, dkim: { selector: 'a' } }, { domain, dkim: { selector: 'b' } }, undefined],
  ])('may change %s or says why not', async (_, before, after, message) => {
    expectMessage(await refusedChange('MailDomain', before, after), message);
  });

  it('keeps the name as its domain', async () => {
    const name = 'kept.example';
    expect(await refusedChange('MailDomain', undefined, { domain: name }, name)).toBeUndefined();
    expect(await refusedChange('MailDomain', undefined, { domain: 'other.example' }, 'kept2.example')).toContain(
      'is fixed',
    );
  });
});

describe('MailDomain for tenants, filter and forwards', () => {
  const domain = 'a.example';

  it.each<[string, Spec]>([
    ['another namespace', { domain, systemNamespace: 'mail', system: 'mail' }],
    ['a filter of its own', { domain, filter: { rejectAbove: 12.5, tagAbove: 5, dmarc: 'Enforce' } }],
    ['lists', { domain, filter: { allow: ['news@example.net', 'bücher.example'], deny: ['example.com'] } }],
    ['consent', { domain, acceptForwardsFrom: ['shop', '*'] }],
    ['limits', { domain, sending: { hour: 1000 } }],
  ])('is accepted with %s', async (_, spec) => {
    expect(await refusal('MailDomain', spec)).toBeUndefined();
  });

  it.each<[string, Spec, string]>([
    [
      'thresholds in the wrong order',
      { domain, filter: { rejectAbove: 5, quarantineAbove: 8 } },
      'spec.filter.rejectAbove: Invalid value: must not be below tagAbove, quarantineAbove or greylistAbove',
    ],
    [
      'a sender that is none',
      { domain, filter: { deny: ['@example.com'] } },
      'spec.filter.deny[0]: Invalid value: "@example.com": must be an address such as news@example.net, or a domain',
    ],
    ['an unknown word', { domain, filter: { spf: 'Reject' } }, 'spec.filter.spf: Unsupported value: "Reject"'],
    [
      'a namespace that is none',
      { domain, acceptForwardsFrom: ['Shop'] },
      'spec.acceptForwardsFrom[0]: Invalid value: "Shop": must be the name of a namespace, or * for all',
    ],
  ])('is refused with %s', async (_, spec, message) => {
    expect(await refusal('MailDomain', spec)).toContain(message);
  });

  it('stays in the namespace of its MailSystem', async () => {
    const fixed = 'spec.systemNamespace: Invalid value: a domain stays with its MailSystem';
    for (const [before, after] of [
      [{ domain }, { domain, systemNamespace: 'mail' }],
      [{ domain, systemNamespace: 'mail' }, { domain }],
      [
        { domain, systemNamespace: 'mail' },
        { domain, systemNamespace: 'lab' },
      ],
    ]) {
      expect(await refusedChange('MailDomain', before, after)).toContain(fixed);
    }
  });
});

describe('ForwardRule', () => {
  const address = 'ariel@example.org';
  const to = ['ariel.fundraiser@gmail.example'];

  it.each<[string, Spec]>([
    ['an address and a target', { address, to }],
    ['a catch-all', { address: '*@bücher.example', to }],
    ['targets as others write them', { address, to: ["o'x+tag=y/z@example.net", 'A_B@xn--bcher-kva.example'] }],
    ['a webhook only', { address, webhooks: [{ url: 'https://bots.example.org:8443/mail?x=y' }] }],
    ['a command only', { address, commands: [{ image: 'r.example/bot@sha256:ab', command: ['/bot', '-x'] }] }],
    [
      'everything',
      {
        address,
        to: Array.from({ length: 64 }, (_, n) => `t${n}@example.net`),
        webhooks: [{ url: 'http://bot.bots.svc', secretRef: { name: 'bot', key: 'k' }, timeoutSeconds: 300 }],
        commands: [{ image: 'bot', command: ['/bot'], args: ['"'], secretRef: { name: 'bot' }, timeoutSeconds: 3600 }],
        keepCopy: { mailbox: 'ariel' },
        sendAs: { mailbox: 'ariel' },
        require: { dkimAlignedFrom: ['gmail.com'], otherwise: 'Tag' },
      },
    ],
  ])('is accepted with %s', async (_, spec) => {
    expect(await refusal('ForwardRule', spec)).toBeUndefined();
  });

  const noTarget = 'spec.to: Invalid value: needs a target: an address in to, or a webhook or a command';

  it.each<[string, Spec, string]>([
    ['without an address', { to }, 'spec.address: Required value'],
    ['without a target', { address }, noTarget],
    ['with empty lists only', { address, to: [], webhooks: [] }, noTarget],
    ['with a copy only', { address, keepCopy: { mailbox: 'ariel' } }, noTarget],
    [
      'with an address that is none',
      { address: '@example.org', to },
      'spec.address: Invalid value: "@example.org": must be an address such as ariel@example.org, or *@example.org',
    ],
    ['with a star in the middle', { address: 'a*@example.org', to }, 'spec.address: Invalid value: "a*@example.org"'],
    ['with a detail', { address: 'a+b@example.org', to }, 'spec.address: Invalid value: "a+b@example.org"'],
    [
      'with a target that does not parse',
      { address, to: ['Ariel <ariel@gmail.example>'] },
      'spec.to[0]: Invalid value: "Ariel <ariel@gmail.example>": must be an address such as ariel.fundraiser@gmail.example',
    ],
    ['with a route', { address, to: ['a%b@gmail.example'] }, 'spec.to[0]: Invalid value: "a%b@gmail.example"'],
    ['with a pipe', { address, to: ['|/bin/sh'] }, 'spec.to[0]: Invalid value: "|/bin/sh"'],
    ['with two targets in one', { address, to: ['a@b.example,c@d.example'] }, 'spec.to[0]: Invalid value'],
    ['with an address of our own servers', { address, to: ['x.0@courier.INVALID'] }, 'must be in a domain that exists'],
    ['with a name of the host itself', { address, to: ['x@mx.localhost'] }, 'must be in a domain that exists'],
    ['with an IP address', { address, to: ['x@10.0.0.1'] }, 'spec.to[0]: Invalid value: "x@10.0.0.1"'],
    ['with an address literal', { address, to: ['x@[10.0.0.1]'] }, 'spec.to[0]: Invalid value: "x@[10.0.0.1]"'],
    ['with a target twice', { address, to: [...to, ...to] }, 'spec.to[1]: Duplicate value'],
    [
      'with itself as a target',
      { address, to: ['ARIEL@example.org'] },
      'spec.to: Invalid value: must not contain the address itself: to keep a copy, name a Mailbox in keepCopy',
    ],
    [
      'with sendAs for a catch-all',
      { address: '*@example.org', to, sendAs: { mailbox: 'a' } },
      'spec.sendAs: Invalid value: is not possible for a catch-all',
    ],
    [
      'with a URL with a password',
      { address, webhooks: [{ url: 'https://u:p@bots.example.org/' }] },
      'must be a URL such as https://bots.example.org/mail, without a user name or a fragment',
    ],
    ['with another scheme', { address, webhooks: [{ url: 'file:///etc/passwd' }] }, 'must be a URL such as'],
    [
      'with a command without a program',
      { address, commands: [{ image: 'bot' }] },
      'spec.commands[0].command: Required',
    ],
    [
      'with a program that is empty',
      { address, commands: [{ image: 'bot', command: [] }] },
      'spec.commands[0].command in body should have at least 1 items',
    ],
    [
      'with a webhook that waits for hours',
      { address, webhooks: [{ url: 'https://b.example', timeoutSeconds: 7200 }] },
      'should be less than or equal to 300',
    ],
    [
      'with required authentication of nobody',
      { address, to, require: { dkimAlignedFrom: [] } },
      'spec.require.dkimAlignedFrom in body should have at least 1 items',
    ],
  ])('is refused %s', async (_, spec, message) => {
    expect(await refusal('ForwardRule', spec)).toContain(message);
  });

  it('may change in every way', async () => {
    const after = { address: 'other@example.org', webhooks: [{ url: 'https://bots.example.org' }] };
    expect(await refusedChange('ForwardRule', { address, to }, after)).toBeUndefined();
  });
});

describe('MailSystem', () => {
  const hostname = 'mail.example.org';

  it.each<[string, Spec]>([
    ['only a hostname', { hostname }],
    [
      'a resolver of its own',
      {
        hostname,
        resolver: {
          forwarders: ['192.0.2.53', '192.0.2.53@5353', '2001:db8::53', '::1@53'],
          rootServers: [{ name: 'a.root-servers.net.', address: '198.41.0.4' }],
          trustAnchors: [
            '. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D',
            'test. 3600 IN DNSKEY 257 3 13 bWFsbG9yeQ==',
          ],
        },
      },
    ],
    [
      'shards of three copies and a word about them',
      {
        hostname,
        store: { durability: 'Replicated', withoutReplica: 'Defer', shards: [{ name: 'a', replicas: 3 }] },
      },
    ],
    ['deliveries that wait for the primary only', { hostname, store: { durability: 'Primary' } }],
    ['scores with fractions', { hostname, filter: { rejectAbove: 12.5, tagAbove: 6, greylistAbove: 0 } }],
  ])('is accepted with %s', async (_, spec) => {
    expect(await refusal('MailSystem', spec)).toBeUndefined();
  });

  it.each<[string, Spec, string]>([
    ['without a hostname', {}, 'spec.hostname: Required value'],
    ['without a spec', undefined, 'spec: Required value'],
    [
      'with a hostname of one label',
      { hostname: 'localhost' },
      `spec.hostname: Invalid value: "localhost": ${DOMAIN_MESSAGE}`,
    ],
    [
      'with two database members',
      { hostname, database: { members: 2 } },
      'spec.database.members: Unsupported value: 2: supported values: "1", "3"',
    ],
    [
      'with no mx',
      { hostname, mx: { replicas: 0 } },
      'spec.mx.replicas: Invalid value: 0: spec.mx.replicas in body should be greater than or equal to 1',
    ],
    [
      'with two shards of a name',
      { hostname, store: { shards: [{ name: 'a' }, { name: 'a' }] } },
      'spec.store.shards[1]: Duplicate value: {"name":"a"}',
    ],
    [
      'with no shard',
      { hostname, store: { shards: [] } },
      'spec.store.shards: Invalid value: 0: spec.store.shards in body should have at least 1 items',
    ],
    [
      'with four copies of a shard',
      { hostname, store: { shards: [{ name: 'a', replicas: 4 }] } },
      'should be less than or equal to 3',
    ],
    [
      'with mail kept on two copies of a shard that has one',
      { hostname, store: { durability: 'Replicated', shards: [{ name: 'a', replicas: 2 }, { name: 'b' }] } },
      'spec.store.durability: Invalid value: must not be Replicated while a shard has one copy only',
    ],
    [
      'with mail kept on two copies, and nothing said about shards',
      { hostname, store: { durability: 'Replicated' } },
      'spec.store.durability: Invalid value: must not be Replicated while a shard has one copy only',
    ],
    [
      'with scores in the wrong order',
      { hostname, filter: { greylistAbove: 20 } },
      'spec.filter.rejectAbove: Invalid value: rejectAbove (unset means 15) must not be below tagAbove (6) or greylistAbove (4)',
    ],
    [
      'with lines of its own for unbound',
      { hostname, resolver: { forwarders: ['192.0.2.1\ninclude: /etc/passwd'] } },
      'must be an IP address, with @PORT behind it if the port is not 53',
    ],
    [
      'with a broken trust anchor',
      { hostname, resolver: { trustAnchors: ['. IN TXT "x"'] } },
      'must be a DS or DNSKEY record as in a zone file, on one line',
    ],
    [
      'with a message size that is no size',
      { hostname, limits: { messageSize: 'big' } },
      `spec.limits.messageSize: Invalid value: "big": ${SIZE_MESSAGE}`,
    ],
    [
      'with a tiny volume',
      { hostname, store: { size: '1Mi' } },
      'spec.store.size: Invalid value: "1Mi": must be from 64Mi to 1Pi',
    ],
  ])('is refused %s', async (_, spec, message) => {
    expect(await refusal('MailSystem', spec)).toContain(message);
  });

  const shards = (...names: string[]) => ({ hostname, store: { shards: names.map((name) => ({ name })) } });
  const copies = (replicas: number) => ({ hostname, store: { shards: [{ name: 'b', replicas }] } });
  const removed =
    "spec.store.shards: Invalid value: a shard can't be removed, because it holds mailboxes (unset means one shard named a)";
  const shrunk = 'volumes can grow but not shrink: give at least the present size';

  it.each<[string, Spec, Spec, string | undefined]>([
    ['its hostname', { hostname }, { hostname: 'mx.example.org' }, undefined],
    ['a default size to a larger one', { hostname }, { hostname, store: { size: '21Gi' } }, undefined],
    [
      'a default size to a smaller one',
      { hostname },
      { hostname, store: { size: '20480M' } },
      `spec.store.size: Invalid value: ${shrunk} (unset means 20Gi)`,
    ],
    [
      'a larger size to the default',
      { hostname, queue: { size: '3Gi' } },
      { hostname },
      `spec.queue.size: Invalid value: ${shrunk} (unset means 2Gi)`,
    ],
    [
      'a size to the same in another unit',
      { hostname, redis: { size: '2Gi' } },
      { hostname, redis: { size: '2048Mi' } },
      undefined,
    ],
    [
      'a class of volumes',
      { hostname },
      { hostname, database: { storageClassName: 'x' } },
      "spec.database.storageClassName: Invalid value: can't be changed: the volumes exist already",
    ],
    ['one shard to two', { hostname }, shards('a', 'b'), undefined],
    ['the default shard to another', { hostname }, shards('b'), removed],
    ['two shards to one', shards('b', 'c'), shards('c'), removed],
    ['a shard to the default', shards('b'), { hostname }, removed],
    ['one copy to two', shards('b'), copies(2), undefined],
    ['three copies to two', copies(3), copies(2), "spec.store.shards[0].replicas: Invalid value: can't be lowered"],
    [
      'three copies to the default',
      copies(3),
      shards('b'),
      "spec.store.shards[0].replicas: Invalid value: can't be lowered",
    ],
    [
      'two copies of the default shard to nothing said',
      { hostname, store: { shards: [{ name: 'a', replicas: 2 }] } },
      { hostname },
      "spec.store.shards: Invalid value: can't be left out once a shard has more than one copy",
    ],
    ['one database member to three', { hostname, database: { members: 1 } }, { hostname }, undefined],
    [
      'three database members to one',
      { hostname },
      { hostname, database: { members: 1 } },
      "spec.database.members: Invalid value: can't be lowered (unset means 3)",
    ],
    [
      'the built-in database to another',
      { hostname },
      { hostname, database: { external: { secretRef: { name: 'db' } } } },
      "spec.database.external: Invalid value: can't be added or removed",
    ],
    [
      'the Secret of an external database',
      { hostname, database: { external: { secretRef: { name: 'a' } } } },
      { hostname, database: { external: { secretRef: { name: 'b' } } } },
      undefined,
    ],
  ])('may change %s or says why not', async (_, before, after, message) => {
    expectMessage(await refusedChange('MailSystem', before, after), message);
  });
});

describe('kubectl', () => {
  it.each([
    ['mailbox.spec', 'Main address, and the name to log in with.'],
    ['mailbox.spec.deletionPolicy', 'Default: Retain.'],
    ['mdom.spec.dkim', 'SELECTOR._domainkey.DOMAIN'],
    ['msys.spec.store.shards', 'Name of the shard'],
    ['msys.status.conditions', 'One aspect of the state.'],
  ])('explain %s reads well', async (path, text) => {
    expect((await kubectl('explain', path)).replace(/\s+/g, ' ')).toContain(text);
  });

  it('get mail prints every kind with the same columns', async () => {
    const own = await createNamespace(client, 'columns');
    await create('MailSystem', 'mail', { hostname: 'mail.example.org' }, own);
    await create('MailDomain', 'example.org', undefined, own);
    await create('Mailbox', 'mallory', { address: 'mallory@example.org' }, own);
    const ready = {
      type: 'Ready',
      status: 'True',
      reason: 'Provisioned',
      message: '',
      lastTransitionTime: '2026-11-24T10:00:00Z',
    };
    const status = { conditions: [ready], detail: 'Shard a', address: 'mallory@example.org', uuid: 'x', shard: 'a' };
    await client.patchStatus(
      resourceType('Mailbox'),
      { name: 'mallory', namespace: own },
      { status },
      { fieldManager: 'test' },
    );
    const lines = (await kubectl('get', 'mail', '-n', own)).split('\n').filter((line) => line !== '');
    expect(lines.filter((line) => /^NAME +READY +AGE +ADDRESS\/DOMAIN +DETAIL$/.test(line))).toHaveLength(3);
    expect(lines.find((line) => line.startsWith('mailbox.'))).toMatch(
      /mallory +True +\d+s +mallory@example.org +Shard a$/,
    );
  });
});

function expectMessage(refused: string | undefined, message: string | undefined): void {
  if (message === undefined) expect(refused).toBeUndefined();
  else expect(refused).toContain(message);
}

/** What the API server says when it refuses an object; `undefined` when it takes it. */
async function refusal(kind: KindName, spec: Spec, name?: string): Promise<string | undefined> {
  return messageOf(create(kind, name ?? nextName(), spec, name === undefined ? namespace : await ownNamespace()));
}

/** What the API server says when it refuses a change from one spec to another; `undefined` when it takes it. */
async function refusedChange(
  kind: KindName,
  before: Spec,
  after: Spec,
  name = nextName(),
): Promise<string | undefined> {
  const { spec: _, ...object } = (await create(kind, name, before, await ownNamespace())) as KubeObject & {
    spec: Spec;
  };
  const changed = { ...object, ...(after && { spec: after }) };
  return messageOf(client.replace(resourceType(kind), changed, { fieldManager: 'test' }));
}

async function messageOf(request: Promise<unknown>): Promise<string | undefined> {
  return request.then(
    () => undefined,
    (error: Error) => error.message,
  );
}

const ownNamespace = () => createNamespace(client, 'crds');

function nextName(): string {
  objects += 1;
  return `o${objects}.example`;
}

function resourceType(kind: KindName) {
  return { group: GROUP, version: VERSION, plural: KINDS[kind].plural, kind, namespaced: true };
}

async function create(kind: KindName, name: string, spec: Spec, own: string): Promise<KubeObject> {
  const object = { apiVersion: API_VERSION, kind, metadata: { name, namespace: own }, ...(spec && { spec }) };
  return client.create(resourceType(kind), object, { fieldManager: 'test' });
}

async function kubectl(...args: string[]): Promise<string> {
  const { kubeconfigPath } = await sharedApiServer();
  const command = ['kubectl', '--kubeconfig', kubeconfigPath, `--cache-dir=${join(tmpdir(), 'posthorn-test-kubectl')}`];
  return (await promisify(execFile)(kubeProgram(), [...command, ...args])).stdout;
}

import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../../crds/mailbox.js';
import { contentHash } from '../directory/inventory.js';
import type { MailboxInventory } from '../directory/rows.js';
import { createCache } from '../runtime/cache.js';
import { createQueue } from '../runtime/queue.js';
import type { AttachedSystem } from '../systems.js';
import { mailboxIndexes } from './controller.js';
import type { MailboxDependencies } from './dependencies.js';
import { desiredMailbox } from './desired.js';
import { compareInventory } from './inventory.js';
import { createReportReader } from './reports.js';
import { declaredRow } from './row.js';

const mailbox = (name: string, spec: Partial<Mailbox['spec']> = {}, namespace = 'mail'): Mailbox => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'Mailbox',
  metadata: { name, namespace, uid: `uid-${name}` },
  spec: { address: `${name}@example.org`, ...spec },
});
const hosting = () => ({ name: 'example.org', system: 'mail/mail' });
const spec = {} as AttachedSystem['spec'];

function rowOf(object: Mailbox, more: Partial<MailboxInventory> = {}): MailboxInventory {
  const desired = desiredMailbox(object, { domain: hosting }).mailbox;
  if (desired === undefined) throw new Error('not hosted');
  const appPasswords = (object.spec.appPasswords ?? []).map(({ name, protocols }) => ({
    name,
    protocols: protocols?.length ? protocols : null,
  }));
  const { uid = '', namespace = '', name } = object.metadata;
  return {
    uuid: desired.uuid,
    object: { uid, namespace, name },
    shard: 'a',
    passwordSource: null,
    appPasswordSources: {},
    contentHash: contentHash({ ...declaredRow(object, desired, { spec }), appPasswords }),
    ...more,
  };
}

/** What a comparison of these objects with these rows leads to. Namespace `elsewhere` is not watched. */
async function compare(objects: readonly Mailbox[], rows: readonly MailboxInventory[]) {
  const cache = createCache<Mailbox>(mailboxIndexes);
  for (const object of objects) cache.set(object);
  const removed: string[] = [];
  const queue = createQueue({ name: 'mailbox' });
  const directory = {
    listMailboxes: async function* () {
      yield rows;
    },
    listDomains: async () => [],
    sieveResults: async () => [],
    incidents: async () => [],
    fullMailboxes: async () => [],
    tombstoneMailboxes: async (gone: { uuid: string }[]) => void removed.push(...gone.map(({ uuid }) => uuid)),
  };
  const deps = {
    mailboxes: { cache },
    hosting,
    namespacesOf: () => new Set(['mail', 'tenant']),
    watches: (namespace: string) => namespace !== 'elsewhere',
    passwords: { isStale: () => false },
    known: new Map(),
    reports: createReportReader(),
    queue,
    log: { info: () => undefined },
  } as unknown as MailboxDependencies;
  await compareInventory(deps, { key: 'mail/mail', namespace: 'mail', spec, directory } as unknown as AttachedSystem);
  const again = queue.depth === 0 ? [] : await queue.takeBatch(100);
  return { removed, again, known: deps.known };
}

describe('compareInventory', () => {
  const full = mailbox('full', {
    state: 'Suspended',
    stateUntil: '2026-12-31T18:00+01:00',
    appPasswords: [{ name: 'phone', secretRef: { name: 's' }, protocols: ['imap'] }],
    members: [{ mailbox: 'b' }, { mailbox: 'a', sendAs: true }],
    vacation: { message: 'x' },
    require: { dkimAlignedFrom: ['b.example', 'a.example'] },
    sending: { hour: 5 },
    retention: [{ folder: 'Trash', days: 1 }],
  });

  it('leaves alone what the directory has as declared, its tenants included', async () => {
    const tenant = mailbox('tenant', {}, 'tenant');
    const { removed, again, known } = await compare([full, tenant], [rowOf(full), rowOf(tenant)]);
    expect([removed, again]).toEqual([[], []]);
    expect(known.get('uid-full')).toMatchObject({ objectUid: 'uid-full', system: 'mail/mail' });
  });

  it.each<[string, Partial<Mailbox['spec']>]>([
    ['state', { state: 'LoginOff' }],
    ['time', { stateUntil: '2026-12-31T18:00Z' }],
    ['app passwords', { appPasswords: [] }],
    ['members', { members: [{ mailbox: 'b' }] }],
    ['script', { sieve: 'keep;' }],
    ['senders', { require: { dkimAlignedFrom: ['a.example'] } }],
    ['limits', { sending: { hour: 6 } }],
    ['retention', { retention: [] }],
  ])('looks again at one whose %s differ', async (_, change) => {
    const changed = { ...full, spec: { ...full.spec, ...change } };
    expect((await compare([changed], [rowOf(full)])).again).toEqual(['mail/full']);
  });

  it('looks again at one that is missing, and removes what has no object, but not where nobody looks', async () => {
    const tenant = mailbox('gone', {}, 'tenant');
    const hidden = mailbox('hidden', {}, 'elsewhere');
    const { removed, again } = await compare([full], [rowOf(tenant), rowOf(hidden)]);
    expect(again).toEqual(['mail/full']);
    expect(removed).toEqual(['uid-gone']);
  });
});

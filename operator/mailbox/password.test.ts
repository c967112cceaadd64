import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../../crds/mailbox.js';
import { passwordSource } from '../directory/password.js';
import { createCache } from '../runtime/cache.js';
import type { Client } from '../runtime/client.js';
import type { KubeObject } from '../runtime/object.js';
import { createPasswordResolver, secretNames } from './password.js';

const secret = (
  resourceVersion: string,
  data?: Record<string, string>,
): KubeObject & { data?: Record<string, string> } => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'ann', namespace: 'mail', uid: 's', resourceVersion },
  ...(data ? { data } : {}),
});
const mailbox = (uid: string, ref: Mailbox['spec']['passwordSecretRef'] = { name: 'ann' }): Mailbox => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'Mailbox',
  metadata: { name: 'ann', namespace: 'mail', uid },
  spec: { address: 'ann@example.org', ...(ref ? { passwordSecretRef: ref } : {}) },
});
const source = passwordSource({ uid: 's', resourceVersion: '1', key: 'password' });

/** What the API server has, behind a cache of metadata that has seen version 1; `reads` counts. */
function setUp(stored: KubeObject | undefined) {
  let reads = 0;
  const client = {
    find: async () => {
      reads += 1;
      return stored;
    },
  } as unknown as Client;
  const secrets = createCache<KubeObject>();
  if (stored !== undefined) secrets.set(secret('1'));
  return { resolver: createPasswordResolver(client, secrets), reads: () => reads };
}

const password = { password: Buffer.from('a password').toString('base64') };

describe('the plan for a password', () => {
  it('reads nothing when the version in effect is the declared one', async () => {
    const { resolver, reads } = setUp(secret('1', password));
    expect(await resolver.plan(mailbox('m'), { objectUid: 'm', source, apps: {} })).toEqual({ kind: 'current' });
    expect(resolver.peek(mailbox('m'))).toEqual({ kind: 'unchecked' });
    expect(reads()).toBe(0);
  });

  it("doesn't take a predecessor's password for the one of a Mailbox that adopts its mail", async () => {
    const { resolver } = setUp(secret('1', password));
    expect(await resolver.plan(mailbox('heir'), { objectUid: 'm', source, apps: {} })).toMatchObject({ kind: 'new' });
  });

  it('reads a Secret once for all that name it, and knows it by the version that it has read', async () => {
    const { resolver, reads } = setUp(secret('2', password));
    const plans = await Promise.all(['a', 'b', 'c'].map((uid) => resolver.plan(mailbox(uid), undefined)));
    const read = passwordSource({ uid: 's', resourceVersion: '2', key: 'password' });
    for (const plan of plans) expect(plan).toMatchObject({ kind: 'new', password: { source: read } });
    expect(reads()).toBe(1);
  });

  it.each<[string, ReturnType<typeof secret> | undefined, string]>([
    ['no Secret', undefined, 'SecretNotFound'],
    ['a Secret without data', secret('1'), 'KeyNotFound'],
    ['another key', secret('1', { other: 'eA==' }), 'KeyNotFound'],
    ['an empty value', secret('1', { password: '' }), 'InvalidPassword'],
  ])('is a problem with %s', async (_, stored, reason) => {
    const { resolver } = setUp(stored);
    expect(await resolver.plan(mailbox('m'), undefined)).toMatchObject({ kind: 'problem', problem: { reason } });
  });

  it('is none when none is declared; one that is still in effect is stale then', () => {
    const { resolver } = setUp(secret('1', password));
    const plain = { ...mailbox('m'), spec: { address: 'ann@example.org' } };
    expect(resolver.peek(plain)).toEqual({ kind: 'none' });
    const stale = (object: Mailbox, of: string | null) => resolver.isStale(object, { source: of, apps: {} });
    expect([stale(plain, source), stale(plain, null)]).toEqual([true, false]);
    expect([stale(mailbox('m'), source), stale(mailbox('m'), null)]).toEqual([false, true]);
  });
});

describe('the plan for app passwords', () => {
  const app = (name: string, key: string, protocols?: ('imap' | 'submission')[]) => ({
    name,
    secretRef: { name: 'ann', key },
    ...(protocols ? { protocols } : {}),
  });
  const withApps = (...appPasswords: NonNullable<Mailbox['spec']['appPasswords']>): Mailbox => ({
    ...mailbox('m'),
    spec: { address: 'ann@example.org', appPasswords },
  });
  const phone = passwordSource({ uid: 's', resourceVersion: '1', key: 'phone' });
  const stored = secret('1', { phone: Buffer.from('abc').toString('base64') });

  it('keeps what is in effect, and reads the rest', async () => {
    const { resolver, reads } = setUp(stored);
    const object = withApps(app('phone', 'phone', ['submission', 'imap']));
    const known = { objectUid: 'm', source: null, apps: { phone, old: 'x' } };
    const row = { name: 'phone', source: phone, protocols: ['imap', 'submission'] };
    expect(await resolver.planApps(object, known)).toEqual({ rows: [row], problems: [] });
    expect(reads()).toBe(0);
    const fresh = await resolver.planApps(object, { ...known, objectUid: 'predecessor' });
    expect(fresh.rows?.[0]).toMatchObject({ ...row, hash: expect.stringMatching(/^\{ARGON2ID\}/) });
  });

  it('leaves one that can not be had as it was, and says which', async () => {
    const { resolver } = setUp(stored);
    const object = withApps(app('phone', 'phone'), app('tablet', 'tablet'));
    const before = { objectUid: 'm', source: null, apps: { tablet: 'older' } };
    const { rows, problems } = await resolver.planApps(object, before);
    expect(rows?.map(({ name, source }) => [name, source])).toEqual([
      ['phone', phone],
      ['tablet', 'older'],
    ]);
    expect(rows?.[1]).not.toHaveProperty('hash');
    expect(problems).toMatchObject([{ reason: 'KeyNotFound' }]);
    expect(problems[0]?.message).toContain('spec.appPasswords[tablet].secretRef.key');
  });

  it('is stale when one came, changed or went', () => {
    const { resolver } = setUp(stored);
    const object = withApps(app('phone', 'phone'));
    const stale = (apps: Record<string, string>) => resolver.isStale(object, { source: null, apps });
    expect([stale({ phone }), stale({}), stale({ phone: 'older' }), stale({ phone, tablet: 'x' })]).toEqual([
      false,
      true,
      true,
      true,
    ]);
    expect(secretNames(object)).toEqual(['ann']);
  });
});

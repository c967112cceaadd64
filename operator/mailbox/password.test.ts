import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../../crds/mailbox.js';
import { passwordSource } from '../directory/password.js';
import { createCache } from '../runtime/cache.js';
import type { Client } from '../runtime/client.js';
import type { KubeObject } from '../runtime/object.js';
import { createPasswordResolver } from './password.js';

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
    expect(await resolver.plan(mailbox('m'), { objectUid: 'm', source })).toEqual({ kind: 'current' });
    expect(resolver.peek(mailbox('m'))).toEqual({ kind: 'unchecked' });
    expect(reads()).toBe(0);
  });

  it("doesn't take a predecessor's password for the one of a Mailbox that adopts its mail", async () => {
    const { resolver } = setUp(secret('1', password));
    expect(await resolver.plan(mailbox('heir'), { objectUid: 'm', source })).toMatchObject({ kind: 'new' });
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
    expect([resolver.isStale(plain, source), resolver.isStale(plain, null)]).toEqual([true, false]);
    expect([resolver.isStale(mailbox('m'), source), resolver.isStale(mailbox('m'), null)]).toEqual([false, true]);
  });
});

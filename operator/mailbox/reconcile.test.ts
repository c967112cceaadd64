import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../../crds/mailbox.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import { createCache } from '../runtime/cache.js';
import { mailboxIndexes } from './controller.js';
import type { MailboxDependencies } from './dependencies.js';
import { reconcileMailboxes } from './reconcile.js';
import { createReportReader } from './reports.js';

const mailbox = (name: string, generation: number, observed: number): Mailbox => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'Mailbox',
  metadata: { name, namespace: 'mail', uid: name, generation, creationTimestamp: '2026-11-24T10:00:00Z' },
  spec: { address: `${name}@example.org`, state: 'Suspended' },
  status: {
    observedGeneration: observed,
    conditions: [
      {
        type: 'Provisioned',
        status: 'True',
        reason: 'Provisioned',
        message: '',
        lastTransitionTime: '2026-11-24T10:00:00Z',
      },
    ],
  },
});

/** Reconciles these with a directory that is away. */
async function withoutDirectory(objects: readonly Mailbox[]) {
  const cache = createCache<Mailbox>(mailboxIndexes);
  for (const object of objects) cache.set(object);
  const written = new Map<string, unknown>();
  const directory = {};
  const deps = {
    client: {
      replaceStatus: async (_: unknown, { metadata: { name } }: Mailbox, status: unknown) => {
        written.set(name, status);
        return cache.get(`mail/${name}`);
      },
    },
    mailboxes: { cache, observe: () => undefined },
    hosting: () => ({ name: 'example.org', system: 'mail/mail' }),
    systems: {
      get: () => ({ key: 'mail/mail', directory, spec: { store: { shards: [{ name: 'a' }] } } }),
      all: () => [],
    },
    passwords: { peek: () => ({ kind: 'none' }) },
    known: new Map(),
    learned: new WeakMap([[directory, Promise.reject(new DirectoryUnavailable('no leader'))]]),
    gone: new Map(),
    reports: createReportReader(),
    events: { emit: () => undefined },
    now: () => new Date('2026-11-24T12:00:00Z'),
    startedAt: new Date('2026-11-24T11:00:00Z'),
  } as unknown as MailboxDependencies;
  const results = await reconcileMailboxes(
    deps,
    objects.map(({ metadata }) => `mail/${metadata.name}`),
  );
  return { results, written };
}

describe('a directory that is away', () => {
  it('is tried again soon for what was declared meanwhile, and with growing patience for the rest', async () => {
    const { results, written } = await withoutDirectory([mailbox('changed', 2, 1), mailbox('old', 1, 1)]);
    expect(results.get('mail/changed')?.requeueAfterMs).toBeLessThanOrEqual(5_000);
    expect(results.get('mail/changed')?.error).toBeUndefined();
    expect(results.get('mail/old')?.error).toBeInstanceOf(DirectoryUnavailable);
    expect([...written.keys()]).toEqual(['changed']);
    expect(JSON.stringify(written.get('changed'))).toContain('DirectoryUnavailable');
  });

  it('does not say that a state is in effect which is not yet', async () => {
    const { written } = await withoutDirectory([mailbox('changed', 2, 1)]);
    expect(JSON.stringify(written.get('changed'))).not.toContain('Suspended');
  });
});

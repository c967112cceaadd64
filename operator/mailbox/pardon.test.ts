import { describe, expect, it } from 'vitest';
import type { Mailbox } from '../../crds/mailbox.js';
import type { Incident } from '../directory/rows.js';
import type { AttachedSystem } from '../systems.js';
import { isPardon, pardon, pardonAnnotation, pardonedUntil } from './pardon.js';
import { createReportReader } from './reports.js';

const mailbox = (time?: string): Mailbox => ({
  apiVersion: 'posthorn.dev/v1alpha1',
  kind: 'Mailbox',
  metadata: { name: 'ann', ...(time === undefined ? {} : { annotations: { [pardonAnnotation]: time } }) },
  spec: { address: 'ann@example.org' },
});
const incident = (kind: string, since: string): Incident => ({
  uuid: 'u',
  kind,
  detail: '',
  since: new Date(since),
  until: null,
  count: 1,
});

describe('pardon', () => {
  it('is a time, and another one is news', () => {
    expect(pardonedUntil(mailbox())).toBeUndefined();
    expect(pardonedUntil(mailbox('yes'))).toBeUndefined();
    expect(pardonedUntil(mailbox('2026-11-24T12:00:00Z'))?.toISOString()).toBe('2026-11-24T12:00:00.000Z');
    expect(isPardon(mailbox('2026-11-24T12:00:00Z'), mailbox())).toBe(true);
    expect(isPardon(mailbox(), mailbox('2026-11-24T12:00:00Z'))).toBe(true);
    expect(isPardon(mailbox('2026-11-24T12:00:00Z'), mailbox('2026-11-24T13:00+01:00'))).toBe(false);
  });

  it('ends what began before, not what came later', async () => {
    const [before, after] = [incident('Rate', '2026-11-24T11:00:00Z'), incident('Spam', '2026-11-24T13:00:00Z')];
    const cleared: unknown[] = [];
    const directory = {
      sieveResults: async () => [],
      incidents: async () => [before, after],
      fullMailboxes: async () => [],
      clearIncidents: async (settled: unknown[]) => void cleared.push(...settled),
    };
    const system = { key: 's', directory } as unknown as AttachedSystem;
    const reports = createReportReader();
    await reports.readAll(system);
    const desired = { uuid: 'u' } as never;
    await pardon({ reports }, system, [{ object: mailbox(), desired }]);
    expect(cleared).toEqual([]);
    await pardon({ reports }, system, [{ object: mailbox('2026-11-24T12:00:00Z'), desired }]);
    expect(cleared).toEqual([{ uuid: 'u', kind: 'Rate' }]);
    expect(reports.of('s').incidents.get('u')).toEqual([after]);
    await pardon({ reports }, system, [{ object: mailbox('2026-11-24T12:00:00Z'), desired }]);
    expect(cleared).toHaveLength(1);
  });
});

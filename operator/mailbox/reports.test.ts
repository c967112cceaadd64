import { describe, expect, it } from 'vitest';
import type { Incident, SieveResult } from '../directory/rows.js';
import type { AttachedSystem } from '../systems.js';
import { createReportReader } from './reports.js';

function setUp() {
  const asked: (readonly string[] | undefined)[] = [];
  const content = { results: [] as SieveResult[], incidents: [] as Incident[], full: [] as string[] };
  const directory = {
    sieveResults: async (uuids?: readonly string[]) => {
      asked.push(uuids);
      return content.results.filter(({ uuid }) => uuids?.includes(uuid) ?? true);
    },
    incidents: async () => content.incidents,
    fullMailboxes: async () => content.full,
  };
  const system = { key: 'mail/mail', directory } as unknown as AttachedSystem;
  return { asked, content, system, reader: createReportReader() };
}

const result = (uuid: string, hash: string, error: string | null = null): SieveResult => ({
  uuid,
  hash,
  error,
  at: new Date(0),
});
const incident = (uuid: string, count: number, detail = 'too much'): Incident => ({
  uuid,
  kind: 'Rate',
  detail,
  since: new Date(0),
  until: new Date(1e12),
  count,
});

describe('createReportReader', () => {
  it('tells each new result once', async () => {
    const { reader, content, system } = setUp();
    content.results = [result('a', '1'), result('b', '1', 'oops')];
    expect(await reader.readAll(system)).toEqual(['a', 'b']);
    expect(await reader.readAll(system)).toEqual([]);
    content.results = [result('b', '2')];
    expect(await reader.readAll(system)).toEqual(['a', 'b']);
    expect(reader.of('mail/mail').sieve.get('b')?.error).toBeNull();
    expect(reader.of('mail/mail').sieve.has('a')).toBe(false);
  });

  it('between asks only for results that are waited for', async () => {
    const { reader, content, system, asked } = setUp();
    content.results = [result('a', '1'), result('b', '1')];
    expect(await reader.readNews(system)).toEqual([]);
    expect(asked).toEqual([]);
    expect([reader.await('mail/mail', 'b', true), reader.await('mail/mail', 'b', true)]).toEqual([true, false]);
    expect(await reader.readNews(system)).toEqual(['b']);
    expect(asked).toEqual([['b']]);
    reader.await('mail/mail', 'b', false);
    expect(reader.isAwaited('mail/mail')).toBe(false);
  });

  it('tells when an incident comes, changes and goes, not how often it was reported', async () => {
    const { reader, content, system } = setUp();
    content.incidents = [incident('a', 1)];
    expect(await reader.readNews(system)).toEqual(['a']);
    content.incidents = [incident('a', 2)];
    expect(await reader.readNews(system)).toEqual([]);
    content.incidents = [incident('a', 3, 'far too much')];
    expect(await reader.readNews(system)).toEqual(['a']);
    content.incidents = [];
    expect(await reader.readNews(system)).toEqual(['a']);
    expect(reader.of('mail/mail').incidents.get('a')).toBeUndefined();
  });

  it('tells when a mailbox fills up, and when there is room again', async () => {
    const { reader, content, system } = setUp();
    content.full = ['a', 'b'];
    expect(await reader.readAll(system)).toEqual(['a', 'b']);
    content.full = ['b', 'c'];
    expect(await reader.readNews(system)).toEqual(['a', 'c']);
    expect([...reader.of('mail/mail').full]).toEqual(['b', 'c']);
  });

  it('forgets what was settled, and nothing else', async () => {
    const { reader, content, system } = setUp();
    const other = { ...incident('a', 1), kind: 'Spam' };
    content.incidents = [incident('a', 1), other, incident('b', 1)];
    await reader.readNews(system);
    reader.forget('mail/mail', content.incidents.slice(0, 1));
    expect(reader.of('mail/mail').incidents.get('a')).toEqual([other]);
    reader.forget('mail/mail', [other]);
    expect([...reader.of('mail/mail').incidents.keys()]).toEqual(['b']);
  });
});

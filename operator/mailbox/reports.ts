import { isDeepStrictEqual } from 'node:util';
import type { Incident, SieveResult } from '../directory/rows.js';
import type { AttachedSystem } from '../systems.js';
import { groupBy } from './groups.js';

/** What stores and gatekeepers say of mailboxes in the directory, as it was read last. By uuid. */
export interface Reports {
  readonly sieve: ReadonlyMap<string, SieveResult>;
  readonly incidents: ReadonlyMap<string, readonly Incident[]>;
}

interface SystemReports extends Reports {
  sieve: Map<string, SieveResult>;
  incidents: Map<string, readonly Incident[]>;
  /** Uuids whose declared script nobody has compiled yet. */
  pending: Set<string>;
}

export interface ReportReader {
  /** What was read last; nothing for a system that has not been read. */
  of(systemKey: string): Reports;
  /** Reads everything. Answers the uuids of which something else is said than before. */
  readAll(system: AttachedSystem): Promise<string[]>;
  /** Reads incidents, and the results that are waited for. Answers as `readAll` does. */
  readNews(system: AttachedSystem): Promise<string[]>;
  /** These incidents are over. */
  forget(systemKey: string, incidents: readonly Incident[]): void;
  /** Whether the result of a mailbox's script is waited for. Answers whether that is new. */
  await(systemKey: string, uuid: string, waits: boolean): boolean;
  isAwaited(systemKey: string): boolean;
}

export function createReportReader(): ReportReader {
  const systems = new Map<string, SystemReports>();
  const at = (key: string): SystemReports => {
    const known = systems.get(key) ?? { sieve: new Map(), incidents: new Map(), pending: new Set() };
    systems.set(key, known);
    return known;
  };
  return {
    of: at,
    readAll: async ({ key, directory }) => {
      const [results, incidents] = await Promise.all([directory.sieveResults(), directory.incidents()]);
      const there = new Set(results.map(({ uuid }) => uuid));
      const { sieve } = at(key);
      const gone = [...sieve.keys()].filter((uuid) => !there.has(uuid));
      for (const uuid of gone) sieve.delete(uuid);
      return [...new Set([...gone, ...learnResults(at(key), results), ...learnIncidents(at(key), incidents)])];
    },
    readNews: async ({ key, directory }) => {
      const { pending } = at(key);
      const [results, incidents] = await Promise.all([
        pending.size === 0 ? [] : directory.sieveResults([...pending]),
        directory.incidents(),
      ]);
      return [...new Set([...learnResults(at(key), results), ...learnIncidents(at(key), incidents)])];
    },
    forget: (key, settled) => {
      const { incidents } = at(key);
      for (const { uuid } of settled) {
        const open = (incidents.get(uuid) ?? []).filter((incident) => !settled.includes(incident));
        if (open.length === 0) incidents.delete(uuid);
        else incidents.set(uuid, open);
      }
    },
    await: (key, uuid, waits) => {
      const { pending } = at(key);
      const before = pending.has(uuid);
      if (waits) pending.add(uuid);
      else pending.delete(uuid);
      return waits && !before;
    },
    isAwaited: (key) => at(key).pending.size > 0,
  };
}

function learnResults(known: SystemReports, results: readonly SieveResult[]): string[] {
  return results.flatMap((result) => {
    const before = known.sieve.get(result.uuid);
    known.sieve.set(result.uuid, result);
    return before?.hash === result.hash && before.error === result.error ? [] : [result.uuid];
  });
}

function learnIncidents(known: SystemReports, incidents: readonly Incident[]): string[] {
  const now = groupBy(incidents, ({ uuid }) => uuid);
  const before = known.incidents;
  known.incidents = now;
  const told = (of: readonly Incident[] = []) => of.map(({ kind, detail, until }) => ({ kind, detail, until }));
  return [...new Set([...before.keys(), ...now.keys()])].filter(
    (uuid) => !isDeepStrictEqual(told(before.get(uuid)), told(now.get(uuid))),
  );
}

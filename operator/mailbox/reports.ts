import { isDeepStrictEqual } from 'node:util';
import type { Directory } from '../directory/directory.js';
import type { Incident, SieveResult } from '../directory/rows.js';
import { groupBy } from '../projecting.js';
import type { AttachedSystem } from '../systems.js';

/** What stores and gatekeepers say of mailboxes in the directory, as it was read last. By uuid. */
export interface Reports {
  readonly sieve: ReadonlyMap<string, SieveResult>;
  readonly incidents: ReadonlyMap<string, readonly Incident[]>;
  /** Those that are full. */
  readonly full: ReadonlySet<string>;
}

interface SystemReports extends Reports {
  sieve: Map<string, SieveResult>;
  incidents: Map<string, readonly Incident[]>;
  full: Set<string>;
  /** Uuids whose declared script nobody has compiled yet. */
  pending: Set<string>;
}

export interface ReportReader {
  /** What was read last; nothing for a system that has not been read. */
  of(systemKey: string): Reports;
  /** Reads everything. Answers the uuids of which something else is said than before. */
  readAll(system: AttachedSystem): Promise<string[]>;
  /** Reads what changes by itself, and the results that are waited for. Answers as `readAll` does. */
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
    const known = systems.get(key) ?? { sieve: new Map(), incidents: new Map(), full: new Set(), pending: new Set() };
    systems.set(key, known);
    return known;
  };
  return {
    of: at,
    readAll: async ({ key, directory }) => {
      const [results, state] = await Promise.all([directory.sieveResults(), currently(directory)]);
      const there = new Set(results.map(({ uuid }) => uuid));
      const { sieve } = at(key);
      const gone = [...sieve.keys()].filter((uuid) => !there.has(uuid));
      for (const uuid of gone) sieve.delete(uuid);
      return [...new Set([...gone, ...learnResults(at(key), results), ...learnState(at(key), state)])];
    },
    readNews: async ({ key, directory }) => {
      const { pending } = at(key);
      const [results, state] = await Promise.all([
        pending.size === 0 ? [] : directory.sieveResults([...pending]),
        currently(directory),
      ]);
      return [...new Set([...learnResults(at(key), results), ...learnState(at(key), state)])];
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

interface Current {
  incidents: readonly Incident[];
  full: readonly string[];
}

async function currently(directory: Directory): Promise<Current> {
  const [incidents, full] = await Promise.all([directory.incidents(), directory.fullMailboxes()]);
  return { incidents, full };
}

function learnState(known: SystemReports, { incidents, full }: Current): string[] {
  const before = { incidents: known.incidents, full: known.full };
  known.incidents = groupBy(incidents, ({ uuid }) => uuid);
  known.full = new Set(full);
  const told = (of: readonly Incident[] = []) => of.map(({ kind, detail, until }) => ({ kind, detail, until }));
  const changed = [...new Set([...before.incidents.keys(), ...known.incidents.keys()])].filter(
    (uuid) => !isDeepStrictEqual(told(before.incidents.get(uuid)), told(known.incidents.get(uuid))),
  );
  const turned = [...new Set([...before.full, ...full])].filter(
    (uuid) => before.full.has(uuid) !== known.full.has(uuid),
  );
  return [...changed, ...turned];
}

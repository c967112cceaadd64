/** The ledger against what is there in the end. */
import type { Change, Copy, Entry, Ledger } from './ledger.js';

/**
 * A time in which what the primary alone had was destroyed with its volume: from some seconds before (what had not been
 * copied yet) until then. Deliveries are not excused by it.
 */
export interface Loss {
  from: number;
  to: number;
}

/** Lines that say which message and what was wrong with it; all empty when nothing was. */
export interface Verdict {
  /** Acknowledged deliveries that are nowhere. */
  lost: string[];
  /** Deliveries that are there twice. */
  doubled: string[];
  /** Messages whose removal was acknowledged, and that are there. */
  returned: string[];
  /** In somebody else's mailbox. */
  leaked: string[];
  /** UIDs that have meant two messages. */
  reused: string[];
  refused: string[];
  /** Appended by a mail program, acknowledged, and nowhere. */
  appendsLost: string[];
  appendsDoubled: string[];
  /** In a folder where it was not put last. */
  misplaced: string[];
  /** Acknowledged flags and keywords that are otherwise. */
  misflagged: string[];
  /** Messages that nobody has sent. */
  strangers: string[];
  /** Removals, appends, moves and flags that were destroyed with a volume before they had been copied. */
  excused: string[];
}

export function judge(ledger: Ledger, copies: readonly Copy[], losses: readonly Loss[] = []): Verdict {
  const excuses = (change: Change): boolean => losses.some(({ from, to }) => change.at >= from && change.at <= to);
  const verdict: Verdict = {
    lost: [],
    doubled: [],
    returned: [],
    leaked: [],
    reused: [...ledger.reused],
    refused: [...ledger.refusals],
    appendsLost: [],
    appendsDoubled: [],
    misplaced: [],
    misflagged: [],
    strangers: copies.filter(({ id }) => !ledger.entries.has(id)).map(place),
    excused: [],
  };
  const found = new Map<string, Copy[]>();
  for (const copy of copies) found.set(copy.id, [...(found.get(copy.id) ?? []), copy]);
  for (const entry of ledger.entries.values()) {
    for (const finding of findings(entry, found.get(entry.id) ?? [], excuses)) {
      const isExcused = finding.change !== undefined && excuses(finding.change);
      verdict[isExcused ? 'excused' : finding.kind].push(line(entry, finding, isExcused));
    }
  }
  return verdict;
}

function line({ origin, id, account, kept }: Entry, { kind, text }: Finding, isExcused: boolean): string {
  const what = `${origin} ${id} of ${account}, ${time(kept)}${text === undefined ? '' : `: ${text}`}`;
  return isExcused ? `${kind}: ${what}` : what;
}

interface Finding {
  kind: keyof Verdict;
  text?: string;
  /** What was acknowledged and isn't so: it may have been destroyed. */
  change?: Change;
}

function findings(entry: Entry, copies: readonly Copy[], excuses: (change: Change) => boolean): Finding[] {
  const isDelivery = entry.origin === 'delivery';
  const [copy] = copies;
  const found: Finding[] = copies
    .filter(({ account }) => account !== entry.account)
    .map((copy) => ({ kind: 'leaked', text: place(copy) }));
  if (copies.length > 1) found.push({ kind: isDelivery ? 'doubled' : 'appendsDoubled', text: places(copies) });
  if (copy === undefined) return [...found, ...missing(entry)];
  if (entry.expunged?.outcome === 'yes') {
    const text = `removed ${time(entry.expunged)}, ${places(copies)}`;
    return [...found, { kind: 'returned', change: entry.expunged, text }];
  }
  return [...found, ...misplaced(entry, copy, excuses), ...misflagged(entry, copy)];
}

function missing({ origin, kept, expunged }: Entry): Finding[] {
  if (expunged !== undefined || kept.outcome !== 'yes') return [];
  return origin === 'delivery' ? [{ kind: 'lost' }] : [{ kind: 'appendsLost', change: kept }];
}

/** It must be where it was put last, or where it may have been put since. */
function misplaced({ origin, places }: Entry, copy: Copy, excuses: (change: Change) => boolean): Finding[] {
  const last = Math.max(
    0,
    places.findLastIndex(({ outcome }) => outcome === 'yes'),
  );
  if (places.slice(last).some(({ folder }) => folder === copy.folder)) return [];
  // Where the filter puts a message is not what this is about: it may find less to trust in while names don't resolve.
  if (origin === 'delivery' && last === 0 && copy.folder === 'Junk') return [];
  // If one of its moves was destroyed, it is where it was before.
  const culprit = places.slice(1).findLast(excuses) ?? places[last];
  if (culprit === undefined) return [];
  return [{ kind: 'misplaced', change: culprit, text: `${place(copy)}, put into ${culprit.folder} ${time(culprit)}` }];
}

function misflagged({ flags }: Entry, copy: Copy): Finding[] {
  return [...flags]
    .filter(([flag, { outcome, set }]) => outcome === 'yes' && copy.flags.includes(flag) !== set)
    .map(([flag, change]) => {
      return { kind: 'misflagged', change, text: `${change.set ? 'not' : 'still'} ${flag}, changed ${time(change)}` };
    });
}

const place = ({ account, folder, uidValidity, uid }: Copy): string => `${account}/${folder} ${uidValidity}:${uid}`;
const places = (copies: readonly Copy[]): string => copies.map(place).join(', ');
const time = ({ outcome, at }: Change): string =>
  `${outcome === 'yes' ? 'at' : 'perhaps at'} ${new Date(at).toISOString().slice(11, 23)}`;

/** What must be empty whatever happened. Of the rest, only counts are promised. */
export const ALWAYS = [
  'lost',
  'doubled',
  'returned',
  'leaked',
  'reused',
  'refused',
] as const satisfies readonly (keyof Verdict)[];

/** Counts of all, for a log line. */
export function counts(verdict: Verdict): Record<keyof Verdict, number> {
  return Object.fromEntries(Object.entries(verdict).map(([key, lines]) => [key, lines.length])) as Record<
    keyof Verdict,
    number
  >;
}

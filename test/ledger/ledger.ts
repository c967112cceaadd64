/** What senders and mail programs were told, so that it can be held against what is there in the end. */

/** `yes`: acknowledged. `maybe`: sent, and no answer came: it may have been done or not. */
export type Outcome = 'yes' | 'maybe';

export interface Change {
  outcome: Outcome;
  /** Of the answer, or of giving up; wall clock, ms. */
  at: number;
}

export interface Entry {
  /** Message-ID, with its angle brackets: nothing else is the same in every copy. */
  id: string;
  account: string;
  /** `delivery`: taken by the mx. `append`: stored by a mail program. */
  origin: 'delivery' | 'append';
  kept: Change;
  /** Where it was put, the first included. */
  places: (Change & { folder: string })[];
  /** The last change of each flag and keyword. */
  flags: Map<string, Change & { set: boolean }>;
  expunged?: Change;
}

/** A copy of a message as a mail program sees it. */
export interface Copy {
  id: string;
  account: string;
  folder: string;
  uidValidity: number;
  uid: number;
  flags: readonly string[];
}

export interface Ledger {
  readonly entries: ReadonlyMap<string, Entry>;
  /** Permanent refusals of the mx, and whatever else must not be said to anyone. */
  readonly refusals: string[];
  /** UIDs that have meant two messages. */
  readonly reused: string[];
  kept(id: string, account: string, origin: Entry['origin'], folder: string, outcome: Outcome): void;
  moved(id: string, folder: string, outcome: Outcome): void;
  flagged(id: string, flag: string, set: boolean, outcome: Outcome): void;
  expunged(id: string, outcome: Outcome): void;
  refused(what: string): void;
  /** A mail program has seen this copy: its UID must never have meant, nor ever mean, another message. */
  seen(copy: Copy): void;
}

export function createLedger(now: () => number = Date.now): Ledger {
  const entries = new Map<string, Entry>();
  const uids = new Map<string, string>();
  const refusals: string[] = [];
  const reused: string[] = [];
  const entry = (id: string): Entry => {
    const found = entries.get(id);
    if (found === undefined) throw new Error(`${id} is not in the ledger`);
    return found;
  };
  return {
    entries,
    refusals,
    reused,
    kept: (id, account, origin, folder, outcome) => {
      const change = { outcome, at: now() };
      entries.set(id, { id, account, origin, kept: change, places: [{ ...change, folder }], flags: new Map() });
    },
    moved: (id, folder, outcome) => {
      entry(id).places.push({ folder, outcome, at: now() });
    },
    flagged: (id, flag, set, outcome) => {
      entry(id).flags.set(flag, { set, outcome, at: now() });
    },
    expunged: (id, outcome) => {
      entry(id).expunged = { outcome, at: now() };
    },
    refused: (what) => {
      refusals.push(what);
    },
    seen: ({ account, folder, uidValidity, uid, id }) => {
      const key = `${account} ${folder} ${uidValidity}:${uid}`;
      const before = uids.get(key);
      if (before !== undefined && before !== id) reused.push(`${key} meant ${before} and then ${id}`);
      uids.set(key, id);
    },
  };
}

/** A message that has an uncertain change: whoever touches it again can't tell what the outcome should be. */
export function isUncertain({ kept, places, flags, expunged }: Entry): boolean {
  return [kept, ...places, ...flags.values(), ...(expunged === undefined ? [] : [expunged])].some(
    ({ outcome }) => outcome === 'maybe',
  );
}

/** Whether a copy is what was last acknowledged of the message. A mail program that meets anything else leaves it alone. */
export function isAsKnown(entry: Entry, copy: Copy): boolean {
  return (
    !isUncertain(entry) &&
    entry.expunged === undefined &&
    entry.account === copy.account &&
    entry.places.at(-1)?.folder === copy.folder &&
    [...entry.flags].every(([flag, { set }]) => copy.flags.includes(flag) === set)
  );
}

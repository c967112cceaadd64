/** Recipients at the mx: whom the directory takes, and by whose policy their mail is filtered. */
import type { DirectoryPool } from '../../lib/directory.js';
import { recent } from '../../lib/recent.js';

/** A row of directory_v1.recipient(). */
export interface Recipient {
  /** `DUNNO` (take it), a reply, or null (the directory has no opinion: not an address). */
  readonly verdict: string | null;
  readonly kind: string;
  readonly canonical: string | null;
  /** Recipients with the same key have the same policy; '' for the defaults. */
  readonly policy_key: string;
  readonly policy: unknown;
}

export type Lookup = (address: string) => Promise<Recipient>;

/** A recipient that was taken is asked about again by the filter, moments later. */
const TTL_MS = 2_000;
const MOST = 10_000;

const UNSURE = /^4/;

/**
 * Looks recipients up. Only what was taken is remembered, for 2 s: a refusal is always the directory's own at that time,
 * so that a new mailbox is never refused by us after it is Ready.
 */
export function createLookup(directory: DirectoryPool, clock?: () => number): Lookup {
  const taken = recent<Recipient>(MOST, TTL_MS, clock);
  return async (address) => {
    const known = taken.get(address);
    if (known) return known;
    const [row] = await directory.ask<Recipient>({
      doing: 'look up a recipient',
      sql: 'SELECT verdict, kind, canonical, policy_key, policy FROM directory_v1.recipient($1)',
      values: [address],
      unsure: ([found]) => UNSURE.test(found?.verdict ?? ''),
    });
    if (!row) throw new Error('directory_v1.recipient() gave no row');
    if (row.verdict === 'DUNNO') taken.set(address, row);
    return row;
  };
}

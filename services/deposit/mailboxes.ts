/** Whose mailbox an address is, by the directory. */
import type { DirectoryPool } from '../lib/directory.js';
import { recent } from '../lib/recent.js';

const REMEMBERED = 20_000;
/** An address that is deleted and made again has another mailbox from then on. */
const REMEMBERED_MS = 1_000;

/** UUID of the mailbox of an address, whose detail (`+…`) doesn't count; undefined when no member knows one. */
export function mailboxLookup(directory: DirectoryPool): (address: string) => Promise<string | undefined> {
  const known = recent<Promise<string | undefined>>(REMEMBERED, REMEMBERED_MS);
  const ask = async (address: string): Promise<string | undefined> => {
    const [row] = await directory.ask<{ mailbox: string | null }>({
      doing: 'look up a mailbox',
      sql: 'SELECT directory_v1.mailbox_of($1) AS mailbox',
      values: [address],
      unsure: ([found]) => found?.mailbox == null,
    });
    return row?.mailbox ?? undefined;
  };
  return (given) => {
    const address = mainAddress(given);
    const before = known.get(address);
    if (before !== undefined) return before;
    const answer = ask(address);
    known.set(address, answer);
    // Only a mailbox that was found is remembered.
    answer.then((mailbox) => mailbox ?? known.delete(address)).catch(() => known.delete(address));
    return answer;
  };
}

/** Octets as they came → the address as the directory has it: in lower case, without its detail. */
export function mainAddress(octets: string): string {
  const address = Buffer.from(octets, 'latin1').toString('utf8').toLowerCase();
  const at = address.lastIndexOf('@');
  const plus = address.indexOf('+');
  return plus > 0 && plus < at ? address.slice(0, plus) + address.slice(at) : address;
}

/** Whether a message may go out under the names that it gives itself. Pure: the directory's answers are handed in. */
import type { Claim } from './claims.js';
import { refuse } from './problem.js';

/** What the directory says of the addresses in question. */
export interface Ownership {
  /** Addresses that the login may send as. */
  readonly own: ReadonlySet<string>;
  /** Domains of ours. */
  readonly hosted: ReadonlySet<string>;
}

/** Every address that the directory must be asked about. */
export function addressesOf(claims: readonly Claim[]): string[] {
  return [...new Set(claims.flatMap(({ address, shown }) => [address, ...shown]))];
}

/** Domains of the addresses in display names: whether one is ours decides. */
export function domainsShown(claims: readonly Claim[]): string[] {
  return [...new Set(claims.flatMap(({ shown }) => shown.map(domainOf)))];
}

/** @throws AuthorProblem unless each author is the login's, and no name shows an address of ours that is not. */
export function judgeClaims(claims: readonly Claim[], { own, hosted }: Ownership): void {
  for (const { field, address, shown } of claims) {
    if (!own.has(address)) refuse('not-yours', `${field} says <${printable(address)}>, ${adviceFor(field)}`);
    const other = shown.find((found) => hosted.has(domainOf(found)) && !own.has(found));
    if (other !== undefined) {
      const what = `the name in ${field} shows <${printable(other)}>, which is not an address of yours`;
      refuse('name-shows-other', `${what}; take it out of the name`);
    }
  }
}

function adviceFor(field: string): string {
  const fact = 'which is not an address of yours';
  if (field === 'From') return `${fact}; choose one of yours, or ask your postmaster for the right to send as it`;
  if (field === 'Sender') return `${fact}; leave Sender out, or use one of yours`;
  return `${fact}; resend with one of yours, or forward the message instead`;
}

const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1);

/** As text in an SMTP reply. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 120);
}

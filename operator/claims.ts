/**
 * Who owns what two objects claim: the older one, whichever order their events come in.
 * Pure, and the same for addresses (Mailboxes) and for domains (MailDomains).
 */

/** What the decision needs to know of an object. */
export interface Claimant {
  metadata: {
    name: string;
    namespace?: string | undefined;
    uid?: string | undefined;
    creationTimestamp?: string | undefined;
  };
}

/**
 * Orders claimants: the older first; of two made in the same second (the API's resolution),
 * the one with the smaller uid, which never changes, so that every observer agrees.
 */
export function byAge(a: Claimant, b: Claimant): number {
  return (
    compare(a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? '') ||
    compare(a.metadata.uid ?? '', b.metadata.uid ?? '')
  );
}

/** The claimant that wins, or undefined when nobody claims. */
export function winner<T extends Claimant>(claimants: readonly T[]): T | undefined {
  return claimants.reduce<T | undefined>(
    (best, candidate) => (best === undefined || byAge(candidate, best) < 0 ? candidate : best),
    undefined,
  );
}

/** The claimant that `mine` loses to, or undefined when `mine` wins. */
export function losesTo<T extends Claimant>(mine: T, claimants: readonly T[]): T | undefined {
  const best = winner(claimants);
  return best === undefined || best.metadata.uid === mine.metadata.uid || byAge(mine, best) < 0 ? undefined : best;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

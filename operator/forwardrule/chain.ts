/** Chains of forwards inside one MailSystem. Pure. */

/** Forwards in a row that a message may pass; Postfix and people both lose track of longer ones. */
export const MAX_CHAIN = 10;

/** To which other forwards a forward hands its mail. */
export type Next = (forward: string) => readonly string[];

export interface ChainVerdict {
  /** The chain that comes back to one of its own, from the start on: a, b, a. */
  loop?: readonly string[];
  /** Forwards in a row, the start included. */
  length: number;
}

/**
 * Follows every chain from a forward on. A loop that it only leads into counts as well: as long as that is not mended, nobody
 * can say where mail would go.
 */
export function followChains(start: string, next: Next): ChainVerdict {
  const lengths = new Map<string, number>();
  const path: string[] = [];
  const onPath = new Set<string>();

  const visit = (forward: string): ChainVerdict => {
    if (onPath.has(forward)) return { loop: [...path, forward], length: 0 };
    const known = lengths.get(forward);
    if (known !== undefined) return { length: known };
    path.push(forward);
    onPath.add(forward);
    let longest = 0;
    for (const following of next(forward)) {
      const verdict = visit(following);
      if (verdict.loop !== undefined) return verdict;
      longest = Math.max(longest, verdict.length);
    }
    path.pop();
    onPath.delete(forward);
    lengths.set(forward, longest + 1);
    return { length: longest + 1 };
  };
  return visit(start);
}

/** As people read it. */
export function chainText(chain: readonly string[]): string {
  return chain.join(' → ');
}

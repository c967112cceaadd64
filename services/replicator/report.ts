/** What the directory is told of each peer, in steps that are coarse enough to write nothing at rest, or under steady load. */

export interface PeerFacts {
  readonly member: number;
  readonly seeded: boolean;
  /** Syncs reach it. */
  readonly reachable: boolean;
  /** Nothing from before this epoch can be missing there. */
  readonly compared: boolean;
  /** Mailboxes with changes that it lacks, and the age of the oldest such change. */
  readonly lagUsers: number;
  readonly lagMs: number;
  /** Of a comparison under way: mailboxes still to be compared, of all. */
  readonly remaining: number;
  readonly total: number;
  /** When the last comparison of all mailboxes ended, ms since 1970; 0: never. */
  readonly lastCompare: number;
  readonly divergent: number;
  /** Mailboxes whose syncs fail again and again. */
  readonly stuck: number;
}

export interface MemberReport {
  readonly member: number;
  readonly inSync: boolean;
  readonly lagChanges: number;
  readonly lagSeconds: number;
  readonly lastCompare: string | null;
  readonly divergent: number;
}

/** Older changes than this make a peer count as behind. */
const BEHIND_MS = 10_000;
/** in sync and behind follow one another after so long, at the soonest. */
const HOLD_MS = 10_000;

/** Whether the peer has everything but the last few seconds. */
export function isInSync({ seeded, reachable, compared, lagMs }: PeerFacts): boolean {
  return seeded && reachable && compared && lagMs < BEHIND_MS;
}

/** A value that follows another one once that has stayed the same for `HOLD_MS`. */
export interface Held {
  readonly value: boolean;
  /** Since when the other is different; undefined: it isn't. */
  readonly since: number | undefined;
}

export function hold(held: Held, wanted: boolean, now: number): Held {
  if (wanted === held.value) return { value: wanted, since: undefined };
  if (held.since === undefined) return { value: held.value, since: now };
  return now - held.since >= HOLD_MS ? { value: wanted, since: undefined } : held;
}

/** 1, 2, 5, 10, 20, 50 …: the next above. */
export function step(value: number): number {
  if (value <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((bound) => bound >= value) ?? value;
}

/** Lag under five seconds is none. A peer that is being filled reports the mailboxes that it still lacks, in steps of 5 %. */
export function reportOf(facts: PeerFacts, inSync: boolean): MemberReport {
  const lagging = facts.lagMs >= 5_000;
  return {
    member: facts.member,
    inSync,
    lagChanges: facts.seeded ? (lagging ? step(facts.lagUsers) : 0) : twentieths(facts.remaining, facts.total),
    lagSeconds: lagging ? step(Math.round(facts.lagMs / 1000)) : 0,
    lastCompare: facts.lastCompare === 0 ? null : new Date(facts.lastCompare).toISOString(),
    divergent: Math.max(facts.divergent, facts.stuck),
  };
}

function twentieths(remaining: number, total: number): number {
  const size = Math.max(1, Math.ceil(total / 20));
  return Math.min(total, Math.ceil(remaining / size) * size);
}

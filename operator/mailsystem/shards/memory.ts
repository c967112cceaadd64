/** What has to be remembered of a shard from one look to the next: since when something is as it is. */
import type { ShardState } from '../../directory/rows.js';
import type { ShardStatus } from './describe.js';
import { type Copy, podName, type Shard } from './observe.js';
import { isPromising } from './step.js';

/** A lease that nobody renews for so long, from when that was first noticed, is nobody's. */
const DEAD_MS = 5_000;
/** Out of sync for less is not worth a word. */
const WAVERING_MS = 20_000;
/** Between two handovers for no other reason than where the database's leader is. */
const PARTING_MS = 600_000;
/** A planned handover takes a second or two. */
const OVERDUE_MS = 60_000;

interface ShardMemory {
  epoch: number;
  renewals: number;
  /** When a look first found that nobody had renewed. */
  unrenewedSince: number | undefined;
  /** By member. */
  outOfSyncSince: Map<number, number>;
  hopelessSince: number | undefined;
  asked: { to: number; at: number } | undefined;
  /** Since when no other copy is up to date. */
  aloneSince: number | undefined;
  /** Epoch whose primary has been announced. */
  toldEpoch: number | undefined;
  /** Pod that was the primary last. */
  lastPrimary: string | undefined;
  /** When a handover was last asked for because of the database's leader. */
  partedAt: number | undefined;
}

/** Of one MailSystem, by shard. */
export type Memory = Map<string, ShardMemory>;

function of(memory: Memory, shard: string): ShardMemory {
  const known = memory.get(shard) ?? {
    epoch: -1,
    renewals: -1,
    unrenewedSince: undefined,
    outOfSyncSince: new Map(),
    hopelessSince: undefined,
    asked: undefined,
    aloneSince: undefined,
    toldEpoch: undefined,
    lastPrimary: undefined,
    partedAt: undefined,
  };
  memory.set(shard, known);
  return known;
}

/** Whether somebody has the lease and renews it, as far as two looks can tell. */
export function noteLease(memory: Memory, { name, epoch, renewals, primary }: ShardState, now: number): boolean {
  const mine = of(memory, name);
  const same = mine.epoch === epoch && mine.renewals === renewals;
  mine.unrenewedSince = same ? (mine.unrenewedSince ?? now) : undefined;
  mine.epoch = epoch;
  mine.renewals = renewals;
  return primary !== null && (mine.unrenewedSince === undefined || now - mine.unrenewedSince < DEAD_MS);
}

/** Whether the next look should be soon, because this one was not enough to tell. */
export function isUncertain(memory: Memory, shard: string, now: number): boolean {
  const { unrenewedSince, outOfSyncSince } = of(memory, shard);
  return unrenewedSince !== undefined || [...outOfSyncSince.values()].some((at) => now - at < WAVERING_MS);
}

export interface Noted {
  readonly wavering: ReadonlySet<number>;
  readonly hopelessSince: number | undefined;
  /** Since when, ms; undefined: another copy is up to date. */
  readonly aloneSince: number | undefined;
}

/** What was said before this process remembered anything. */
export interface Before {
  readonly status: ShardStatus | undefined;
  /** Since when the MailSystem has had a problem with its copies, ms. */
  readonly troubledSince: number | undefined;
}

export function noteShard(memory: Memory, shard: Shard, before: Before, now: number): Noted {
  const mine = of(memory, shard.name);
  noteSync(mine, shard, before, now);
  const others = shard.copies.filter(({ member }) => member !== shard.primary);
  const isWavering = ({ member }: Copy) => now - (mine.outOfSyncSince.get(member) ?? now) < WAVERING_MS;
  const isGood = (copy: Copy) => copy.seeded && (copy.inSync || isWavering(copy));
  mine.hopelessSince = isPromising(shard) ? undefined : (mine.hopelessSince ?? now);
  mine.aloneSince =
    others.length > 0 && !others.some(isGood) ? (mine.aloneSince ?? before.troubledSince ?? now) : undefined;
  const wavering = new Set(others.filter(isWavering).map(({ member }) => member));
  return { wavering, hopelessSince: mine.hopelessSince, aloneSince: mine.aloneSince };
}

/** Since when each copy is out of sync; of those that were said to be before, since ever. */
function noteSync(mine: ShardMemory, shard: Shard, { status }: Before, now: number): void {
  for (const { member, inSync } of shard.copies) {
    const said = status?.members.find(({ pod }) => pod === podName(shard, member))?.state;
    if (inSync) mine.outOfSyncSince.delete(member);
    else if (!mine.outOfSyncSince.has(member)) mine.outOfSyncSince.set(member, said === 'InSync' ? now : 0);
  }
}

/** @returns since when it is overdue that the primary hands over to that member; `to` undefined: nobody is asked */
export function noteHandover(memory: Memory, shard: string, to: number | undefined, now: number): number | undefined {
  const mine = of(memory, shard);
  if (to === undefined) mine.asked = undefined;
  else if (mine.asked?.to !== to) mine.asked = { to, at: now };
  return mine.asked !== undefined && now - mine.asked.at >= OVERDUE_MS ? mine.asked.at : undefined;
}

/** Whether a primary may be moved because of the database's leader: seldom, and not for ever if it doesn't go. */
export function mayPart(memory: Memory, shard: string, now: number): boolean {
  const { asked, partedAt } = of(memory, shard);
  if (asked !== undefined) return now - asked.at < OVERDUE_MS;
  return partedAt === undefined || now - partedAt >= PARTING_MS;
}

/** It is being moved for that. */
export function noteParting(memory: Memory, shard: string, now: number): void {
  of(memory, shard).partedAt = now;
}

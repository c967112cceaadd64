/**
 * What to do next with the pods of a shard that has several copies: roll them when their specification has changed, and
 * move the primary away from a node that is being drained. Pure; Kubernetes' own rolling update knows neither.
 */
import { type Copy, podName, type Shard } from './observe.js';

export type Step =
  /** Delete this pod: its StatefulSet makes it anew. */
  | { readonly kind: 'replace'; readonly pod: string }
  /** Ask the primary to hand over to this member. */
  | { readonly kind: 'handOver'; readonly to: number }
  /** Nobody has to take over any more. */
  | { readonly kind: 'withdraw' }
  /** Something is to be done, and can't be yet. */
  | { readonly kind: 'wait'; readonly why: string; readonly draining: boolean }
  | { readonly kind: 'rest' };

export interface Circumstances {
  /** `status.updateRevision` of the StatefulSet; undefined: not known for the present specification. */
  readonly updateRevision: string | undefined;
  readonly now: number;
  /** Since when no copy could take over, ms; undefined: one can. */
  readonly hopelessSince: number | undefined;
  /** Node that the primary should not share, when all else is well: that of the database's leader. undefined: any will do. */
  readonly avoid?: string | undefined;
}

/** A copy that has just come back may be called in sync from before. */
const SETTLE_MS = 15_000;
/** How long a roll waits for a copy that could take over while none is in sight, before the primary is restarted in its place. */
export const HOPELESS_MS = 300_000;

/** The next step. Never two pods of a shard at a time; replicas first; the primary hands over before it goes. */
export function nextStep(shard: Shard, now: Circumstances): Step {
  if (shard.copies.length < 2) return { kind: 'rest' };
  const outdated = shard.copies.filter((copy) => isOutdated(copy, now));
  return (
    replaceBroken(shard, outdated) ?? drain(shard) ?? roll(shard, outdated, now) ?? part(shard, now) ?? rest(shard)
  );
}

function rest({ wanted }: Shard): Step {
  return wanted === null ? { kind: 'rest' } : { kind: 'withdraw' };
}

function isOutdated({ pod }: Copy, { updateRevision }: Circumstances): boolean {
  return updateRevision !== undefined && pod !== undefined && pod.revision !== updateRevision;
}

/** One that is broken and outdated serves nobody: replacing it can only help, whatever else is missing. */
function replaceBroken(shard: Shard, outdated: readonly Copy[]): Step | undefined {
  if (shard.copies.some(({ pod }) => pod?.terminating)) return undefined;
  const broken = outdated.find(({ member, pod }) => pod?.ready === false && member !== shard.primary);
  return broken && { kind: 'replace', pod: podName(shard, broken.member) };
}

function drain(shard: Shard): Step | undefined {
  const primary = primaryOf(shard);
  if (primary?.node !== 'leaving') return undefined;
  const why = `node ${primary.pod?.node} is being drained and has the primary of shard ${shard.name}, and no other copy on a node that stays is up to date`;
  return handOver(shard) ?? { kind: 'wait', why, draining: true };
}

function roll(shard: Shard, outdated: readonly Copy[], now: Circumstances): Step | undefined {
  if (outdated.length === 0) return undefined;
  const wait = (why: string): Step => ({ kind: 'wait', why, draining: false });
  const going = shard.copies.find(({ pod }) => pod === undefined || pod.terminating);
  if (going !== undefined) return wait(`${podName(shard, going.member)} is being replaced`);
  const replicas = outdated.filter(({ member }) => member !== shard.primary);
  const primary = primaryOf(shard);
  if (primary === undefined) return wait(`shard ${shard.name} has no primary`);
  const victim = [...replicas].sort((a, b) => b.member - a.member)[0];
  const unsettled = shard.copies.find((copy) => copy !== (victim ?? primary) && !isSettled(copy, shard, now.now));
  if (victim !== undefined) {
    if (unsettled !== undefined) return wait(`${podName(shard, unsettled.member)} is not up to date yet`);
    return { kind: 'replace', pod: podName(shard, victim.member) };
  }
  // Only the primary is left.
  if (primary.pod?.replicates === false || isHopeless(now))
    return { kind: 'replace', pod: podName(shard, primary.member) };
  if (unsettled !== undefined) return wait(`${podName(shard, unsettled.member)} is not up to date yet`);
  return handOver(shard) ?? wait(`no other copy of shard ${shard.name} can take over`);
}

/**
 * A node that carries both this primary and the database's leader would cost, when it is lost, the database's time and the lease's
 * after another. Only while every copy is well: it is no reason to run a risk.
 */
function part(shard: Shard, { avoid, now }: Circumstances): Step | undefined {
  if (avoid === undefined || primaryOf(shard)?.pod?.node !== avoid) return undefined;
  if (!shard.copies.every((copy) => copy.node === 'fine' && isSettled(copy, shard, now))) return undefined;
  const able = successors(shard).filter(({ pod }) => pod?.node !== avoid);
  return choose(shard, able);
}

function isHopeless({ now, hopelessSince }: Circumstances): boolean {
  return hopelessSince !== undefined && now - hopelessSince >= HOPELESS_MS;
}

/** Whether others may go while this one stays. A copy for which there is no node can't be waited for. */
function isSettled({ member, pod, inSync }: Copy, { primary }: Shard, now: number): boolean {
  if (pod?.unschedulable) return true;
  if (pod === undefined || !pod.ready || now - pod.readySince < SETTLE_MS) return false;
  return inSync || member === primary;
}

function handOver(shard: Shard): Step | undefined {
  return choose(shard, successors(shard));
}

function choose(shard: Shard, candidates: readonly Copy[]): Step | undefined {
  const able = [...candidates].sort(byFitness(shard));
  const kept = able.find(({ member }) => member === shard.wanted);
  const best = kept ?? able[0];
  return best && { kind: 'handOver', to: best.member };
}

/** Copies that may become primary by a planned handover. */
export function successors({ copies, primary }: Shard): Copy[] {
  return copies.filter(
    ({ member, pod, node, seeded, inSync }) =>
      member !== primary && seeded && inSync && pod?.ready === true && !pod.terminating && node === 'fine',
  );
}

/** Whether some other copy has a chance to become able: it runs, or is about to. */
export function isPromising({ copies, primary }: Shard): boolean {
  return copies.some(({ member, pod }) => member !== primary && pod?.ready === true && !pod.terminating);
}

function primaryOf({ copies, primary }: Shard): Copy | undefined {
  return copies.find(({ member }) => member === primary);
}

/** The one with the newest specification first: it stays. Then the least lag, then the lowest number. */
function byFitness({ copies, primary }: Shard) {
  const old = copies.find(({ member }) => member === primary)?.pod?.revision;
  const lag = ({ lagChanges, lagSeconds }: Copy) => (lagSeconds ?? 0) + (lagChanges ?? 0);
  const age = ({ pod }: Copy) => Number(pod?.revision === old);
  return (a: Copy, b: Copy) => age(a) - age(b) || lag(a) - lag(b) || a.member - b.member;
}

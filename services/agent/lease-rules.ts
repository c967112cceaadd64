/** Who may take a lease and when, and who may be promised what: the decisions of the lease's state machine. */
import type { Asker, Lease, LeaseMember, LeaseRow, LeaseTimes, Promotion, Term } from './lease-state.js';

/** The UUID under which the next term is held: another one for each term of each process. */
export function holderOf({ process, terms }: Pick<Lease, 'process' | 'terms'>): string {
  return `${process.slice(0, 24)}${terms.toString(16).padStart(12, '0')}`;
}

/** Members that could follow the primary, the most advanced first. */
export function candidates(row: LeaseRow): readonly LeaseMember[] {
  const behind = (a: LeaseMember, b: LeaseMember) =>
    Number(b.inSync) - Number(a.inSync) ||
    a.lagChanges - b.lagChanges ||
    a.lagSeconds - b.lagSeconds ||
    a.member - b.member;
  return row.members.filter(({ member, seeded }) => seeded && member !== row.primary).sort(behind);
}

/** To whom a primary hands over: the one asked for, or the most advanced; only to a member that is in sync. */
export function successor(lease: Lease, to?: number): number | undefined {
  const row = lease.row;
  if (row === undefined) return undefined;
  const ready = candidates(row).filter(({ member, inSync }) => inSync && member !== lease.me);
  return to === undefined ? ready[0]?.member : ready.find(({ member }) => member === to)?.member;
}

/** The directory knows this member with this volume, and lets it be primary. */
export function isAdmitted(lease: Lease, row: LeaseRow): boolean {
  const self = row.members.find(({ member }) => member === lease.me);
  if (self === undefined || self.volume !== lease.volume || row.epoch < lease.known) return false;
  return self.seeded || (row.epoch === 0 && lease.me === 0);
}

/** The directory has to be told of our volume or epoch first. */
export function mustRegister(lease: Lease, row: LeaseRow): boolean {
  const self = row.members.find(({ member }) => member === lease.me);
  return self?.volume !== lease.volume || row.epoch < lease.known;
}

/** As what this member may take the lease now; undefined: not now. */
export function mayTake(lease: Lease, row: LeaseRow, now: number, times: LeaseTimes): Promotion | undefined {
  if (lease.stopping || now < lease.unfitUntil || now < (lease.promised ?? now) || !isAdmitted(lease, row)) {
    return undefined;
  }
  return atOnce(lease, row) ?? (hasWaited(lease, row, now, times) ? afterWaiting(lease, row) : undefined);
}

function afterWaiting(lease: Lease, row: LeaseRow): Promotion {
  // No primary in a shard that has had one: the directory was restored, and doesn't know who was it last.
  return row.primary === lease.me ? 'restart' : 'failover';
}

/** Nobody else can be accepting mail: without waiting. */
function atOnce(lease: Lease, row: LeaseRow): Promotion | undefined {
  if (isOnlyMember(lease, row)) return 'restart';
  if (row.holder === null) return atOnceAfterRelease(lease, row);
  return lease.dead.includes(row.holder) ? 'restart' : undefined;
}

/** Who let go has killed its Dovecot before. The one it was meant for comes first, then the one that has let go. */
function atOnceAfterRelease(lease: Lease, row: LeaseRow): Promotion | undefined {
  if (row.epoch === 0) return lease.me === 0 ? 'restart' : undefined;
  if (row.reservedFor === lease.me) return row.primary === lease.me ? 'restart' : 'planned';
  return row.reservedFor === null && row.primary === lease.me ? 'restart' : undefined;
}

/** The pod and its volume are the fence of a shard with one member, as they are without any lease. */
export function isOnlyMember(lease: Lease, row: LeaseRow): boolean {
  return row.replicas === 1 && row.members.every(({ member }) => member === lease.me);
}

/** The row has stood still for so long that its holder's deadline has passed by the holder's own clock. */
function hasWaited(lease: Lease, row: LeaseRow, now: number, times: LeaseTimes): boolean {
  if (lease.watch === undefined) return false;
  const place = candidates(row).findIndex(({ member }) => member === lease.me);
  return now - lease.watch.since >= times.ttl + times.margin + times.stagger * Math.max(0, place);
}

/** What a primary asks for: that the member with this volume doesn't follow it for `ttl` ms. */
export interface PromiseTerms {
  readonly epoch: number;
  readonly volume: string;
  readonly ttl: number;
}

/**
 * Another member wants to stay primary without the directory. To say yes is to not take the lease for its TTL and the
 * margin. Who is asking for the lease itself, or might already have got it, says no; so does who can reach the directory,
 * since then it is the asker that is cut off.
 */
export function mayPromise(lease: Lease, request: PromiseTerms, now: number, times: LeaseTimes): boolean {
  if (lease.term !== undefined || lease.take !== undefined) return false;
  if (request.epoch < lease.known || request.volume !== lease.volume) return false;
  return lease.lastRead === undefined || now - lease.lastRead >= times.quiet;
}

/** Whom a primary has to ask for promises, with what a row says now. Nobody is forgotten who may still become seeded. */
export function askersWith(lease: Lease, row: LeaseRow): readonly Asker[] {
  const byMember = new Map(lease.askers.map((asker) => [asker.member, asker]));
  for (const { member, volume, seeded } of row.members) {
    const known = byMember.get(member);
    if (seeded && member !== lease.me) byMember.set(member, { member, volume });
    else if (known !== undefined && known.volume !== volume) byMember.delete(member);
  }
  return [...byMember.values()].filter(({ member }) => row.members.some((listed) => listed.member === member));
}

/** Dovecot may be open in this phase, until the deadline. */
export function isOpen({ phase }: Term): boolean {
  return phase === 'opening' || phase === 'primary' || phase === 'leaving';
}

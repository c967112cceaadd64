/**
 * The lease protocol of a shard's member, as a pure state machine: no clock, no I/O. What it is for and why it holds is in
 * docs/adr/0014-store-lease.md; lease.model.test.ts tries every interleaving of it up to a bound.
 */
import {
  askersWith,
  candidates,
  holderOf,
  isAdmitted,
  isOnlyMember,
  isOpen,
  mayPromise,
  mayTake,
  mustRegister,
  type PromiseTerms,
  successor,
} from './lease-rules.js';
import type {
  Lease,
  LeaseCommand,
  LeaseEvent,
  LeaseRow,
  LeaseTimes,
  Promotion,
  Step,
  Term,
  Wanted,
  Watch,
} from './lease-state.js';

/** How many holders of former terms are remembered as dead. */
const REMEMBERED = 4;

export interface LeaseStart {
  readonly me: number;
  readonly volume: string;
  /** A random UUID for this process. */
  readonly process: string;
  /** Holders of this pod's former processes; their Dovecot has been killed. */
  readonly dead: readonly string[];
  /** Highest epoch that the volume has seen. */
  readonly epoch: number;
  readonly sole: boolean;
}

/** A member that has just started and knows nothing but its volume. */
export function newLease(start: LeaseStart, now: number): Lease {
  const { me, volume, process, dead, epoch, sole } = start;
  return {
    me,
    volume,
    process,
    dead,
    sole,
    known: epoch,
    terms: 1,
    nextRead: now,
    askers: [],
    stopping: false,
    unfitUntil: now,
  };
}

/** What Dovecot has to be after a step. */
export function wanted(lease: Lease): Wanted {
  const { term, row } = lease;
  const idle = { epoch: lease.known, deadline: 0 };
  if (term !== undefined) {
    if (!isOpen(term)) return { mode: 'stopped', ...idle };
    return { mode: term.phase === 'primary' ? 'primary' : 'opening', epoch: term.epoch, deadline: term.deadline };
  }
  // Who was the last primary will be it again, or there is another soon; until then nobody has anything for it.
  const waits = lease.stopping || row === undefined || row.epoch === 0 || row.primary === lease.me;
  return { mode: waits && !(row?.epoch === 0 && lease.me !== 0 && !lease.stopping) ? 'stopped' : 'replica', ...idle };
}

/** A stop was asked for and nothing is left to do. */
export function isFinished(lease: Lease): boolean {
  return lease.stopping && lease.term === undefined && lease.take?.waiting !== true;
}

/** Another member asks us not to follow it for a while. */
export function promise(
  lease: Lease,
  now: number,
  request: PromiseTerms,
  times: LeaseTimes,
): { readonly lease: Lease; readonly granted: boolean } {
  if (!mayPromise(lease, request, now, times)) return { lease, granted: false };
  const until = Math.max(lease.promised ?? 0, now + request.ttl + times.margin);
  return { lease: { ...lease, promised: until, known: request.epoch }, granted: true };
}

/** What follows from an event at a time. Times never go back. */
export function step(lease: Lease, now: number, event: LeaseEvent, times: LeaseTimes): Step {
  const handled = handle(expire(lease, now), now, event, times);
  const planned = plan(giveUp(handled.lease, now, times), now, times);
  return { lease: planned.lease, commands: [...handled.commands, ...planned.commands] };
}

function expire(lease: Lease, now: number): Lease {
  const { term } = lease;
  return term !== undefined && isOpen(term) && now >= term.deadline ? drop(lease, now) : lease;
}

/** The lease is lost: Dovecot has to die, and what follows is another term. */
function drop(lease: Lease, now: number): Lease {
  const { term } = lease;
  if (term === undefined) return lease;
  return {
    ...lease,
    term: undefined,
    dying: term.holder,
    terms: lease.terms + 1,
    watch: undefined,
    read: undefined,
    nextRead: now,
    askers: [],
  };
}

function handle(lease: Lease, now: number, event: LeaseEvent, times: LeaseTimes): Step {
  switch (event.type) {
    case 'tick':
      return only(lease);
    case 'read':
    case 'readFailed':
      return event.sentAt === lease.read ? onRead(lease, now, event, times) : only(lease);
    case 'renewed':
    case 'renewFailed':
      return onRenewal(lease, now, event, times);
    case 'took':
    case 'takeFailed':
      return only(event.holder === holderOf(lease) ? onTake(lease, now, event, times) : lease);
    case 'promised':
      return only(onPromised(lease, event, times));
    case 'seeding': {
      const others = lease.askers.filter(({ member }) => member !== event.member);
      return only({ ...lease, sole: false, askers: [...others, { member: event.member, volume: event.volume }] });
    }
    case 'sawEpoch':
      return only(onEpoch(lease, now, event.epoch));
    default:
      return onShell(lease, now, event, times);
  }
}

/** What the shell reports of Dovecot and of wishes from outside. */
function onShell(lease: Lease, now: number, event: LeaseEvent, times: LeaseTimes): Step {
  switch (event.type) {
    case 'opened':
      return only(onOpened(lease, event.epoch));
    case 'flushed':
      return only(onFlushed(lease, now, event.complete, times));
    case 'down':
      return onDown(lease, now);
    case 'released':
      return only(
        lease.term?.phase === 'releasing' && lease.term.holder === event.holder ? bury(drop(lease, now)) : lease,
      );
    case 'handover':
      return onHandover(lease, now, event.to);
    case 'stop':
      return onStop({ ...lease, stopping: true }, now, event.planned);
    case 'unfit':
      // Reserved for nobody: who follows has to treat it as a failover, since there were no last syncs.
      return only(close({ ...lease, unfitUntil: event.until }, undefined));
    default:
      return only(lease);
  }
}

const only = (lease: Lease): Step => ({ lease, commands: [] });

function onEpoch(lease: Lease, now: number, epoch: number): Lease {
  if (epoch <= lease.known) return lease;
  const known = { ...lease, known: epoch };
  return lease.term !== undefined && epoch > lease.term.epoch ? drop(known, now) : known;
}

// --- reading -------------------------------------------------------------------------------------------------------

type ReadEvent = Extract<LeaseEvent, { type: 'read' | 'readFailed' }>;

function onRead(lease: Lease, now: number, event: ReadEvent, times: LeaseTimes): Step {
  const asked = { ...lease, read: undefined };
  if (event.type === 'readFailed') return only(openAlone(asked, now, times));
  const { row } = event;
  const seen = resolveTake({ ...learn(asked, row), watch: watchOf(asked, row, now), lastRead: now }, now, row, times);
  if (seen.term !== undefined && !isUnleased(seen)) return only(seen);
  if (mustRegister(seen, row)) return { lease: seen, commands: [{ type: 'register' }] };
  // Open without a lease, and the directory says that it isn't ours to have: closed.
  if (!isAdmitted(seen, row)) return only(drop(seen, now));
  return tryTake(seen, now, row, times);
}

function watchOf(lease: Lease, row: LeaseRow, now: number): Watch {
  const { epoch, renewals } = row;
  const { watch } = lease;
  const admitted = isAdmitted(lease, row);
  const same = watch?.epoch === epoch && watch.renewals === renewals && watch.admitted === admitted;
  return watch !== undefined && same ? watch : { epoch, renewals, admitted, since: now };
}

function learn(lease: Lease, row: LeaseRow): Lease {
  const sole = isOnlyMember(lease, row) || (lease.sole && !row.members.some((m) => m.seeded && m.member !== lease.me));
  return { ...lease, row, known: Math.max(lease.known, row.epoch), sole };
}

const isUnleased = ({ term }: Lease): boolean => term?.leased === false && isOpen(term);

/** No answer in time is none. */
function giveUp(lease: Lease, now: number, times: LeaseTimes): Lease {
  const overdue = lease.read !== undefined && now - lease.read >= times.requestTimeout;
  return overdue ? openAlone({ ...lease, read: undefined }, now, times) : lease;
}

/** A sole member goes on as it would without leases. It needs the volume's word for it, since the directory has none. */
function openAlone(lease: Lease, now: number, times: LeaseTimes): Lease {
  if (!lease.sole || lease.known === 0 || lease.term !== undefined || lease.take !== undefined || lease.stopping)
    return lease;
  if (now < lease.unfitUntil) return lease;
  const grant: Grant = { epoch: lease.known, promotion: 'restart', deadline: now + times.ttl, leased: false };
  return { ...lease, term: newTerm(lease, now, grant, times) };
}

interface Grant {
  readonly epoch: number;
  readonly promotion: Promotion;
  readonly deadline: number;
  readonly leased: boolean;
}

function newTerm(lease: Lease, now: number, grant: Grant, times: LeaseTimes): Term {
  const phase = now < grant.deadline ? 'opening' : 'adopting';
  const due = { nextRenew: now, nextAsk: now + times.askAfter, handoverAfter: now };
  return { holder: holderOf(lease), ...grant, phase, ...due };
}

// --- taking --------------------------------------------------------------------------------------------------------

function tryTake(lease: Lease, now: number, row: LeaseRow, times: LeaseTimes): Step {
  const promotion = mayTake(lease, row, now, times);
  if (promotion === undefined || lease.take?.waiting === true) return only(lease);
  const { epoch, renewals } = row;
  const take = { sentAt: now, epoch, renewals, promotion, waiting: true };
  const command: LeaseCommand = { type: 'take', sentAt: now, holder: holderOf(lease), epoch, renewals };
  return { lease: { ...lease, take }, commands: [command] };
}

/** A row that was read after a question whose answer is missing says what became of it. */
function resolveTake(lease: Lease, now: number, row: LeaseRow, times: LeaseTimes): Lease {
  const { take } = lease;
  if (take === undefined) return lease;
  if (row.holder === holderOf(lease)) {
    return got(lease, now, { epoch: row.epoch, promotion: take.promotion, deadline: now, leased: true }, times);
  }
  // The row has changed: what was asked can't be granted any more.
  return row.epoch === take.epoch && row.renewals === take.renewals ? lease : { ...lease, take: undefined };
}

type TakeEvent = Extract<LeaseEvent, { type: 'took' | 'takeFailed' }>;

function onTake(lease: Lease, now: number, event: TakeEvent, times: LeaseTimes): Lease {
  const { take } = lease;
  if (event.type === 'took' && event.epoch !== null) {
    const promotion = take?.promotion ?? 'failover';
    return got(lease, now, { epoch: event.epoch, promotion, deadline: event.sentAt + times.ttl, leased: true }, times);
  }
  // A no may be the answer to the second of two questions, the first of which was granted: the row will tell.
  if (take === undefined || event.sentAt !== take.sentAt) return lease;
  return { ...lease, take: { ...take, waiting: false }, nextRead: now };
}

/** The lease is ours, until the deadline; when that has passed a renewal has to say whether it still is. */
function got(before: Lease, now: number, grant: Grant, times: LeaseTimes): Lease {
  const lease = { ...before, take: undefined, known: Math.max(before.known, grant.epoch) };
  const { term } = lease;
  if (term?.leased) return lease;
  if (term !== undefined) {
    const deadline = Math.max(term.deadline, grant.deadline);
    return { ...lease, term: { ...term, leased: true, epoch: grant.epoch, deadline, nextRenew: now } };
  }
  const askers = lease.row ? askersWith(lease, lease.row) : [];
  const held = { ...lease, term: newTerm(lease, now, grant, times), askers };
  return lease.stopping ? close(held, undefined) : held;
}

// --- holding -------------------------------------------------------------------------------------------------------

type RenewalEvent = Extract<LeaseEvent, { type: 'renewed' | 'renewFailed' }>;

function onRenewal(lease: Lease, now: number, event: RenewalEvent, times: LeaseTimes): Step {
  const { term } = lease;
  if (term === undefined || term.holder !== event.holder) return only(lease);
  if (event.type === 'renewFailed') return only(lease);
  const { row } = event;
  if (row === null) return only(drop(lease, now));
  const extended = { ...extend(term, now, event.sentAt, times), round: undefined };
  return only({ ...learn(lease, row), askers: askersWith(lease, row), term: extended, lastRead: now });
}

/** Something that was asked for at `sentAt` lets us go on for the TTL from then. */
function extend(term: Term, now: number, sentAt: number, times: LeaseTimes): Term {
  const deadline = Math.max(term.deadline, sentAt + times.ttl);
  const phase = term.phase === 'adopting' && now < deadline ? 'opening' : term.phase;
  return { ...term, deadline, phase, nextAsk: sentAt + times.askAfter };
}

type PromisedEvent = Extract<LeaseEvent, { type: 'promised' }>;

function onPromised(lease: Lease, event: PromisedEvent, times: LeaseTimes): Lease {
  const { term } = lease;
  const round = term?.round;
  if (term === undefined || round?.sentAt !== event.round || term.holder !== event.holder || !isOpen(term))
    return lease;
  if (!event.yes) return { ...lease, term: { ...term, round: undefined } };
  const missing = round.missing.filter((member) => member !== event.member);
  if (missing.length > 0) return { ...lease, term: { ...term, round: { ...round, missing } } };
  return { ...lease, term: { ...extend(term, round.sentAt, round.sentAt, times), round: undefined } };
}

function onOpened(lease: Lease, epoch: number): Lease {
  const { term } = lease;
  if (term?.phase !== 'opening' || term.epoch !== epoch) return lease;
  return { ...lease, term: { ...term, phase: 'primary' } };
}

// --- letting go ----------------------------------------------------------------------------------------------------

function onHandover(lease: Lease, now: number, to: number | undefined): Step {
  const { term } = lease;
  if (term?.phase !== 'primary' || !term.leased || now < term.handoverAfter) return only(lease);
  const target = successor(lease, to);
  if (target === undefined) return only(lease);
  return {
    lease: { ...lease, term: { ...term, phase: 'leaving', to: target } },
    commands: [{ type: 'flush', to: target }],
  };
}

function onStop(lease: Lease, now: number, planned: boolean): Step {
  const left = planned ? onHandover(lease, now, undefined) : only(lease);
  return left.lease.term?.phase === 'leaving' ? left : only(close(lease, undefined));
}

function onFlushed(lease: Lease, now: number, complete: boolean, times: LeaseTimes): Lease {
  const { term } = lease;
  if (term?.phase !== 'leaving') return lease;
  if (complete || lease.stopping) return close(lease, complete ? term.to : undefined);
  return { ...lease, term: { ...term, phase: 'primary', to: undefined, handoverAfter: now + times.handoverPause } };
}

/** Dovecot has to die before the directory is told that we have let go. */
function close(lease: Lease, to: number | undefined): Lease {
  const { term } = lease;
  if (term === undefined || term.phase === 'closing' || term.phase === 'releasing') return lease;
  return { ...lease, term: { ...term, phase: 'closing', to, round: undefined } };
}

function onDown(lease: Lease, now: number): Step {
  const { term } = lease;
  if (term?.phase !== 'closing') return only(bury(lease));
  if (!term.leased) return only(bury(drop(lease, now)));
  const { holder, epoch, to } = term;
  const command: LeaseCommand = { type: 'release', holder, epoch, reservedFor: to ?? null };
  return { lease: { ...lease, term: { ...term, phase: 'releasing' } }, commands: [command] };
}

function bury(lease: Lease): Lease {
  if (lease.dying === undefined) return lease;
  return { ...lease, dying: undefined, dead: [...lease.dead, lease.dying].slice(-REMEMBERED) };
}

// --- what is due ---------------------------------------------------------------------------------------------------

function plan(lease: Lease, now: number, times: LeaseTimes): Step {
  const { term } = lease;
  if (term === undefined) return planRead(lease, now, times);
  if (!isOpen(term) && term.phase !== 'adopting') return only(lease);
  const directory = term.leased ? planRenewal(lease, term, now, times) : planRead(lease, now, times);
  const asking = planAsking(directory.lease, now, times);
  return { lease: asking.lease, commands: [...directory.commands, ...asking.commands] };
}

function planRead(lease: Lease, now: number, times: LeaseTimes): Step {
  if (lease.read !== undefined || now < lease.nextRead || lease.take?.waiting === true || lease.stopping)
    return only(lease);
  return { lease: { ...lease, read: now, nextRead: now + times.readEvery }, commands: [{ type: 'read', sentAt: now }] };
}

/** Whether or not the last one has been answered: of several, each that is answered counts from when it was asked. */
function planRenewal(lease: Lease, term: Term, now: number, times: LeaseTimes): Step {
  if (now < term.nextRenew) return only(lease);
  const { holder, epoch } = term;
  return {
    lease: { ...lease, term: { ...term, nextRenew: now + times.renewEvery } },
    commands: [{ type: 'renew', sentAt: now, holder, epoch }],
  };
}

/**
 * Everybody who could follow is asked, and the volume: its owner is the youngest process of this member. So a process that
 * another pod has replaced doesn't go on by the promises of others.
 */
function planAsking(lease: Lease, now: number, times: LeaseTimes): Step {
  const { term, askers, me } = lease;
  if (term === undefined || !isOpen(term) || now < term.nextAsk) return only(lease);
  const missing = [me, ...askers.map(({ member }) => member)];
  const next = { ...term, round: { sentAt: now, missing }, nextAsk: now + times.askEvery };
  const { holder, epoch } = term;
  return { lease: { ...lease, term: next }, commands: [{ type: 'ask', round: now, holder, epoch, askers }] };
}

/** Where this member stands among those that could follow; 0 is the most advanced. For metrics and logs. */
export function placeOf(lease: Lease): number | undefined {
  const place = lease.row ? candidates(lease.row).findIndex(({ member }) => member === lease.me) : -1;
  return place < 0 ? undefined : place;
}

/**
 * A small world for the lease protocol: processes with the real state machine, a directory that may forget what it hasn't
 * acknowledged, a network that delays and loses, a clock in ticks. `lease-check.ts` tries all that can happen in it.
 *
 * What is certain goes without saying (a message that isn't delayed arrives before the next tick). What is adverse costs a
 * unit of a budget: a message delayed for ever or until any later time, a pause, a crash, a failover, a cut.
 */
import { newLease, promise, step, wanted } from '../lease.js';
import type { Asker, Lease, LeaseCommand, LeaseEvent, LeaseMember, LeaseRow, LeaseTimes } from '../lease-state.js';

/** In ticks; a tick is also the time that a kill may take after a deadline. */
export const TICKS: LeaseTimes = {
  ttl: 3,
  margin: 1,
  renewEvery: 1,
  readEvery: 1,
  requestTimeout: 2,
  askAfter: 2,
  askEvery: 1,
  quiet: 1,
  stagger: 0,
  handoverPause: 5,
};

/** Ways to break the protocol, to see that the check notices. */
export interface Broken {
  /** The holder counts its deadline from the answer. */
  readonly deadlineFromAnswer?: boolean;
  /** A follower counts from when it asked. */
  readonly watchFromQuestion?: boolean;
  /** A promise is given and forgotten. */
  readonly promiseForgotten?: boolean;
  /** A promise is given while the lease is being asked for. */
  readonly promiseWhileTaking?: boolean;
  /** A promise lasts for the TTL only. */
  readonly promiseWithoutMargin?: boolean;
  /** Not everybody is asked. */
  readonly oneAnswerIsEnough?: boolean;
  /** A renewal adds one. */
  readonly plainCounter?: boolean;
  /** Taking compares the epoch only. */
  readonly epochOnly?: boolean;
  /** The directory is told before Dovecot is dead. */
  readonly releaseBeforeDeath?: boolean;
  /** Nobody kills Dovecot at its deadline but the agent. */
  readonly noWatchdog?: boolean;
  /** A new process takes every holder of its member for dead. */
  readonly assumedDead?: boolean;
  /** Who has just been seeded counts the time before. */
  readonly seededWithoutWaiting?: boolean;
  /** Nobody asks the volume whose it is. */
  readonly volumeUnasked?: boolean;
  /** A member is declared seeded before its primary would ask it. */
  readonly seededUnknown?: boolean;
}

interface Dovecot {
  readonly holder: string;
  readonly deadline: number;
  readonly dying: boolean;
}

export interface Process {
  readonly id: number;
  readonly lease: Lease;
  /** The agent runs. */
  readonly up: boolean;
  /** Agent, Dovecot and watchdog are stopped. */
  readonly paused: boolean;
  /** Only the agent is stopped. */
  readonly agentPaused: boolean;
  readonly cut: boolean;
  /** Another process of the same member has the volume now. */
  readonly replaced: boolean;
  readonly dovecot?: Dovecot | undefined;
}

interface Row {
  readonly epoch: number;
  readonly renewals: number;
  readonly primary: number | null;
  readonly holder: string | null;
  readonly reservedFor: number | null;
  readonly seeded: readonly boolean[];
}

type Write = Extract<LeaseCommand, { type: 'renew' | 'take' | 'release' }>;

export type Message =
  | { readonly kind: 'ask-directory'; readonly from: number; readonly command: LeaseCommand; readonly slow: boolean }
  | { readonly kind: 'event'; readonly to: number; readonly event: LeaseEvent; readonly slow: boolean }
  | {
      readonly kind: 'ask-peer';
      readonly from: number;
      readonly asker: Asker;
      readonly command: Extract<LeaseCommand, { type: 'ask' }>;
      readonly slow: boolean;
    }
  | {
      readonly kind: 'ask-volume';
      readonly from: number;
      readonly round: number;
      readonly holder: string;
      readonly slow: boolean;
    }
  | {
      readonly kind: 'seed';
      readonly epoch: number;
      readonly holder: string;
      readonly member: number;
      readonly slow: boolean;
    };

export interface World {
  readonly now: number;
  readonly budget: number;
  readonly nonce: number;
  readonly row: Row;
  /** What the directory has after a failover, when that isn't the row. */
  readonly durable?: Row | undefined;
  readonly away: boolean;
  readonly processes: readonly Process[];
  readonly net: readonly Message[];
  /** Epochs under which a Dovecot has been opened: the highest, and by whom. */
  readonly opened: { readonly epoch: number; readonly holder: string };
  readonly violation?: string | undefined;
}

export interface Rules {
  readonly members: number;
  readonly broken: Broken;
  readonly times: LeaseTimes;
  /** Adverse things that may happen in this world. */
  readonly adversary: ReadonlySet<Adversity>;
  /** What may be delayed: commands and events. Default: everything. */
  readonly delays?: readonly string[] | undefined;
}

export type Adversity =
  | 'delay'
  | 'lost-ack'
  | 'failover'
  | 'away'
  | 'cut'
  | 'pause'
  | 'pause-agent'
  | 'crash'
  | 'replace'
  | 'handover'
  | 'stop'
  | 'seed';

export interface Move {
  readonly name: string;
  readonly world: World;
}

const volumeOf = (member: number) => `v${member}`;
const processName = (member: number, id: number, now: number) => `${member}.${id}.${now}`.padEnd(24, '.');

export function startLease(member: number, id: number, now: number, dead: readonly string[] = []): Lease {
  const start = {
    me: member,
    volume: volumeOf(member),
    process: processName(member, id, now),
    dead,
    epoch: 0,
    sole: false,
  };
  return newLease(start, now);
}

/** All members have just started; member 0 has the lease to itself, the others are seeded (but for those in `blank`). */
export function newWorld(rules: Rules, budget: number, blank: readonly number[] = []): World {
  const members = Array.from({ length: rules.members }, (_, member) => member);
  return {
    now: 0,
    budget,
    nonce: 1,
    row: {
      epoch: 0,
      renewals: 0,
      primary: null,
      holder: null,
      reservedFor: null,
      seeded: members.map((member) => !blank.includes(member)),
    },
    away: false,
    processes: members.map((member) => ({
      id: member,
      lease: startLease(member, member, 0),
      up: true,
      paused: false,
      agentPaused: false,
      cut: false,
      replaced: false,
    })),
    net: [],
    opened: { epoch: 0, holder: '' },
  };
}

// --- processes -----------------------------------------------------------------------------------------------------

const runs = (process: Process) => process.up && !process.paused && !process.agentPaused;

/** Dovecot takes mail: until the watchdog has killed it, at most a tick after its deadline. */
export function accepts(process: Process, now: number, { broken }: Rules): boolean {
  const { dovecot } = process;
  if (dovecot === undefined || process.paused) return false;
  return broken.noWatchdog === true || now < dovecot.deadline + 1;
}

function withProcess(world: World, changed: Process): World {
  return { ...world, processes: world.processes.map((process) => (process.id === changed.id ? changed : process)) };
}

/** The process handles an event, does what follows from it, and Dovecot is what it has to be. */
export function happen(world: World, id: number, event: LeaseEvent, rules: Rules): World {
  const process = world.processes[id] as Process;
  const before = process.lease;
  const shown =
    rules.broken.deadlineFromAnswer && 'sentAt' in event
      ? { ...event, sentAt: asIfNow(before, event, world.now) }
      : event;
  const next = step(before, world.now, shown as LeaseEvent, rules.times);
  const lease = miscounted(before, next.lease, event, rules.broken);
  const changed = supervise(withProcess(world, { ...process, lease }), id);
  const sent = next.commands.flatMap((command) => messagesOf(command, id));
  return instantly({ ...changed, net: [...changed.net, ...sent] }, id, next.commands, rules);
}

function asIfNow(lease: Lease, event: { type: string; sentAt?: number }, now: number): number | undefined {
  return event.type === 'renewed' || event.type === 'took' ? now : (event.sentAt ?? lease.read);
}

function miscounted(before: Lease, lease: Lease, event: LeaseEvent, broken: Broken): Lease {
  const { watch } = lease;
  if (event.type !== 'read' || watch === undefined || watch === before.watch) return lease;
  if (broken.watchFromQuestion) return { ...lease, watch: { ...watch, since: event.sentAt } };
  const same = before.watch?.renewals === watch.renewals && before.watch.epoch === watch.epoch;
  return broken.seededWithoutWaiting && same
    ? { ...lease, watch: { ...watch, since: before.watch?.since ?? 0 } }
    : lease;
}

function messagesOf(command: LeaseCommand, from: number): readonly Message[] {
  switch (command.type) {
    case 'read':
    case 'renew':
    case 'take':
    case 'release':
      return [{ kind: 'ask-directory', from, command, slow: false }];
    case 'ask':
      return [
        { kind: 'ask-volume', from, round: command.round, holder: command.holder, slow: false },
        ...command.askers.map((asker) => ({ kind: 'ask-peer' as const, from, asker, command, slow: false })),
      ];
    default:
      return [];
  }
}

/** What needs no network: the last syncs of a handover, the journal's replay. */
function instantly(world: World, id: number, commands: readonly LeaseCommand[], rules: Rules): World {
  const { term } = (world.processes[id] as Process).lease;
  if (commands.some(({ type }) => type === 'flush'))
    return happen(world, id, { type: 'flushed', complete: true }, rules);
  if (term?.phase === 'opening') return happen(world, id, { type: 'opened', epoch: term.epoch }, rules);
  if (rules.broken.releaseBeforeDeath && term?.phase === 'closing') return happen(world, id, { type: 'down' }, rules);
  return world;
}

function supervise(world: World, id: number): World {
  const process = world.processes[id] as Process;
  const { lease, dovecot } = process;
  const { mode, epoch, deadline } = wanted(lease);
  const open = mode === 'opening' || mode === 'primary';
  if (dovecot === undefined) {
    if (!open || lease.dying !== undefined) return world;
    return opening(
      withProcess(world, { ...process, dovecot: { holder: holder(lease), deadline, dying: false } }),
      epoch,
      holder(lease),
    );
  }
  if (!open || dovecot.dying || dovecot.holder !== holder(lease)) {
    return withProcess(world, { ...process, dovecot: { ...dovecot, dying: true } });
  }
  return withProcess(world, { ...process, dovecot: { ...dovecot, deadline } });
}

const holder = ({ term }: Lease): string => term?.holder ?? '';

function opening(world: World, epoch: number, by: string): World {
  const { opened } = world;
  if (epoch < opened.epoch || (epoch === opened.epoch && by !== opened.holder)) {
    return { ...world, violation: `epoch ${epoch} is opened by ${by} after ${opened.epoch} by ${opened.holder}` };
  }
  return { ...world, opened: { epoch, holder: by } };
}

/** No process of its Dovecot is left, and the agent, if it runs, notices. */
function bury(world: World, id: number, rules: Rules): World {
  const process = world.processes[id] as Process;
  const buried = withProcess(world, { ...process, dovecot: undefined });
  return runs(process) ? happen(buried, id, { type: 'down' }, rules) : buried;
}

// --- the directory -------------------------------------------------------------------------------------------------

function view(row: Row, members: number): LeaseRow {
  const listed: LeaseMember[] = Array.from({ length: members }, (_, member) => ({
    member,
    host: '',
    port: 0,
    volume: volumeOf(member),
    seeded: row.seeded[member] === true,
    inSync: row.seeded[member] === true,
    lagChanges: 0,
    lagSeconds: 0,
  }));
  const { epoch, renewals, primary, holder: held, reservedFor } = row;
  return { epoch, renewals, primary, holder: held, reservedFor, wanted: null, replicas: members, members: listed };
}

/** The row after a write, or undefined when its condition doesn't hold. Exactly the SQL functions' conditions. */
function written(world: World, command: Write, from: Process, { broken }: Rules): Row | undefined {
  const { row } = world;
  const renewals = broken.plainCounter ? row.renewals + 1 : world.nonce;
  const me = from.lease.me;
  if (command.type === 'take') {
    const same = row.epoch === command.epoch && (broken.epochOnly === true || row.renewals === command.renewals);
    if (!same || row.seeded[me] !== true) return undefined;
    return { ...row, epoch: row.epoch + 1, renewals, primary: me, holder: command.holder, reservedFor: null };
  }
  if (row.holder !== command.holder || row.epoch !== command.epoch) return undefined;
  return command.type === 'renew'
    ? { ...row, renewals }
    : { ...row, renewals, holder: null, reservedFor: command.reservedFor };
}

function answerTo(command: LeaseCommand, row: Row | undefined, members: number): LeaseEvent {
  switch (command.type) {
    case 'renew':
      return { type: 'renewed', sentAt: command.sentAt, holder: command.holder, row: row ? view(row, members) : null };
    case 'take':
      return { type: 'took', sentAt: command.sentAt, holder: command.holder, epoch: row?.epoch ?? null };
    case 'release':
      return { type: 'released', holder: command.holder };
    default:
      return { type: 'read', sentAt: (command as { sentAt: number }).sentAt, row: view(row as Row, members) };
  }
}

function failureOf(command: LeaseCommand): LeaseEvent {
  switch (command.type) {
    case 'renew':
      return { type: 'renewFailed', sentAt: command.sentAt, holder: command.holder };
    case 'take':
      return { type: 'takeFailed', sentAt: command.sentAt, holder: command.holder };
    case 'release':
      return { type: 'released', holder: command.holder };
    default:
      return { type: 'readFailed', sentAt: (command as { sentAt: number }).sentAt };
  }
}

type ToDirectory = Extract<Message, { kind: 'ask-directory' }>;

/** The directory does it. `acknowledged`: it is on two members, and so is all before it. */
function execute(world: World, { from, command }: ToDirectory, acknowledged: boolean, rules: Rules): World {
  const reply = (row: Row | undefined): Message => ({
    kind: 'event',
    to: from,
    event: answerTo(command, row, rules.members),
    slow: false,
  });
  if (command.type === 'read') return { ...world, net: [...world.net, reply(world.row)] };
  const row = written(world, command as Write, world.processes[from] as Process, rules);
  if (row === undefined) return { ...world, net: [...world.net, reply(undefined)] };
  const changed = { ...world, row, nonce: world.nonce + 1 };
  if (acknowledged) return { ...changed, durable: undefined, net: [...world.net, reply(row)] };
  return { ...changed, durable: world.durable ?? world.row };
}

// --- moves ---------------------------------------------------------------------------------------------------------

const without = (net: readonly Message[], index: number) => net.filter((_, at) => at !== index);

/** A message arrives. Nothing happens when nobody is there who could take it. */
function deliveries(world: World, index: number, rules: Rules): readonly Move[] {
  const message = world.net[index] as Message;
  const rest = { ...world, net: without(world.net, index) };
  switch (message.kind) {
    case 'ask-directory':
      return toDirectory(rest, message, rules);
    case 'ask-peer':
      return toPeer(rest, message, rules);
    case 'ask-volume':
      return toVolume(rest, message, rules);
    case 'event': {
      const process = world.processes[message.to] as Process;
      if (!process.up) return [{ name: 'lost', world: rest }];
      if (!runs(process)) return [];
      return [
        { name: `${name(process)} ${message.event.type}`, world: happen(rest, message.to, message.event, rules) },
      ];
    }
    case 'seed': {
      const { row } = rest;
      const held = row.holder === message.holder && row.epoch === message.epoch && !rest.away;
      const seeded = row.seeded.map((was, member) => was || member === message.member);
      return [{ name: 'seeded', world: held ? { ...rest, row: { ...row, seeded } } : rest }];
    }
  }
}

const name = ({ id, lease }: Process) => `${id}(m${lease.me})`;

function toDirectory(rest: World, message: ToDirectory, rules: Rules): readonly Move[] {
  const from = rest.processes[message.from] as Process;
  const what = `${name(from)} ${message.command.type}`;
  if (rest.away || from.cut) {
    const event: Message = { kind: 'event', to: message.from, event: failureOf(message.command), slow: message.slow };
    return [{ name: `${what} fails`, world: { ...rest, net: [...rest.net, event] } }];
  }
  const done: Move = { name: `${what} at the directory`, world: execute(rest, message, true, rules) };
  if (message.command.type === 'read' || !pays(rest, rules, 'lost-ack')) return [done];
  return [done, { name: `${what}, answer lost`, world: execute(pay(rest), message, false, rules) }];
}

/** The process looks at its volume's record. */
function toVolume(rest: World, message: Extract<Message, { kind: 'ask-volume' }>, rules: Rules): readonly Move[] {
  const process = rest.processes[message.from] as Process;
  if (!process.up) return [{ name: 'lost', world: rest }];
  if (!runs(process)) return [];
  const { round, holder: by } = message;
  const event: LeaseEvent = {
    type: 'promised',
    round,
    holder: by,
    member: process.lease.me,
    yes: owns(process, rules),
  };
  return [{ name: `${name(process)} looks at its volume`, world: happen(rest, message.from, event, rules) }];
}

const owns = ({ replaced }: Process, { broken }: Rules) => !replaced || broken.volumeUnasked === true;

/** Of several processes of a member any may be asked: the address may still lead to the old one. */
function toPeer(rest: World, message: Extract<Message, { kind: 'ask-peer' }>, rules: Rules): readonly Move[] {
  return rest.processes
    .filter(({ lease }) => lease.me === message.asker.member)
    .flatMap((peer) => {
      if (!peer.up) return [{ name: 'lost', world: rest }];
      return runs(peer) ? [askPeer(rest, peer, message, rules)] : [];
    });
}

function askPeer(rest: World, peer: Process, message: Extract<Message, { kind: 'ask-peer' }>, rules: Rules): Move {
  const { asker, command, from } = message;
  const request = { epoch: command.epoch, volume: asker.volume, ttl: rules.times.ttl };
  const answer = owns(peer, rules)
    ? promised(peer.lease, rest.now, request, rules)
    : { lease: peer.lease, granted: false };
  const { lease, granted } = answer;
  const event: LeaseEvent = {
    type: 'promised',
    round: command.round,
    holder: command.holder,
    member: asker.member,
    yes: granted,
  };
  const events: Message[] = [{ kind: 'event', to: from, event, slow: false }];
  if (rules.broken.oneAnswerIsEnough && granted) {
    for (const { member } of command.askers)
      events.push({ kind: 'event', to: from, event: { ...event, member }, slow: false });
  }
  const world = withProcess({ ...rest, net: [...rest.net, ...events] }, { ...peer, lease });
  return { name: `${name(peer)} promises: ${granted}`, world };
}

function promised(
  lease: Lease,
  now: number,
  request: { epoch: number; volume: string; ttl: number },
  { broken, times }: Rules,
) {
  const asked = broken.promiseWhileTaking ? { ...lease, take: undefined } : lease;
  const margin = broken.promiseWithoutMargin ? { ...times, margin: 0 } : times;
  const answer = promise(asked, now, request, margin);
  const kept = broken.promiseForgotten ? lease : { ...answer.lease, take: lease.take };
  return { lease: kept, granted: answer.granted };
}

const pays = (world: World, rules: Rules, what: Adversity) => world.budget > 0 && rules.adversary.has(what);
const pay = (world: World): World => ({ ...world, budget: world.budget - 1 });

/** Something that isn't slow and could arrive keeps the clock from going on. */
function isUrgent(world: World, message: Message): boolean {
  if (message.slow) return false;
  const able = (process: Process) => runs(process) || !process.up;
  switch (message.kind) {
    case 'event':
      return able(world.processes[message.to] as Process);
    case 'ask-volume':
      return able(world.processes[message.from] as Process);
    case 'ask-peer':
      return world.processes.some((process) => process.lease.me === message.asker.member && able(process));
    default:
      return true;
  }
}

/** Time goes on, for the processes one after the other. */
function tick(world: World, rules: Rules, direction: 1 | -1): World {
  let next: World = { ...world, now: world.now + 1 };
  for (const { id } of direction > 0 ? next.processes : next.processes.toReversed()) {
    next = watch(next, id, rules);
    if (runs(next.processes[id] as Process)) next = happen(next, id, { type: 'tick' }, rules);
  }
  return next;
}

/** The watchdog looks; when it is stopped with the rest, it does so first of all when it goes on. */
function watch(world: World, id: number, rules: Rules): World {
  const process = world.processes[id] as Process;
  const { dovecot } = process;
  if (dovecot === undefined || process.paused || rules.broken.noWatchdog) return world;
  return world.now >= dovecot.deadline + 1 ? bury(world, id, rules) : world;
}

function resume(world: World, id: number, rules: Rules): World {
  const process = world.processes[id] as Process;
  const { dovecot } = process;
  const late = dovecot !== undefined && world.now >= dovecot.deadline && !rules.broken.noWatchdog;
  const running = withProcess(world, { ...process, paused: false, agentPaused: false });
  const watched = late ? bury(running, id, rules) : running;
  return happen(watched, id, { type: 'tick' }, rules);
}

/** The same pod: what is left of the former process is killed first. */
function restart(world: World, id: number, rules: Rules): World {
  const process = world.processes[id] as Process;
  const fresh = world.processes.length;
  const dead = [process.lease.term?.holder ?? process.lease.dying ?? ''].filter((text) => text !== '');
  const lease = {
    ...startLease(process.lease.me, fresh, world.now, dead),
    known: process.lease.known,
  };
  const started = withProcess(world, { ...process, lease, up: true, dovecot: undefined });
  return happen(started, id, { type: 'tick' }, rules);
}

/** Another pod for the same member, whose former one goes on somewhere without the volume being able to tell. */
function replace(world: World, id: number, rules: Rules): World {
  const process = world.processes[id] as Process;
  const fresh = world.processes.length;
  const dead = rules.broken.assumedDead && world.row.holder !== null ? [world.row.holder] : [];
  const lease = { ...startLease(process.lease.me, fresh, world.now, dead), known: process.lease.known };
  const added: Process = { id: fresh, lease, up: true, paused: false, agentPaused: false, cut: false, replaced: false };
  const old = withProcess(world, { ...process, replaced: true });
  return happen({ ...old, processes: [...old.processes, added] }, fresh, { type: 'tick' }, rules);
}

function seed(world: World, id: number, member: number, rules: Rules): World {
  const { term } = (world.processes[id] as Process).lease;
  const message: Message = { kind: 'seed', epoch: term?.epoch ?? 0, holder: term?.holder ?? '', member, slow: false };
  const known = rules.broken.seededUnknown
    ? world
    : happen(world, id, { type: 'seeding', member, volume: volumeOf(member) }, rules);
  return { ...known, net: [...known.net, message] };
}

/** Everything that can happen next. What isn't delayed arrives in order; what is may arrive at any time, or never. */
export function moves(world: World, rules: Rules): readonly Move[] {
  const all: Move[] = [];
  const first = world.net.findIndex((message) => isUrgent(world, message));
  world.net.forEach((message, index) => {
    if (message.slow || index === first) all.push(...deliveries(world, index, rules));
    if (mayDelay(world, message, rules)) {
      const net = world.net.map((other, at) => (at === index ? { ...other, slow: true } : other));
      all.push({ name: `delay ${message.kind}`, world: { ...pay(world), net } });
    }
  });
  for (const process of world.processes) all.push(...processMoves(world, process, rules));
  all.push(...directoryMoves(world, rules));
  if (first < 0)
    all.push(
      { name: 'tick', world: tick(world, rules, 1) },
      { name: 'tick, backwards', world: tick(world, rules, -1) },
    );
  return all;
}

function mayDelay(world: World, message: Message, rules: Rules): boolean {
  if (message.slow || !pays(world, rules, 'delay')) return false;
  return rules.delays === undefined || rules.delays.includes(labelOf(message));
}

function labelOf(message: Message): string {
  if (message.kind === 'event') return message.event.type;
  return message.kind === 'ask-directory' ? message.command.type : message.kind;
}

function directoryMoves(world: World, rules: Rules): readonly Move[] {
  const all: Move[] = [];
  if (world.durable && pays(world, rules, 'failover')) {
    all.push({ name: 'failover', world: { ...pay(world), row: world.durable, durable: undefined } });
  }
  if (world.away) all.push({ name: 'directory is back', world: { ...world, away: false } });
  else if (pays(world, rules, 'away')) all.push({ name: 'directory is away', world: { ...pay(world), away: true } });
  return all;
}

function processMoves(world: World, process: Process, rules: Rules): readonly Move[] {
  const { id } = process;
  const can = (what: string, then: () => World): Move => ({ name: `${name(process)} ${what}`, world: then() });
  if (process.paused || process.agentPaused) return [can('resumes', () => resume(world, id, rules))];
  if (process.up) return [...runningMoves(world, process, rules, can), ...primaryMoves(world, process, rules, can)];
  return process.replaced ? [] : [can('restarts', () => restart(world, id, rules))];
}

type Can = (what: string, then: () => World) => Move;

function runningMoves(world: World, process: Process, rules: Rules, can: Can): readonly Move[] {
  const { id, cut, dovecot } = process;
  const paid = (change: Partial<Process>) => () => withProcess(pay(world), { ...process, ...change });
  const all: Move[] = [];
  if (pays(world, rules, 'pause')) all.push(can('is stopped', paid({ paused: true })));
  if (dovecot && pays(world, rules, 'pause-agent')) all.push(can('has its agent stopped', paid({ agentPaused: true })));
  if (pays(world, rules, 'crash')) all.push(can('crashes', paid({ up: false })));
  if (cut) all.push(can('is reconnected', () => withProcess(world, { ...process, cut: false })));
  else if (pays(world, rules, 'cut')) all.push(can('is cut off', paid({ cut: true })));
  if (mayBury(process)) all.push(can('has killed Dovecot', () => bury(world, id, rules)));
  return all;
}

/** Dovecot is being killed, or there is nothing to kill. */
function mayBury({ dovecot, lease }: Process): boolean {
  if (dovecot !== undefined) return dovecot.dying;
  return lease.dying !== undefined || lease.term?.phase === 'closing';
}

function primaryMoves(world: World, process: Process, rules: Rules, can: Can): readonly Move[] {
  const { id, lease } = process;
  if (lease.term?.phase !== 'primary') return [];
  const all: Move[] = [];
  const may = (what: Adversity, then: () => World) => {
    if (pays(world, rules, what)) all.push(can(what, then));
  };
  if (!world.processes.some(({ replaced }) => replaced)) may('replace', () => replace(pay(world), id, rules));
  may('handover', () => happen(pay(world), id, { type: 'handover' }, rules));
  if (!lease.stopping) may('stop', () => happen(pay(world), id, { type: 'stop', planned: true }, rules));
  const blank = world.row.seeded.indexOf(false);
  if (blank >= 0) may('seed', () => seed(pay(world), id, blank, rules));
  return all;
}

/** What must never be. */
export function violation(world: World, rules: Rules): string | undefined {
  if (world.violation) return world.violation;
  const accepting = world.processes.filter((process) => accepts(process, world.now, rules));
  return accepting.length > 1 ? `${accepting.map(name).join(' and ')} accept mail at once` : undefined;
}

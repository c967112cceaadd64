/** Breadth first through all that can happen in a world, up to a time and a budget of adverse events. */
import type { Lease, LeaseCommand, LeaseEvent, Term } from '../lease-state.js';
import {
  type Message,
  type Move,
  moves,
  newWorld,
  type Process,
  type Rules,
  violation,
  type World,
} from './lease-world.js';

export interface Found {
  readonly states: number;
  /** What happened, step by step, until it went wrong; undefined when nothing did. */
  readonly trace?: readonly string[] | undefined;
  readonly violation?: string | undefined;
  /** How many states there were in which each member was primary: that the check has seen what it should. */
  readonly primaries: ReadonlyMap<string, number>;
}

export interface Bounds {
  readonly ticks: number;
  readonly budget: number;
  readonly blank?: readonly number[];
  /** What is so from the beginning, without a cost. */
  readonly first?: { readonly away?: boolean; readonly cut?: readonly number[]; readonly paused?: readonly number[] };
  /** Ticks without anything adverse before: everybody has found their place. */
  readonly warmUp?: number;
  readonly maxStates?: number;
}

interface Node {
  readonly world: World;
  readonly from?: Node | undefined;
  readonly name: string;
  readonly violation?: string | undefined;
}

/** Tries everything. Ends at the first state that must not be. */
export function check(rules: Rules, bounds: Bounds): Found {
  const started = warm(rules, bounds);
  const search: Search = { rules, end: started.now + bounds.ticks, seen: new Set(), primaries: new Map() };
  const limit = bounds.maxStates ?? 1_000_000;
  let level: Node[] = [{ world: { ...started, budget: bounds.budget }, name: 'start' }];
  while (level.length > 0) {
    const next = level.flatMap((node) => reach(search, node));
    const wrong = next.find(({ violation: found }) => found !== undefined);
    const { seen, primaries } = search;
    if (wrong) return { states: seen.size, trace: traceOf(wrong), violation: wrong.violation, primaries };
    if (seen.size > limit) throw new Error(`more than ${limit} states: set tighter bounds`);
    level = next;
  }
  return { states: search.seen.size, primaries: search.primaries };
}

interface Search {
  readonly rules: Rules;
  readonly end: number;
  readonly seen: Set<number>;
  readonly primaries: Map<string, number>;
}

/** States that have not been seen, one move further. */
function reach({ rules, end, seen, primaries }: Search, from: Node): Node[] {
  const reached: Node[] = [];
  for (const { name, world } of moves(from.world, rules)) {
    if (world.now > end || !isNew(seen, world)) continue;
    count(primaries, world);
    reached.push({ world, from, name, violation: violation(world, rules) });
  }
  return reached;
}

/** Always the first thing that can happen. */
function warm(rules: Rules, { blank, first, warmUp = 3 }: Bounds): World {
  let world = newWorld(rules, 0, blank);
  while (world.now < warmUp) world = (moves(world, rules)[0] as Move).world;
  while (world.net.length > 0) world = (moves(world, rules)[0] as Move).world;
  const processes = world.processes.map((process) => ({
    ...process,
    cut: first?.cut?.includes(process.id) === true,
    paused: first?.paused?.includes(process.id) === true,
  }));
  return { ...world, processes, away: first?.away === true };
}

function isNew(seen: Set<number>, world: World): boolean {
  const before = seen.size;
  seen.add(hash(keyOf(world)));
  return seen.size > before;
}

function count(primaries: Map<string, number>, { processes }: World): void {
  for (const { lease } of processes) {
    if (lease.term?.phase !== 'primary') continue;
    const key = `member ${lease.me}, ${lease.term.promotion}`;
    primaries.set(key, (primaries.get(key) ?? 0) + 1);
  }
}

function traceOf(node: Node): readonly string[] {
  const trace: string[] = [];
  for (let at: Node | undefined = node; at; at = at.from) trace.unshift(`${at.world.now}: ${at.name}`);
  return trace;
}

/**
 * What distinguishes a state. Renewals are renamed in the order in which they are met: they are compared, never counted with.
 */
function keyOf(world: World): string {
  const names = new Map<number, number>();
  const renewal = (value: number): number => {
    const known = names.get(value);
    if (known !== undefined) return known;
    names.set(value, names.size);
    return names.size - 1;
  };
  let key = `${world.now},${world.budget},${world.away},${world.opened.epoch}`;
  key += `;${rowKey(world.row, renewal)};${world.durable ? rowKey(world.durable, renewal) : ''}`;
  for (const process of world.processes) key += `;${processKey(process, renewal)}`;
  for (const message of world.net) key += `;${messageKey(message, renewal)}`;
  return key;
}

type Renewal = (value: number) => number;

function rowKey({ epoch, renewals, primary, holder, reservedFor, seeded }: World['row'], renewal: Renewal): string {
  return `${epoch},${renewal(renewals)},${primary},${holder},${reservedFor},${seeded}`;
}

function processKey({ lease, up, paused, agentPaused, cut, replaced, dovecot }: Process, renewal: Renewal): string {
  const flags = (up ? 1 : 0) + (paused ? 2 : 0) + (agentPaused ? 4 : 0) + (cut ? 8 : 0) + (replaced ? 16 : 0);
  return `${flags},${dovecot ? `${dovecot.holder},${dovecot.deadline},${dovecot.dying}` : ''},${leaseKey(lease, renewal)}`;
}

function leaseKey(lease: Lease, renewal: Renewal): string {
  const { row, watch, take, term, read, nextRead, lastRead, promised, dying, terms, known, dead, stopping, askers } =
    lease;
  let key = `${lease.process},${terms},${known},${dying},${dead},${stopping},${read},${nextRead},${lastRead},${promised}`;
  if (row) key += `,${row.epoch},${row.primary},${row.holder},${row.members.map(({ seeded }) => seeded)}`;
  if (watch) key += `,w${watch.epoch},${renewal(watch.renewals)},${watch.admitted},${watch.since}`;
  if (take) key += `,t${take.sentAt},${take.epoch},${renewal(take.renewals)},${take.waiting},${take.promotion}`;
  if (term) key += `,${termKey(term)}`;
  return `${key},${askers.map(({ member }) => member)}`;
}

function termKey({ holder, epoch, phase, deadline, nextRenew, round, nextAsk, to }: Term): string {
  return `${holder},${epoch},${phase},${deadline},${nextRenew},${round?.sentAt},${round?.missing},${nextAsk},${to}`;
}

function messageKey(message: Message, renewal: Renewal): string {
  const { kind, slow } = message;
  switch (message.kind) {
    case 'ask-directory':
      return `${kind}${slow},${message.from},${commandKey(message.command, renewal)}`;
    case 'event':
      return `${kind}${slow},${message.to},${eventKey(message.event, renewal)}`;
    case 'ask-peer':
      return `${kind}${slow},${message.from},${message.asker.member},${message.command.round},${message.command.holder}`;
    case 'ask-volume':
      return `${kind}${slow},${message.from},${message.round},${message.holder}`;
    case 'seed':
      return `${kind}${slow},${message.epoch},${message.holder},${message.member}`;
  }
}

function commandKey(command: LeaseCommand, renewal: Renewal): string {
  return 'renewals' in command
    ? `take${command.sentAt},${command.holder},${command.epoch},${renewal(command.renewals)}`
    : JSON.stringify(command);
}

function eventKey(event: LeaseEvent, renewal: Renewal): string {
  if (!('row' in event)) return JSON.stringify(event);
  const { type, sentAt, row } = event;
  if (row === null) return `${type},${sentAt}`;
  const { epoch, renewals, primary, holder, reservedFor, members } = row;
  return `${type},${sentAt},${epoch},${renewal(renewals)},${primary},${holder},${reservedFor},${members.map((m) => m.seeded)}`;
}

/** 53 bits; two states among a million share one with a probability below 1 in 10,000. */
function hash(text: string): number {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return 4294967296 * (2097151 & b) + (a >>> 0);
}

/**
 * Mailboxes that move from this shard to another, as the directory says (posthorn.moves): the primary of the shard that they
 * leave brings them over, step by step. What has been done is in the directory, so whoever is primary next goes on from there.
 *
 *   syncing    it is copied while it is used, until a copy takes little time
 *   switching  nobody gets in and mail waits, for some seconds: the last changes follow, both sides are compared; the directory
 *              changes the shard together with the phase
 *   settling   people are on the other shard; should something have come late to the old place, it follows
 *
 * Syncs are made with dsync's state wherever there is one: without it an expunge that one side has just seen can come back.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Log } from '../../operator/runtime/log.js';
import type { AgentClient } from './agent.js';
import { differences, type Inventory, inventorySchema, messagesIn } from './inventory.js';
import type { Locks } from './locks.js';
import type { Memory } from './memory.js';

const moveSchema = z.object({
  mailbox: z.string(),
  username: z.string().nullable(),
  phase: z.enum(['syncing', 'switching', 'settling']),
  phaseSeconds: z.number(),
  toShard: z.string(),
  toHost: z.string().nullable(),
  toPort: z.number().nullable(),
  toEpoch: z.number(),
  report: z
    .object({
      step: z.string().nullish(),
      /** Switches that were begun. */
      rounds: z.number().nullish(),
      failures: z.number().nullish(),
      failingSince: z.number().nullish(),
      verified: z.boolean().nullish(),
      /** A first copy has been made. */
      copied: z.boolean().nullish(),
      /** What the old place had when it was left. */
      left: z.string().nullish(),
      /** Epoch of the other shard whose primary is known to have everything. */
      toEpoch: z.number().nullish(),
      /** phaseSeconds from which the time of grace counts. */
      graceFrom: z.number().nullish(),
    })
    .loose(),
});
export type Move = z.output<typeof moveSchema>;

const stateSchema = z.object({ role: z.string(), moves: z.number().default(0) });

export interface MoveTiming {
  /** How often the directory is asked while something moves. */
  readonly everyMs: number;
  /** A copy that takes no longer is small enough to switch. */
  readonly smallMs: number;
  /** Until proxies and the mx have heard that nobody gets in. */
  readonly drainMs: number;
  /** People are kept out no longer than this; then it is copied again. */
  readonly switchMs: number;
  /** Until nobody delivers to the old place any more. */
  readonly lateSeconds: number;
  /** How long the old copy stays. */
  readonly graceSeconds: number;
  /** A move that can't be made for so long is given up. */
  readonly patienceMs: number;
}

export const MOVE_TIMING: MoveTiming = {
  everyMs: 2_000,
  smallMs: 3_000,
  drainMs: 1_500,
  switchMs: 10_000,
  lateSeconds: 90,
  graceSeconds: 900,
  patienceMs: 3_600_000,
};

/** Switches that are tried before a move is given up. */
const ROUNDS = 5;
/** Copies before a switch is tried, even if the last one was not small: somebody gets a lot of mail. */
const COPIES = 5;
const MOST_AT_ONCE = 8;
const SYNC_MS = 6 * 3_600_000;
const INVENTORY_MS = 5 * 60_000;
const SHORT_MS = 15_000;

export interface MovesOptions {
  readonly agent: Pick<AgentClient, 'get' | 'post'>;
  readonly log: Log;
  /** Of the replicator, where there is one: of one mailbox only one sync at a time. */
  readonly locks?: Pick<Locks, 'acquire'>;
  /** Where dsync's states outlive this process. Default: nowhere, and then syncs compare everything. */
  readonly memory?: Pick<Memory, 'read' | 'write'>;
  readonly timing?: MoveTiming;
  /** Wall clock, ms. */
  readonly now?: () => number;
}

export interface Moves {
  stop(): Promise<void>;
}

interface World extends Required<Omit<MovesOptions, 'locks' | 'memory'>> {
  readonly locks: Pick<Locks, 'acquire'> | undefined;
  readonly signal: AbortSignal;
  readonly memory: Pick<Memory, 'read' | 'write'>;
  /** When to try again, by mailbox. */
  readonly rests: Map<string, number>;
}

/** Looks whether something moves, while this member is the primary, and moves it. */
export function startMoves(options: MovesOptions): Moves {
  const stopping = new AbortController();
  const world: World = {
    ...{ agent: options.agent, log: options.log, locks: options.locks, now: options.now ?? Date.now },
    ...{ timing: options.timing ?? MOVE_TIMING, signal: stopping.signal, rests: new Map() },
    memory: options.memory ?? forgetful(),
  };
  const running = run(world);
  return {
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

function forgetful(): World['memory'] {
  const known = new Map<string, Awaited<ReturnType<Memory['read']>>>();
  return {
    read: async (volume, uuid) => known.get(`${volume}/${uuid}`),
    write: async (volume, uuid, entry) => void known.set(`${volume}/${uuid}`, entry),
  };
}

async function run(world: World): Promise<void> {
  const { signal, log, timing } = world;
  const underWay = new Map<string, Task>();
  while (!signal.aborted) {
    try {
      begin(world, await movesNow(world), underWay);
    } catch (error) {
      if (!signal.aborted) log.debug({ err: error }, 'moves could not be listed');
    }
    await sleep(timing.everyMs, undefined, { signal }).catch(() => undefined);
  }
  for (const { end } of underWay.values()) end.abort();
  await Promise.allSettled([...underWay.values()].map(({ done }) => done));
}

interface Task {
  readonly done: Promise<void>;
  readonly end: AbortController;
}

function begin(world: World, moves: readonly Move[], underWay: Map<string, Task>): void {
  // The move was ended, or this is not the primary any more: nothing may be written at the other shard from now on.
  for (const [mailbox, { end }] of underWay) if (!moves.some((move) => move.mailbox === mailbox)) end.abort();
  // Nobody may be kept out for longer than it takes.
  const rests = ({ mailbox, phase }: Move) => phase !== 'switching' && (world.rests.get(mailbox) ?? 0) > world.now();
  for (const move of moves.filter((one) => !underWay.has(one.mailbox) && !rests(one))) {
    if (underWay.size >= MOST_AT_ONCE) return;
    const end = new AbortController();
    const signal = AbortSignal.any([world.signal, end.signal]);
    const done = attempt({ ...world, signal }, move).finally(() => underWay.delete(move.mailbox));
    underWay.set(move.mailbox, { done, end });
  }
}

/** Nothing is asked of the directory while nothing moves. */
async function movesNow({ agent, signal }: World): Promise<Move[]> {
  const state = stateSchema.safeParse((await agent.get('/v1/state', { timeoutMs: SHORT_MS, signal })).body);
  if (!state.success || state.data.role !== 'primary' || state.data.moves === 0) return [];
  const { status, body } = await agent.get('/v1/moves', { timeoutMs: SHORT_MS, signal });
  return status === 200 ? z.object({ moves: z.array(moveSchema) }).parse(body).moves : [];
}

/** Something is in the way; the mailbox stays where it is. The message is shown to people: it names no folder of anybody's. */
class Obstacle extends Error {
  override readonly name = 'Obstacle';
  /** For the log. */
  readonly detail: string | undefined;

  constructor(message: string, detail?: string) {
    super(message);
    this.detail = detail;
  }
}

function publicMessage(error: unknown): string {
  return error instanceof Obstacle ? error.message : "something unforeseen: the log of the store's primary tells";
}

/** As far as it goes now. Never rejects. */
async function attempt(world: World, move: Move): Promise<void> {
  const { log, signal } = world;
  try {
    await advance(world, move);
  } catch (error) {
    if (signal.aborted) return;
    log.warn({ mailbox: move.mailbox, to: move.toShard, phase: move.phase, err: error }, 'a move is held up');
    await held(world, move, publicMessage(error)).catch((err: unknown) =>
      log.warn({ mailbox: move.mailbox, err }, 'what holds a move up could not be reported'),
    );
  }
}

/** Where a mailbox goes, when that can be reached. */
interface Way {
  readonly user: string;
  readonly uuid: string;
  readonly toShard: string;
  readonly host: string;
  readonly port: number;
  readonly epoch: number;
}

function wayOf({ mailbox, username, toHost, toPort, toEpoch, toShard }: Move): Way {
  if (username === null) throw new Obstacle('the mailbox has no address now');
  if (toHost === null) throw new Obstacle(`shard ${toShard} has no primary now`);
  return { user: username, uuid: mailbox, toShard, host: toHost, port: toPort ?? 10_028, epoch: toEpoch };
}

async function advance(world: World, move: Move): Promise<void> {
  if (move.phase === 'settling') return settle(world, move);
  const way = wayOf(move);
  if (move.phase === 'switching') return switchOver(world, move, way);
  // What is known from an earlier move to that shard is of no use.
  if (move.report.copied !== true) await remember(world, way, '');
  await sync(world, way);
  if (move.report.copied !== true && !(await record(world, move, 'syncing', 'syncing', { copied: true }))) return;
  await copy(world, way);
  const rounds = (move.report.rounds ?? 0) + 1;
  const report = { step: 'drain', message: null, failures: 0, failingSince: null, rounds };
  if (await record(world, move, 'syncing', 'switching', report))
    await switchOver(world, { ...move, phase: 'switching', report: { ...move.report, rounds } }, way);
}

/** Again and again, until little is left to be done. */
async function copy(world: World, way: Way): Promise<void> {
  for (let n = 1; n <= COPIES; n += 1) {
    const started = performance.now();
    await sync(world, way);
    if (performance.now() - started <= world.timing.smallMs) return;
  }
}

/** Nobody gets in. Ends with the mailbox on the other shard, or open again where it was. */
async function switchOver(world: World, move: Move, way: Way): Promise<void> {
  const { timing, signal } = world;
  const end = performance.now() + timing.switchMs;
  const inTime = AbortSignal.any([signal, AbortSignal.timeout(timing.switchMs)]);
  let found: string[] | undefined;
  try {
    await kick(world, way);
    await sleep(timing.drainMs, undefined, { signal });
    await kick(world, way);
    await sync(world, way, inTime);
    await post(world, '/v1/remote/sieve', addressed(way), SHORT_MS);
    await record(world, move, 'switching', 'switching', { step: 'compare' });
    for (let round = 0; performance.now() < end; round += 1) {
      const comparison = await compare(world, way, inTime);
      found = comparison.found;
      if (found.length === 0) return await commit(world, move, way, comparison.mine);
      // The state may hide what differs.
      if (round > 0) await remember(world, way, '');
      await sync(world, way, inTime);
    }
  } catch (error) {
    if (signal.aborted) return;
    world.log.warn({ mailbox: move.mailbox, err: error }, 'a switch was broken off');
    return reopen(world, move, publicMessage(error));
  }
  const kinds = found?.map((difference) => difference.slice(difference.lastIndexOf(': ') + 2)) ?? [];
  const which =
    kinds.length === 0 ? 'there was no time to compare them' : `${kinds.length} folders differ (${kinds[0]})`;
  await reopen(world, move, `both sides did not become equal in time: ${which}`);
}

async function commit(world: World, move: Move, way: Way, mine: Inventory): Promise<void> {
  const messages = messagesIn(mine);
  const report = { step: 'late', toEpoch: way.epoch, messages, message: null, left: digestOf(mine) };
  const done = await record(world, move, 'switching', 'settling', report);
  if (!done) return reopen(world, move, 'the other shard got another primary, or the move was ended');
  world.log.info({ mailbox: move.mailbox, to: move.toShard, messages }, 'mailbox moved');
  await kick(world, way).catch(() => undefined);
}

/** People get in again; then once more from the start, or not at all. */
async function reopen(world: World, move: Move, message: string): Promise<void> {
  const rounds = move.report.rounds ?? 1;
  const next = rounds >= ROUNDS ? 'failed' : 'syncing';
  world.log.warn({ mailbox: move.mailbox, to: move.toShard, rounds, why: message }, 'a mailbox was not switched');
  rest(world, move, rounds);
  await record(world, move, 'switching', next, { step: null, message: message.slice(0, 400) });
}

/**
 * Dovecot lets nobody in any more, but who was in then may have left something. And the primary there may have been lost since,
 * before its copies had everything: then this side still has it, and the time of grace begins anew.
 */
async function settle(world: World, move: Move): Promise<void> {
  const { report, phaseSeconds, toEpoch } = move;
  const isElsewhere = toEpoch !== report.toEpoch;
  if (!isElsewhere && phaseSeconds < dueAfter(world, move)) return;
  const way = wayOf(move);
  await kick(world, way);
  let left = digestOf(await inventory(world, way));
  const isBehind = isElsewhere || left !== report.left;
  if (isBehind) {
    await sync(world, way);
    left = digestOf(await inventory(world, way));
  }
  const isSure = report.verified === true && !isBehind;
  const verified = phaseSeconds >= world.timing.lateSeconds;
  const facts = {
    verified,
    message: null,
    step: 'grace',
    left,
    toEpoch,
    ...(isSure ? {} : { graceFrom: phaseSeconds }),
  };
  // Not before the copies there are in sync: the directory looks.
  if (!(await record(world, move, 'settling', isSure ? 'done' : 'settling', facts))) rest(world, move, 4);
}

/** Seconds in this phase after which the next look is due. */
function dueAfter({ timing }: World, { report }: Move): number {
  return report.verified === true ? (report.graceFrom ?? 0) + timing.graceSeconds : timing.lateSeconds;
}

function digestOf({ folders }: Inventory): string {
  const lines = folders.map(({ guid, messages, digest }) => `${guid} ${messages} ${digest}`).sort();
  return createHash('sha256').update(lines.join('\n')).digest('base64url');
}

/** What holds it up is told; while copying, not for ever. */
async function held(world: World, move: Move, message: string): Promise<void> {
  const failures = (move.report.failures ?? 0) + 1;
  const failingSince = move.report.failingSince ?? world.now();
  rest(world, move, failures);
  const report = { message: message.slice(0, 400), failures, failingSince };
  if (move.phase === 'settling') return void (await record(world, move, 'settling', 'settling', report));
  const next = world.now() - failingSince > world.timing.patienceMs ? 'failed' : 'syncing';
  // Whichever it was when the obstacle came: nobody may be kept out.
  const isTold = move.phase === 'syncing' && (await record(world, move, 'syncing', next, report));
  if (!isTold) await record(world, move, 'switching', next, report);
}

function rest(world: World, { mailbox }: Move, failures: number): void {
  const ms = Math.min(60_000, world.timing.everyMs * 2 ** Math.min(failures, 10));
  world.rests.set(mailbox, world.now() + ms);
}

const CHANGED_MEANWHILE = 2;
const MOST_TRIES = 3;

/** Both ways, always: nothing that either side has is ever removed by it. */
async function sync(world: World, way: Way, signal = world.signal): Promise<void> {
  const release = await world.locks?.acquire(way.uuid, signal);
  try {
    let tries = 1;
    while (!(await syncOnce(world, way, tries, signal))) tries += 1;
  } finally {
    release?.();
  }
}

/** @returns false: it has to be made again */
async function syncOnce(world: World, way: Way, tries: number, signal: AbortSignal): Promise<boolean> {
  const state = await stateFor(world, way);
  const body = { ...addressed(way), state, full: state === '' };
  const answer = await world.agent.post('/v1/sync', body, { timeoutMs: SYNC_MS, signal });
  const { ok, code, error, state: next } = syncAnswer.parse(answer.body ?? {});
  if (answer.status === 200 && ok) {
    await remember(world, way, next);
    return true;
  }
  if (code === CHANGED_MEANWHILE && tries < MOST_TRIES) return false;
  if (state === '') throw new Obstacle(`the mailbox could not be synced (code ${code || answer.status})`, error);
  // A state that is no good any more makes dsync fail: once more without.
  await remember(world, way, '');
  return false;
}

/** The primary of another epoch may not have had all that a state says. */
async function stateFor({ memory }: World, { uuid, toShard, epoch }: Way): Promise<string> {
  const known = await memory.read(`move-${toShard}`, uuid);
  return known?.epoch === epoch ? known.state : '';
}

function remember({ memory }: World, { uuid, toShard, epoch }: Way, state: string): Promise<void> {
  return memory.write(`move-${toShard}`, uuid, { epoch, state, sieve: '' });
}

const syncAnswer = z.object({
  ok: z.boolean().default(false),
  code: z.number().default(0),
  error: z.string().default(''),
  state: z.string().default(''),
});

async function compare(world: World, way: Way, signal: AbortSignal): Promise<{ found: string[]; mine: Inventory }> {
  const [mine, theirs] = await Promise.all([
    inventory(world, way, signal),
    post(world, '/v1/remote/inventory', addressed(way), INVENTORY_MS, signal),
  ]);
  return { found: differences(mine, inventorySchema.parse(theirs)), mine };
}

async function inventory(world: World, { user, uuid }: Way, signal = world.signal): Promise<Inventory> {
  return inventorySchema.parse(await post(world, '/v1/inventory', { user, uuid }, INVENTORY_MS, signal));
}

/** What the agent's verbs for another shard want. */
function addressed({ user, uuid, host, port, epoch }: Way): object {
  return { user, uuid, host, port, epoch };
}

async function kick(world: World, { user, uuid }: Way): Promise<void> {
  await post(world, '/v1/kick', { user, uuid }, SHORT_MS);
}

async function post(
  world: World,
  path: string,
  body: object,
  timeoutMs: number,
  signal = world.signal,
): Promise<object> {
  const answer = await world.agent.post(path, body, { timeoutMs, signal });
  const fields = z
    .object({ ok: z.boolean().optional(), error: z.string().optional() })
    .loose()
    .parse(answer.body ?? {});
  if (answer.status !== 200 || fields.ok === false)
    throw new Obstacle(`${path} was refused (status ${answer.status})`, fields.error);
  return fields;
}

/** @returns whether the directory took the step: false when the move was ended, or somebody else is the primary */
async function record(
  { agent, signal }: World,
  { mailbox }: Move,
  from: string,
  to: string,
  report: object,
): Promise<boolean> {
  const { status, body } = await agent.post(
    '/v1/moves',
    { mailbox, from, to, report },
    { timeoutMs: SHORT_MS, signal },
  );
  if (status !== 200) throw new Obstacle(`the directory did not take ${from} → ${to}: status ${status}`);
  return z.object({ ok: z.boolean() }).parse(body).ok;
}

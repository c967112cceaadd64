/**
 * Which mailbox is synced to which peer next. No clock and no effects: times come in as milliseconds of one monotonic clock.
 *
 * A change waits for a moment, so that what follows goes along: 0.3 s, more when the workers don't keep up, 5 s at most. Recent
 * changes go before a backlog (a peer that was away), which gets every fourth turn. A mailbox is in one sync at a time,
 * whichever the peer. A change during a sync counts anew. A peer that can't be reached is left alone, longer each time.
 */

export interface Timing {
  /** Shortest and longest wait of a change, ms. */
  readonly quickMs: number;
  readonly slowMs: number;
  /** Syncs at once, for all peers. */
  readonly workers: number;
  /** Older than this is backlog, ms. */
  readonly freshMs: number;
  /** First and longest pause after a failure, ms: of one mailbox, and of a peer. */
  readonly backoffMs: readonly [number, number];
  readonly awayMs: readonly [number, number];
}

export const DEFAULT_TIMING: Timing = {
  quickMs: 300,
  slowMs: 5_000,
  workers: 4,
  freshMs: 15_000,
  backoffMs: [1_000, 60_000],
  awayMs: [500, 5_000],
};

/** One mailbox's changes that a peer lacks. */
interface Dirty {
  /** Of the oldest of them. */
  since: number;
  /** Not before: after a failure. */
  notBefore: number;
  failures: number;
}

interface Queue {
  readonly volume: string;
  /** In order of `since`, as Map keeps it; `backlog` holds what is older than `freshMs`, or has failed. */
  readonly fresh: Map<string, Dirty>;
  readonly backlog: Map<string, Dirty>;
  readonly running: Map<string, Dirty>;
  failures: number;
  notBefore: number;
}

export interface Task {
  readonly uuid: string;
  /** Of the peer. */
  readonly volume: string;
  readonly since: number;
  /** How often it has failed before. */
  readonly failures: number;
}

/** `failed`: this mailbox only. `unreachable`: the peer. `gone`: the mailbox is no more. */
export type Outcome = 'synced' | 'failed' | 'unreachable' | 'gone';

export interface Schedule {
  readonly timing: Timing;
  readonly queues: Map<string, Queue>;
  readonly busy: Set<string>;
  /** Moving average of a sync's duration, ms. */
  duration: number;
  turn: number;
}

export interface Lag {
  /** Mailboxes with changes that the peer lacks. */
  readonly users: number;
  /** Age of the oldest such change, ms; 0 without any. */
  readonly ms: number;
  /** Mailboxes that fail again and again: not in the other two, or one would stand for all. They are tried on. */
  readonly stuck: number;
}

export function newSchedule(timing: Timing = DEFAULT_TIMING): Schedule {
  return { timing, queues: new Map(), busy: new Set(), duration: 50, turn: 0 };
}

/** The peers that there are, by volume. What is new starts empty; what is gone is forgotten with its queue. */
export function setPeers(schedule: Schedule, volumes: readonly string[]): void {
  for (const volume of schedule.queues.keys()) {
    if (!volumes.includes(volume)) schedule.queues.delete(volume);
  }
  for (const volume of volumes) {
    if (schedule.queues.has(volume)) continue;
    schedule.queues.set(volume, {
      volume,
      fresh: new Map(),
      backlog: new Map(),
      running: new Map(),
      failures: 0,
      notBefore: 0,
    });
  }
}

/** A mailbox has changed, at `now`; for all peers, or one. */
export function changed(schedule: Schedule, uuid: string, now: number, volume?: string): void {
  const one = volume === undefined ? undefined : schedule.queues.get(volume);
  const queues = volume === undefined ? schedule.queues.values() : one === undefined ? [] : [one];
  for (const queue of queues) {
    if (queue.fresh.has(uuid) || queue.backlog.has(uuid)) continue;
    queue.fresh.set(uuid, { since: now, notBefore: 0, failures: 0 });
  }
}

/**
 * How long a change waits now, ms: longer by the time that what already waits for a worker will take. So it stays short as
 * long as the workers keep up, and grows when they don't, whereupon one sync carries more changes.
 */
export function windowMs(schedule: Schedule, now: number): number {
  const { quickMs, slowMs, workers } = schedule.timing;
  // Idle workers take theirs at once.
  let waiting = schedule.busy.size - workers;
  for (const { fresh } of schedule.queues.values()) {
    for (const { since } of fresh.values()) {
      if (since + quickMs > now) break;
      waiting++;
    }
  }
  return Math.min(slowMs, quickMs + (Math.max(0, waiting) * schedule.duration) / workers);
}

/** Takes the next task, marking it as running; undefined when nothing is due, or all workers are busy. */
export function next(
  schedule: Schedule,
  now: number,
  isLocked: (uuid: string) => boolean = () => false,
): Task | undefined {
  if (schedule.busy.size >= schedule.timing.workers) return undefined;
  const wait = windowMs(schedule, now);
  const free = (uuid: string): boolean => !schedule.busy.has(uuid) && !isLocked(uuid);
  const oldFirst = schedule.turn % 4 === 3;
  for (const name of oldFirst ? (['backlog', 'fresh'] as const) : (['fresh', 'backlog'] as const)) {
    if (name === 'backlog' && !roomForBacklog(schedule)) continue;
    const found = oldest(schedule, name, now, wait, free);
    if (found === undefined) continue;
    schedule.turn++;
    const { queue, uuid, dirty } = found;
    queue[name].delete(uuid);
    queue.running.set(uuid, dirty);
    schedule.busy.add(uuid);
    return { uuid, volume: queue.volume, since: dirty.since, failures: dirty.failures };
  }
  return undefined;
}

/** Syncs of a backlog can take long: one worker stays free for what is recent. */
function roomForBacklog({ busy, timing: { workers } }: Schedule): boolean {
  return busy.size < Math.max(1, workers - 1);
}

interface Found {
  readonly queue: Queue;
  readonly uuid: string;
  readonly dirty: Dirty;
}

function oldest(
  schedule: Schedule,
  name: 'fresh' | 'backlog',
  now: number,
  wait: number,
  free: (uuid: string) => boolean,
): Found | undefined {
  let best: Found | undefined;
  for (const queue of schedule.queues.values()) {
    if (queue.notBefore > now) continue;
    age(queue, now - schedule.timing.freshMs);
    const found = first(queue, queue[name], now, name === 'fresh' ? wait : 0, free);
    if (found !== undefined && (best === undefined || found.dirty.since < best.dirty.since)) best = found;
  }
  return best;
}

function first(
  queue: Queue,
  entries: Map<string, Dirty>,
  now: number,
  wait: number,
  free: (uuid: string) => boolean,
): Found | undefined {
  for (const [uuid, dirty] of entries) {
    if (dirty.since + wait > now) return undefined;
    if (dirty.notBefore <= now && free(uuid)) return { queue, uuid, dirty };
  }
  return undefined;
}

/** Moves what is no longer fresh to the backlog. */
function age(queue: Queue, before: number): void {
  for (const [uuid, dirty] of queue.fresh) {
    if (dirty.since > before) return;
    queue.fresh.delete(uuid);
    queue.backlog.set(uuid, dirty);
  }
}

/** A task has ended, after `tookMs`. */
export function finished(schedule: Schedule, task: Task, now: number, outcome: Outcome, tookMs?: number): void {
  schedule.busy.delete(task.uuid);
  if (outcome === 'synced' && tookMs !== undefined) schedule.duration += (tookMs - schedule.duration) / 16;
  const queue = schedule.queues.get(task.volume);
  const dirty = queue?.running.get(task.uuid);
  if (queue === undefined || dirty === undefined) return;
  queue.running.delete(task.uuid);
  if (outcome === 'unreachable') {
    queue.failures++;
    queue.notBefore = now + pause(schedule.timing.awayMs, queue.failures);
    putBack(queue, task.uuid, { ...dirty, notBefore: 0 });
    return;
  }
  queue.failures = 0;
  queue.notBefore = 0;
  if (outcome === 'failed') {
    const failures = dirty.failures + 1;
    putBack(queue, task.uuid, { ...dirty, failures, notBefore: now + pause(schedule.timing.backoffMs, failures) });
  }
}

/** Its changes, and those since, are still to be synced; the oldest counts. */
function putBack(queue: Queue, uuid: string, dirty: Dirty): void {
  queue.fresh.delete(uuid);
  queue.backlog.set(uuid, dirty);
}

function pause([least, most]: readonly [number, number], failures: number): number {
  return Math.min(most, least * 2 ** Math.min(failures - 1, 20));
}

/** When `next` may have something, if nothing happens before; undefined: not by waiting. */
export function wakeAt(schedule: Schedule, now: number): number | undefined {
  if (schedule.busy.size >= schedule.timing.workers) return undefined;
  const wait = windowMs(schedule, now);
  let at = Number.POSITIVE_INFINITY;
  for (const queue of schedule.queues.values()) {
    const notBefore = Math.max(now, queue.notBefore);
    at = Math.min(at, Math.max(notBefore, earliest(schedule, queue.fresh, now, wait)));
    if (roomForBacklog(schedule)) at = Math.min(at, Math.max(notBefore, earliest(schedule, queue.backlog, now, 0)));
  }
  return at === Number.POSITIVE_INFINITY ? undefined : at;
}

function earliest({ busy }: Schedule, entries: Map<string, Dirty>, now: number, wait: number): number {
  let at = Number.POSITIVE_INFINITY;
  for (const [uuid, dirty] of entries) {
    if (!busy.has(uuid)) at = Math.min(at, Math.max(dirty.since + wait, dirty.notBefore));
    // Nothing can be earlier than now, and what comes later in the map isn't due before this one.
    if (at <= now || dirty.since + wait > now) return at;
  }
  return at;
}

/** Failures in a row: about half a minute. */
const STUCK_AFTER = 6;

/** What a peer lacks. */
export function lagOf(schedule: Schedule, volume: string, now: number): Lag {
  const queue = schedule.queues.get(volume);
  if (queue === undefined) return { users: 0, ms: 0, stuck: 0 };
  let since = now;
  const stuck = new Set<string>();
  const users = new Set<string>();
  for (const [uuid, dirty] of everything(queue)) {
    if (dirty.failures >= STUCK_AFTER) {
      stuck.add(uuid);
      continue;
    }
    if (dirty.since < since) since = dirty.since;
    users.add(uuid);
  }
  return { users: users.size, ms: now - since, stuck: stuck.size };
}

function* everything({ running, backlog, fresh }: Queue): Iterable<[string, Dirty]> {
  yield* running;
  yield* backlog;
  yield* fresh;
}

/** Syncs to the peer have failed for want of it. */
export function isAway(schedule: Schedule, volume: string): boolean {
  return (schedule.queues.get(volume)?.failures ?? 0) > 0;
}

/** Mailboxes that lack a sync, with the volumes that lack it: what has to be on disk. */
export function unsynced(schedule: Schedule): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const queue of schedule.queues.values()) {
    const users = new Set<string>();
    for (const [uuid] of everything(queue)) users.add(uuid);
    for (const uuid of users) found.set(uuid, [...(found.get(uuid) ?? []), queue.volume]);
  }
  return found;
}

/** A handover: everything of this peer is due now, and the peer is tried at once. */
export function hurry(schedule: Schedule, volume: string): void {
  const queue = schedule.queues.get(volume);
  if (queue === undefined) return;
  queue.notBefore = 0;
  for (const [uuid, dirty] of [...queue.backlog, ...queue.fresh]) {
    queue.fresh.delete(uuid);
    queue.backlog.set(uuid, { ...dirty, notBefore: 0 });
  }
}

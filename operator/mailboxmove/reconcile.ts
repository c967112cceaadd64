import {
  type MailboxMove,
  type MailboxMoveResolved,
  type MailboxMoveStatus,
  resolveMailboxMove,
} from '../../crds/mailboxmove.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import type { MoveState } from '../directory/rows.js';
import { type ConditionUpdate, setConditions, writeStatus } from '../runtime/conditions.js';
import { isPaused, type Result } from '../runtime/controller.js';
import { refOf } from '../runtime/object.js';
import type { AttachedSystem } from '../systems.js';
import { mailboxMoveType } from '../types.js';
import type { MailboxMoveDependencies } from './dependencies.js';
import { isRunning, phaseOf, progressOf, type Traveller } from './progress.js';
import { systemOfMove } from './system.js';
import { type Party, partyOf } from './travellers.js';

/** Keeps a MailboxMove that is deleted until nothing is half moved. */
export const MOVE_FINALIZER = 'posthorn.dev/move';
const FIELD_MANAGER = 'posthorn-mailboxmove';
const WATCH_MS = 2_000;
const UNAVAILABLE_MS = 5_000;
/** For what only another object can end. */
const RARELY_MS = 15_000;
/** Mailboxes that are tried in one look, when the first can't begin yet. */
const MOST_TRIED = 64;

/**
 * Brings one MailboxMove on: hands mailboxes to the directory, as many at a time as `concurrency` says, and shows what became of
 * them. The shards themselves move them (services/replicator/moves.ts): what is under way goes on without this operator.
 */
export async function reconcileMove(deps: MailboxMoveDependencies, key: string): Promise<Result> {
  const object = deps.moves.cache.get(key);
  if (object === undefined || isPaused(object)) return {};
  const { namespace = '', deletionTimestamp } = object.metadata;
  const target = systemOfMove(object, deps.mailSystems.cache.byIndex('namespace', namespace));
  if (deletionTimestamp !== undefined) return rollBack(deps, object, target);
  if (isOver(object)) return {};
  const spec = resolved(object);
  if ('reason' in spec) return refuse(deps, object, spec);
  if (typeof target !== 'string') return refuse(deps, object, target);
  const system = deps.systems.get(target);
  if (system === undefined) {
    const message = `The directory of MailSystem ${target} is not ready yet; its conditions tell why.`;
    return refuse(deps, object, { reason: 'DirectoryUnavailable', message });
  }
  const unknown = [spec.to, spec.from].find(
    (name) => name !== undefined && !system.spec.store.shards.some((shard) => shard.name === name),
  );
  if (unknown !== undefined) {
    const message = `MailSystem ${target} has no shard ${unknown}.`;
    return refuse(deps, object, { reason: 'ShardNotFound', message });
  }
  return advance(deps, await withFinalizer(deps, object), spec, system);
}

function isOver({ metadata, status }: MailboxMove): boolean {
  const over = status?.phase === 'Done' || status?.phase === 'RolledBack';
  return over && status.observedGeneration === metadata.generation;
}

type Problem = { reason: string; message: string };

function resolved({ spec }: MailboxMove): MailboxMoveResolved | Problem {
  try {
    return resolveMailboxMove(spec);
  } catch (error) {
    return { reason: 'InvalidSpec', message: (error as Error).message };
  }
}

async function refuse(deps: MailboxMoveDependencies, object: MailboxMove, problem: Problem): Promise<Result> {
  const accepted: ConditionUpdate = { type: 'Accepted', status: 'False', ...problem };
  await write(deps, object, {}, [{ ...accepted, type: 'Ready' }, accepted], `${problem.reason}: ${problem.message}`);
  return { requeueAfterMs: problem.reason === 'DirectoryUnavailable' ? UNAVAILABLE_MS : RARELY_MS };
}

async function advance(
  deps: MailboxMoveDependencies,
  object: MailboxMove,
  spec: MailboxMoveResolved,
  system: AttachedSystem,
): Promise<Result> {
  try {
    const uid = object.metadata.uid ?? '';
    const before = partyOf(deps, object, spec, system.key, await system.directory.listMoves([uid]));
    const started = await start(system, before.travellers, spec, uid);
    const party = started ? partyOf(deps, object, spec, system.key, await system.directory.listMoves([uid])) : before;
    follow(deps, party.travellers);
    return await tell(deps, object, spec, party);
  } catch (error) {
    if (!(error instanceof DirectoryUnavailable)) throw error;
    // What moves goes on; what was said of it stands.
    return { requeueAfterMs: UNAVAILABLE_MS };
  }
}

/** Gives the free places to those that wait. @returns whether anything has begun */
async function start(
  { directory }: AttachedSystem,
  travellers: readonly Traveller[],
  { to, concurrency }: MailboxMoveResolved,
  objectUid: string,
): Promise<boolean> {
  const phases = travellers.map((one) => ({ one, phase: phaseOf(one, to) }));
  let free = concurrency - phases.filter(({ phase }) => isRunning(phase)).length;
  const waiting = phases.filter(({ phase }) => phase === 'Pending').map(({ one }) => one);
  const before = free;
  for (let at = 0; free > 0 && at < Math.min(waiting.length, MOST_TRIED); ) {
    const batch = waiting.slice(at, at + free);
    at += batch.length;
    const { value } = await directory.startMoves(batch.map(({ uuid }) => ({ uuid, toShard: to, objectUid })));
    free -= value.filter(({ refused }) => refused === null).length;
  }
  return free < before;
}

/** A Mailbox says where it lives. */
function follow(deps: MailboxMoveDependencies, travellers: readonly Traveller[]): void {
  for (const { uuid, shard, move } of travellers) {
    const home = move && (move.phase === 'settling' || move.phase === 'done' ? move.toShard : move.fromShard);
    if (home === undefined || home === shard) continue;
    for (const key of deps.mailboxes.cache.keysByIndex('uuid', uuid)) deps.mailboxQueue.add(key);
  }
}

async function tell(
  deps: MailboxMoveDependencies,
  object: MailboxMove,
  spec: MailboxMoveResolved,
  { travellers, missing }: Party,
): Promise<Result> {
  const single = spec.mailboxes?.length === 1;
  const progress = progressOf(travellers, spec.to, missing.length, single);
  const accepted = acceptedVerdict(missing);
  const ready = accepted.status === 'True' ? progress.ready : { ...accepted, type: 'Ready' };
  await write(deps, object, progress.status, [ready, accepted], progress.detail);
  if (!progress.over) return { requeueAfterMs: WATCH_MS };
  const { reason, message } = progress.ready;
  if (object.status?.phase !== progress.status.phase)
    deps.events.emit(object, { type: reason === 'Done' ? 'Normal' : 'Warning', reason, message });
  return {};
}

function acceptedVerdict(missing: readonly string[]): ConditionUpdate {
  const type = 'Accepted';
  if (missing.length === 0)
    return { type, status: 'True', reason: 'Accepted', message: 'What is asked for is possible.' };
  const message = `No such Mailbox in this MailSystem, or it has no place yet: ${missing.slice(0, 20).join(', ')}.`;
  return { type, status: 'False', reason: 'MailboxNotFound', message };
}

/** The MailboxMove is deleted: what has not changed its shard stays where it is, what has is completed. */
async function rollBack(deps: MailboxMoveDependencies, object: MailboxMove, target: string | object): Promise<Result> {
  if (!object.metadata.finalizers?.includes(MOVE_FINALIZER)) return {};
  const isGone = typeof target !== 'string' || deps.isLeaving(target);
  const state = await cancelIn(deps, object, typeof target === 'string' ? deps.systems.get(target) : undefined);
  if (state === 'over' || (state === 'unreachable' && isGone)) return release(deps, object);
  return { requeueAfterMs: state === 'unreachable' ? UNAVAILABLE_MS : WATCH_MS };
}

async function cancelIn(
  deps: MailboxMoveDependencies,
  object: MailboxMove,
  system: AttachedSystem | undefined,
): Promise<'over' | 'under way' | 'unreachable'> {
  if (system === undefined) return 'unreachable';
  try {
    return (await cancel(deps, object, system)) ? 'over' : 'under way';
  } catch (error) {
    if (error instanceof DirectoryUnavailable) return 'unreachable';
    throw error;
  }
}

/** @returns whether nothing is under way any more */
async function cancel(
  deps: MailboxMoveDependencies,
  object: MailboxMove,
  { directory }: AttachedSystem,
): Promise<boolean> {
  const all = await directory.listMoves([object.metadata.uid ?? '']);
  const early = all.filter(({ phase }) => phase === 'syncing' || phase === 'switching');
  if (early.length > 0)
    await directory.cancelMoves(early.map(({ uuid }) => ({ uuid, why: 'the MailboxMove was deleted' })));
  follow(deps, all.map(asTraveller));
  if (early.length > 0 || all.some(({ phase, report }) => phase === 'settling' && report.verified !== true))
    return false;
  await directory.forgetMoves(all.map(({ uuid }) => uuid));
  return true;
}

function asTraveller(move: MoveState): Traveller {
  return { uuid: move.uuid, name: '', shard: '', move };
}

async function release(deps: MailboxMoveDependencies, object: MailboxMove): Promise<Result> {
  await patchFinalizers(
    deps,
    object,
    (object.metadata.finalizers ?? []).filter((name) => name !== MOVE_FINALIZER),
  );
  return {};
}

async function withFinalizer(deps: MailboxMoveDependencies, object: MailboxMove): Promise<MailboxMove> {
  const present = object.metadata.finalizers ?? [];
  if (present.includes(MOVE_FINALIZER)) return object;
  const patched = await patchFinalizers(deps, object, [...present, MOVE_FINALIZER]);
  deps.moves.observe(patched);
  return patched;
}

function patchFinalizers(deps: MailboxMoveDependencies, object: MailboxMove, finalizers: string[]) {
  const { resourceVersion } = object.metadata;
  const patch = { metadata: { finalizers, resourceVersion } };
  return deps.client.patchMerge<MailboxMove>(mailboxMoveType, refOf(object), patch, { fieldManager: FIELD_MANAGER });
}

async function write(
  deps: MailboxMoveDependencies,
  object: MailboxMove,
  progress: Partial<MailboxMoveStatus>,
  told: readonly ConditionUpdate[],
  detail: string,
): Promise<void> {
  const generation = object.metadata.generation ?? 0;
  const status = {
    ...object.status,
    ...progress,
    observedGeneration: generation,
    conditions: setConditions(object.status?.conditions, told, { generation, now: deps.now().toISOString() }),
    detail: detail.slice(0, 200),
  };
  const type = mailboxMoveType;
  const written = await writeStatus({ client: deps.client, type, object, status, fieldManager: FIELD_MANAGER });
  if (written) deps.moves.observe(written as MailboxMove);
}

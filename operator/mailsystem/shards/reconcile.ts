import { type MailSystem, resolveMailSystem } from '../../../crds/mailsystem.js';
import { DirectoryUnavailable } from '../../directory/errors.js';
import type { ShardState } from '../../directory/rows.js';
import { findCondition } from '../../runtime/conditions.js';
import { isPaused, type Result } from '../../runtime/controller.js';
import { builtin, refOf } from '../../runtime/object.js';
import type { AttachedSystem } from '../../systems.js';
import { bySystem, componentLabel, type PodObject } from '../observe.js';
import type { ShardsDependencies } from './dependencies.js';
import { failoverMessage, type Seen, shardStatuses, shardsVerdict } from './describe.js';
import { isUncertain, type Memory, mayPart, noteHandover, noteLease, noteParting, noteShard } from './memory.js';
import { podName, roleLabel, type Shard, shardOf } from './observe.js';
import { nextStep, type Step } from './step.js';
import type { ShardLoad } from './views.js';
import { acceptedVolumes } from './volume.js';

/** Reasons of Events. */
const [PRIMARY_CHANGED, VOLUME_ACCEPTED] = ['PrimaryChanged', 'VolumeAccepted'] as const;
/** While something is to be done, or is not certain. */
const BUSY_MS = 2_000;
const REST_MS = 10_000;
/** Without a second copy nothing can move. */
const SINGLE_MS = 60_000;
const UNAVAILABLE_MS = 5_000;
/** Mailboxes say that their mail is on one volume when that has been so for so long: there are thousands of them. */
export const ALONE_MS = 30 * 60_000;

/**
 * Looks at the shards of a MailSystem: says who is the primary (status, pod labels, Events), has primaries leave nodes that are
 * being drained, and rolls the pods of shards with several copies.
 */
export async function reconcileShards(deps: ShardsDependencies, key: string): Promise<Result> {
  const system = deps.systems.get(key);
  const object = deps.mailSystems.cache.get(key);
  if (system === undefined || object === undefined || object.metadata.deletionTimestamp !== undefined) {
    deps.views.forget(key);
    deps.memories.delete(key);
    return {};
  }
  if (isPaused(object)) return {};
  try {
    return await look(deps, system, object);
  } catch (error) {
    // The MailSystem's DirectoryReady tells.
    if (error instanceof DirectoryUnavailable) return { requeueAfterMs: UNAVAILABLE_MS };
    throw error;
  }
}

async function look(deps: ShardsDependencies, system: AttachedSystem, object: MailSystem): Promise<Result> {
  const { key, directory } = system;
  const memory: Memory = deps.memories.get(key) ?? new Map();
  deps.memories.set(key, memory);
  const declared = new Set(resolveMailSystem(object.spec).store.shards.map(({ name }) => name));
  const states = (await directory.shardStates()).filter(({ name }) => declared.has(name));
  const pods = deps.pods.byIndex(bySystem, key);
  const alone = new Map<string, number>();
  const seen = states.map((state) => see(deps, memory, { system, object, state, pods, alone }));
  const statuses = shardStatuses(seen);
  deps.views.set(key, { statuses, verdict: shardsVerdict(seen), alone, loads: states.map(loadOf) });
  announce(deps, object, memory, statuses);
  for (const { shard, step } of seen) {
    await label(deps, object, shard);
    await act(deps, system, shard, step);
    await acceptVolumes(deps, system, object, shard);
  }
  return { requeueAfterMs: pace(memory, seen, deps.now().getTime()) };
}

interface Sight {
  system: AttachedSystem;
  object: MailSystem;
  state: ShardState;
  pods: readonly PodObject[];
  alone: Map<string, number>;
}

function see(deps: ShardsDependencies, memory: Memory, { system, object, state, pods, alone }: Sight): Seen {
  const now = deps.now().getTime();
  const alive = noteLease(memory, state, now);
  const shard = shardOf(system.name, state, alive, pods, (name) => deps.nodes.get(name));
  const status = object.status?.shards?.find(({ name }) => name === state.name);
  const { wavering, hopelessSince, aloneSince } = noteShard(
    memory,
    shard,
    { status, troubledSince: troubled(object) },
    now,
  );
  if (aloneSince !== undefined && now - aloneSince >= ALONE_MS) alone.set(state.name, aloneSince);
  const avoid = isReady(object) && mayPart(memory, state.name, now) ? leaderNode(pods) : undefined;
  const circumstances = { updateRevision: revisionOf(deps, object, shard), now, hopelessSince };
  const step = nextStep(shard, { ...circumstances, avoid });
  if (step.kind === 'handOver' && nextStep(shard, circumstances).kind !== 'handOver')
    noteParting(memory, state.name, now);
  const overdue = noteHandover(memory, state.name, step.kind === 'handOver' ? step.to : undefined, now);
  return { shard, step, wavering, overdueSince: overdue === undefined ? undefined : minute(overdue) };
}

function isReady({ status }: MailSystem): boolean {
  return findCondition(status?.conditions, 'Ready')?.status === 'True';
}

/** Where the database's leader is, as Patroni labels it. */
function leaderNode(pods: readonly PodObject[]): string | undefined {
  const leaders = pods.filter(
    ({ metadata: { labels = {} } }) => labels[componentLabel] === 'postgres' && labels.role === 'primary',
  );
  return leaders.length === 1 ? leaders[0]?.spec?.nodeName : undefined;
}

/** Since when the MailSystem has said that copies are missing, ms. */
function troubled({ status }: MailSystem): number | undefined {
  const condition = findCondition(status?.conditions, 'ReplicasReady');
  return condition?.status === 'False' ? Date.parse(condition.lastTransitionTime) : undefined;
}

function revisionOf(deps: ShardsDependencies, { metadata }: MailSystem, { set }: Shard): string | undefined {
  const found = deps.statefulSets.get(`${metadata.namespace}/${set}`);
  const { updateRevision, observedGeneration } = found?.status ?? {};
  return observedGeneration === found?.metadata.generation ? updateRevision : undefined;
}

function minute(ms: number): string {
  return new Date(ms).toISOString().replace(/:\d\d\.\d+Z$/, 'Z');
}

function loadOf({ name, mailboxes, primary, members }: ShardState): ShardLoad {
  const fullest = members
    .flatMap(({ facts }) =>
      facts?.usedBytes === undefined || facts.totalBytes === undefined || facts.totalBytes <= 0
        ? []
        : [{ usedBytes: facts.usedBytes, totalBytes: facts.totalBytes }],
    )
    .sort((a, b) => a.totalBytes - a.usedBytes - (b.totalBytes - b.usedBytes))[0];
  return { name, mailboxes, ...fullest, open: primary !== null };
}

function pace(memory: Memory, seen: readonly Seen[], now: number): number {
  const busy = seen.some(
    ({ shard, step }) => step.kind !== 'rest' || shard.primary === null || isUncertain(memory, shard.name, now),
  );
  if (busy) return BUSY_MS;
  return seen.every(({ shard }) => shard.copies.length < 2) ? SINGLE_MS : REST_MS;
}

/** A change of primary is told once: what was told is in the status, and until that is written, here. */
function announce(
  deps: ShardsDependencies,
  object: MailSystem,
  memory: Memory,
  statuses: ReturnType<typeof shardStatuses>,
): void {
  for (const status of statuses) {
    const mine = memory.get(status.name);
    if (mine === undefined || status.primary === undefined || mine.toldEpoch === status.epoch) continue;
    mine.toldEpoch = status.epoch;
    const said = object.status?.shards?.find(({ name }) => name === status.name);
    const was = mine.lastPrimary ?? said?.primary;
    mine.lastPrimary = status.primary;
    const message = failoverMessage(said && { epoch: said.epoch, primary: was }, status);
    if (message === undefined) continue;
    deps.log.info({ system: object.metadata.name, ...status }, 'primary changed');
    deps.events.emit(object, { type: 'Normal', reason: PRIMARY_CHANGED, message });
  }
}

/** The new primary first: its PodDisruptionBudget must never be without one. */
async function label(deps: ShardsDependencies, { metadata: { namespace } }: MailSystem, shard: Shard): Promise<void> {
  if (shard.primary === null) return;
  const isPrimary = (member: number) => member === shard.primary;
  const wrong = shard.copies
    .flatMap(({ pod }) => pod ?? [])
    .filter(({ member, labelled, terminating }) => labelled !== isPrimary(member) && !terminating)
    .sort((a, b) => Number(isPrimary(b.member)) - Number(isPrimary(a.member)));
  if (
    wrong.some(({ member }) => !isPrimary(member)) &&
    !shard.copies.some(({ member, pod }) => isPrimary(member) && pod)
  )
    return;
  for (const { name, member } of wrong) {
    const labels = { [roleLabel]: isPrimary(member) ? 'primary' : null };
    const by = { fieldManager: 'posthorn-mailsystem' };
    await deps.client.patchMerge(builtin.pod, { namespace, name }, { metadata: { labels } }, by);
  }
}

async function act(deps: ShardsDependencies, system: AttachedSystem, shard: Shard, step: Step): Promise<void> {
  const { log } = deps;
  const about = { system: system.key, shard: shard.name };
  if (step.kind === 'handOver' && shard.wanted !== step.to) {
    log.info({ ...about, to: podName(shard, step.to) }, 'asking the primary to hand over');
    await system.directory.wantPrimary(shard.name, step.to);
  }
  if (step.kind === 'withdraw') await system.directory.wantPrimary(shard.name, null);
  if (step.kind !== 'replace') return;
  const pod = deps.pods.get(`${system.namespace}/${step.pod}`);
  if (pod === undefined) return;
  log.info({ ...about, pod: step.pod }, 'replacing a pod that runs an older specification');
  await deps.client.delete(builtin.pod, refOf(pod), { uid: pod.metadata.uid });
}

async function acceptVolumes(
  deps: ShardsDependencies,
  system: AttachedSystem,
  object: MailSystem,
  shard: Shard,
): Promise<void> {
  if (shard.primary !== null || shard.copies.some(({ seeded }) => seeded)) return;
  for (const { member, volume } of acceptedVolumes(object, shard)) {
    const { value } = await system.directory.acceptVolume({ shard: shard.name, member, volume });
    if (!value) continue;
    const message = `Volume ${volume} of ${podName(shard, member)} was accepted as it is, by the annotation posthorn.dev/accept-volume: what it doesn't hold is gone.`;
    deps.events.emit(object, { type: 'Warning', reason: VOLUME_ACCEPTED, message });
  }
}

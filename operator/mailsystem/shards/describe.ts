/** What a MailSystem says of its shards: `status.shards` and the condition ReplicasReady. Pure. */
import type { MailSystemStatus } from '../../../crds/mailsystem.js';
import type { ConditionUpdate } from '../../runtime/conditions.js';
import { type Copy, podName, type Shard } from './observe.js';
import type { Step } from './step.js';

export type ShardStatus = NonNullable<MailSystemStatus['shards']>[number];
type MemberStatus = ShardStatus['members'][number];
type CopyState = MemberStatus['state'];

/** A shard with what is remembered of it. */
export interface Seen {
  readonly shard: Shard;
  readonly step: Step;
  /** When a planned handover was asked for that has not happened yet, RFC 3339; undefined: it is not overdue. */
  readonly overdueSince: string | undefined;
  /** Members that have been out of sync only for a moment. */
  readonly wavering: ReadonlySet<number>;
}

/** `status.shards`, in steps so coarse that it is not written all the time. */
export function shardStatuses(all: readonly Seen[]): ShardStatus[] {
  return all.map(({ shard, wavering }) => ({
    name: shard.name,
    ...(shard.primary === null ? {} : { primary: podName(shard, shard.primary) }),
    epoch: shard.epoch,
    members: shard.copies.map((copy) => memberStatus(shard, copy, wavering)),
  }));
}

function memberStatus(shard: Shard, copy: Copy, wavering: ReadonlySet<number>): MemberStatus {
  const state = stateOf(shard, copy, wavering);
  const lag = lagOf(shard, copy, state);
  return {
    pod: podName(shard, copy.member),
    state,
    seeded: copy.seeded,
    ...(lag === undefined ? {} : { lag }),
    ...(copy.pod?.node === undefined ? {} : { node: copy.pod.node }),
  };
}

function stateOf(shard: Shard, copy: Copy, wavering: ReadonlySet<number>): CopyState {
  if (copy.member === shard.primary) return 'Primary';
  if (copy.pod?.unschedulable) return 'NoNode';
  if (isRefused(shard, copy)) return 'Refused';
  if (copy.pod?.ready !== true) return 'Away';
  if (!copy.seeded) return 'Filling';
  return copy.inSync || wavering.has(copy.member) ? 'InSync' : 'Behind';
}

/** Its volume is not the one that held the mail, and there is nobody to fill it. */
function isRefused({ primary, epoch, copies }: Shard, { seeded, volume }: Copy): boolean {
  return primary === null && epoch > 0 && volume !== null && !seeded && !copies.some((copy) => copy.seeded);
}

function lagOf(shard: Shard, copy: Copy, state: CopyState): string | undefined {
  if (state === 'Filling') return progress(shard, copy);
  return state === 'Behind' && copy.lagSeconds !== null ? coarse(copy.lagSeconds) : undefined;
}

const STEPS: readonly (readonly [number, string])[] = [
  [10, 'less than 10s'],
  [60, 'less than 1m'],
  [600, 'less than 10m'],
  [3_600, 'less than 1h'],
  [86_400, 'less than 1d'],
];

/** A lag in seconds as one of few words. */
export function coarse(seconds: number): string {
  return STEPS.find(([limit]) => seconds < limit)?.[1] ?? 'more than 1d';
}

/** `42 of 310 mailboxes`, in twentieths of the whole. */
function progress({ mailboxes }: Shard, { lagChanges }: Copy): string | undefined {
  if (lagChanges === null || mailboxes === 0) return undefined;
  const done = Math.max(0, mailboxes - lagChanges);
  const step = Math.max(1, mailboxes / 20);
  return `${Math.round(Math.floor(done / step) * step)} of ${mailboxes} mailboxes`;
}

interface Problem {
  readonly reason: string;
  readonly message: string;
}

const type = 'ReplicasReady';

/** Condition ReplicasReady: every shard has a primary, and its other copies are up to date. */
export function shardsVerdict(all: readonly Seen[]): ConditionUpdate {
  const problems = all.flatMap(problemsOf).sort((a, b) => gravity(a) - gravity(b));
  const first = problems[0];
  if (first !== undefined)
    return { type, status: 'False', reason: first.reason, message: problems.map(({ message }) => message).join(' ') };
  const copies = all.reduce((n, { shard }) => n + shard.copies.length, 0);
  if (copies === all.length)
    return { type, status: 'True', reason: 'SingleCopies', message: 'Every shard has its one copy.' };
  return { type, status: 'True', reason: 'InSync', message: `All ${copies} copies of the shards are up to date.` };
}

/** What stops people's mail comes first. */
const GRAVITY = ['VolumeRefused', 'NoPrimary', 'HandoverOverdue', 'NoNode', 'Away', 'Filling', 'Behind', 'DrainWaits'];

function gravity({ reason }: Problem): number {
  return GRAVITY.indexOf(reason);
}

function problemsOf(seen: Seen): Problem[] {
  const { shard, step, wavering } = seen;
  if (shard.primary === null) return [noPrimary(shard)];
  const states = shard.copies.map((copy) => ({ copy, state: stateOf(shard, copy, wavering) }));
  const missing = states.filter(({ state }) => state !== 'Primary' && state !== 'InSync');
  return [
    ...overdue(seen),
    ...(missing.length === 0 ? [] : [behind(shard, missing)]),
    ...(step.kind === 'wait' && step.draining ? [{ reason: 'DrainWaits', message: `${capital(step.why)}.` }] : []),
  ];
}

function overdue({ shard, step, overdueSince }: Seen): Problem[] {
  if (overdueSince === undefined || step.kind !== 'handOver') return [];
  const [from, to] = [podName(shard, shard.primary ?? 0), podName(shard, step.to)];
  const message = `Shard ${shard.name}: ${from} was asked to hand over to ${to} at ${overdueSince} and has not: its log tells why. It is asked until it does; if it is to go at once, delete the pod ${from}.`;
  return [{ reason: 'HandoverOverdue', message }];
}

function noPrimary(shard: Shard): Problem {
  if (shard.epoch === 0) {
    return {
      reason: 'NoPrimary',
      message: `Shard ${shard.name} has had no primary yet: ${podName(shard, 0)} is the first.`,
    };
  }
  const strange = shard.copies.filter((copy) => isRefused(shard, copy));
  if (strange.length > 0) return { reason: 'VolumeRefused', message: refused(shard, strange) };
  const names = shard.copies
    .filter((copy) => copy.seeded)
    .map(({ member }) => podName(shard, member))
    .join(', ');
  return {
    reason: 'NoPrimary',
    message: `Shard ${shard.name} has no primary: mail waits and nobody can read. It opens by itself when ${names || 'a copy that is up to date'} runs and reaches the directory: see its pod's events and logs.`,
  };
}

function refused(shard: Shard, strange: readonly Copy[]): string {
  const one = strange[0] as Copy;
  const volumes = strange.map(({ member, volume }) => `${podName(shard, member)}: ${volume}`).join(', ');
  return (
    `Shard ${shard.name} has no primary: its volumes are not the ones that held its mail, and there is no other copy to fill them from (${volumes}). Mail waits and nobody can read. ` +
    `Bring the former volume back, or a copy of it; then the shard opens by itself. If the former mail is lost for good, or has been restored to this volume, annotate the MailSystem with posthorn.dev/accept-volume: ${podName(shard, one.member)}=${one.volume}.`
  );
}

type Missing = readonly { readonly copy: Copy; readonly state: CopyState }[];

function behind(shard: Shard, missing: Missing): Problem {
  const total = shard.copies.length;
  const good = total - missing.length;
  const parts = missing.map(({ copy, state }) => `${podName(shard, copy.member)} ${phrase(shard, copy, state)}`);
  const alone = good === 1 ? ` ${aloneMeans(shard)}` : '';
  const worst = [...missing].sort(
    (a, b) => gravity({ reason: a.state, message: '' }) - gravity({ reason: b.state, message: '' }),
  )[0];
  return {
    reason: worst?.state ?? 'Behind',
    message: `Shard ${shard.name}: ${good} of ${total} copies ${good === 1 ? 'is' : 'are'} up to date; ${parts.join('; ')}.${alone}`,
  };
}

function phrase(shard: Shard, copy: Copy, state: CopyState): string {
  const lag = lagOf(shard, copy, state);
  switch (state) {
    case 'NoNode':
      return `waits for a node of its own: the cluster has fewer suitable nodes than the shard has copies`;
    case 'Filling':
      return `is being filled${lag === undefined ? '' : ` (${lag})`}`;
    case 'Behind':
      return `is behind${lag === undefined ? '' : ` (${lag})`}`;
    default:
      return 'is away: see its pod';
  }
}

function aloneMeans({ durability, withoutReplica }: Shard): string {
  if (durability === 'Primary') return 'What is stored now is on one volume.';
  return withoutReplica === 'Defer'
    ? 'Deliveries wait as long as no other copy can be reached.'
    : 'As long as no other copy can be reached, what is delivered is on one volume.';
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What became of a shard's primary since it was last told; undefined: nothing that people should know. */
export function failoverMessage(
  before: { epoch: number; primary: string | undefined } | undefined,
  after: ShardStatus,
): string | undefined {
  if (before === undefined || after.primary === undefined || before.epoch === after.epoch) return undefined;
  if (before.epoch === 0 || before.primary === after.primary) return undefined;
  const was = before.primary === undefined ? '' : `, was ${before.primary}`;
  return `Primary of shard ${after.name} is now ${after.primary} (epoch ${after.epoch})${was}.`;
}

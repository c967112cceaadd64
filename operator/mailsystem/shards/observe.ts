import { names } from '../../../cdk8s/names.js';
import type { ShardState } from '../../directory/rows.js';
import type { KubeObject } from '../../runtime/object.js';
import type { PodObject } from '../observe.js';

/** Label of the pod that is its shard's primary: what its PodDisruptionBudget selects. */
export const roleLabel = 'posthorn.dev/store-role';

/** A Node, as far as we read it. */
export interface NodeObject extends KubeObject {
  spec?: { unschedulable?: boolean; taints?: { key: string; effect: string }[] };
}

/** fine; doubtful: nothing should move to it, and nothing has to leave; leaving: it is being drained or removed. */
export type NodeState = 'fine' | 'doubtful' | 'leaving';

const DOUBTFUL = new Set(['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']);
/** Taints by which autoscalers announce that they are about to remove a node. */
const LEAVING = new Set([
  'node.kubernetes.io/unschedulable',
  'ToBeDeletedByClusterAutoscaler',
  'karpenter.sh/disrupted',
  'node.kubernetes.io/out-of-service',
]);

/** What becomes of a node. One that nobody knows is fine: without the right to see nodes, nothing is moved because of them. */
export function nodeState(node: NodeObject | undefined): NodeState {
  const { unschedulable = false, taints = [] } = node?.spec ?? {};
  if (unschedulable || taints.some(({ key }) => LEAVING.has(key))) return 'leaving';
  return taints.some(({ key, effect }) => DOUBTFUL.has(key) || effect === 'NoExecute') ? 'doubtful' : 'fine';
}

/** Of a node we keep what is said above. */
export function trimNode(node: NodeObject): NodeObject {
  const { name, uid, resourceVersion } = node.metadata;
  const { unschedulable, taints = [] } = node.spec ?? {};
  return {
    apiVersion: node.apiVersion,
    kind: node.kind,
    metadata: { name, uid, resourceVersion },
    spec: {
      ...(unschedulable === undefined ? {} : { unschedulable }),
      taints: taints.map(({ key, effect }) => ({ key, effect })),
    },
  };
}

/** A pod of a shard. */
export interface StorePod {
  readonly name: string;
  readonly uid: string;
  readonly member: number;
  /** Label controller-revision-hash. */
  readonly revision: string;
  readonly ready: boolean;
  /** Since when, ms; 0 when it isn't. */
  readonly readySince: number;
  readonly terminating: boolean;
  readonly node: string | undefined;
  /** The scheduler finds no node for it. */
  readonly unschedulable: boolean;
  /** It can fill other copies: one from when the shard had a single copy can't. */
  readonly replicates: boolean;
  /** Whether it carries the label of a primary. */
  readonly labelled: boolean;
}

/** The pods of a shard among those of its MailSystem. */
export function storePods(system: string, shard: string, pods: readonly PodObject[]): StorePod[] {
  const prefix = `${names(system).store(shard)}-`;
  return pods.flatMap((pod) => {
    const { name } = pod.metadata;
    const ordinal = name.startsWith(prefix) ? name.slice(prefix.length) : '';
    return /^\d$/.test(ordinal) && pod.metadata.labels?.['posthorn.dev/shard'] === shard
      ? [storePod(pod, Number(ordinal))]
      : [];
  });
}

function storePod(pod: PodObject, member: number): StorePod {
  const { name, uid = '', labels = {}, deletionTimestamp } = pod.metadata;
  const condition = (type: string) => pod.status?.conditions?.find((c) => c.type === type);
  const ready = condition('Ready');
  const scheduled = condition('PodScheduled');
  return {
    name,
    uid,
    member,
    revision: labels['controller-revision-hash'] ?? '',
    ready: ready?.status === 'True',
    readySince: ready?.status === 'True' ? Date.parse(ready.lastTransitionTime ?? '') || 1 : 0,
    terminating: deletionTimestamp !== undefined,
    node: pod.spec?.nodeName,
    unschedulable: pod.spec?.nodeName === undefined && scheduled?.status === 'False',
    replicates: pod.spec?.containers?.some((container) => container.name === 'replicator') === true,
    labelled: labels[roleLabel] === 'primary',
  };
}

/** A copy of a shard: what the directory and what Kubernetes say of it. */
export interface Copy {
  readonly member: number;
  readonly pod: StorePod | undefined;
  readonly node: NodeState;
  readonly volume: string | null;
  /** It may be promoted. */
  readonly seeded: boolean;
  readonly inSync: boolean;
  readonly lagChanges: number | null;
  readonly lagSeconds: number | null;
}

/** A shard of the store at one moment. */
export interface Shard {
  readonly name: string;
  /** The StatefulSet. */
  readonly set: string;
  readonly epoch: number;
  /** Who has the lease and renews it; null: nobody. */
  readonly primary: number | null;
  /** Whom the primary is asked to hand over to. */
  readonly wanted: number | null;
  readonly mailboxes: number;
  readonly durability: 'Primary' | 'Replicated';
  readonly withoutReplica: 'Defer' | 'Degrade';
  readonly copies: readonly Copy[];
}

/** Puts together what is known of a shard. @param alive whether its lease is being renewed */
export function shardOf(
  system: string,
  state: ShardState,
  alive: boolean,
  pods: readonly PodObject[],
  nodeOf: (name: string) => NodeObject | undefined,
): Shard {
  const mine = storePods(system, state.name, pods);
  const copies = state.members
    .filter(({ member }) => member < state.replicas)
    .map((row): Copy => {
      const pod = mine.find(({ member }) => member === row.member);
      const node = nodeState(pod?.node === undefined ? undefined : nodeOf(pod.node));
      const { member, volume, seeded, inSync, lagChanges, lagSeconds } = row;
      return { member, pod, node, volume, seeded, inSync, lagChanges, lagSeconds };
    });
  const { name, epoch, wanted, mailboxes, durability, withoutReplica } = state;
  const set = names(system).store(name);
  const primary = alive ? state.primary : null;
  return { name, set, epoch, primary, wanted, mailboxes, durability, withoutReplica, copies };
}

/** Name of a copy's pod, whether it exists or not. */
export function podName({ set }: Pick<Shard, 'set'>, member: number): string {
  return `${set}-${member}`;
}

import type { KubernetesObject } from '../../cdk8s/context.js';
import { mailSystemObjects } from '../../cdk8s/mailsystem.js';
import type { MailSystem, MailSystemResolved } from '../../crds/mailsystem.js';
import { type ApplySetResult, applySet, liveFromApi } from '../runtime/apply.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { builtin, type KubeObject, refOf } from '../runtime/object.js';
import type { Certificates } from './certificates.js';
import type { MailSystemDependencies } from './dependencies.js';
import { bySystem, componentLabel, observePod, type WorkloadObject } from './observe.js';
import { podToReplace } from './rollout.js';
import { growVolumes } from './volumes.js';

const FIELD_MANAGER = 'posthorn-mailsystem';
/** Every kind that a child ever had, and that the operator may list: what is no longer desired is pruned. */
const CHILD_TYPES = [
  builtin.configMap,
  builtin.service,
  builtin.serviceAccount,
  builtin.statefulSet,
  builtin.deployment,
  builtin.podDisruptionBudget,
  builtin.networkPolicy,
  builtin.role,
  builtin.roleBinding,
];

export interface ChildrenResult {
  verdicts: ConditionUpdate[];
  /** A StatefulSet is on its way out, to be made anew. */
  replacing: boolean;
  error: Error | undefined;
}

/** Brings every object of a MailSystem to what its specification says, and removes those that are no longer part of it. */
export async function applyChildren(
  deps: MailSystemDependencies,
  object: MailSystem,
  spec: MailSystemResolved,
  certificates: Certificates,
  signal: AbortSignal,
): Promise<ChildrenResult> {
  const { config, client, log } = deps;
  const desired = mailSystemObjects({
    name: object.metadata.name,
    namespace: object.metadata.namespace ?? '',
    spec,
    clusterDomain: config.clusterDomain,
    clusterDns: config.clusterDns,
    images: config.images,
    peers: certificates.peers,
  });
  const growth = await growVolumes(client, object, desired);
  const result = await applySet({
    client,
    fieldManager: FIELD_MANAGER,
    owner: object,
    inventory: object.metadata.name,
    desired: growth.desired as (KubernetesObject & KubeObject)[],
    pruneTypes: CHILD_TYPES,
    live: liveFromApi(client),
    log,
    signal,
  });
  if (result.applied.length > 0 || result.pruned.length > 0)
    log.info({ system: object.metadata.name, applied: result.applied, pruned: result.pruned }, 'applied children');
  return { verdicts: [growth.verdict, appliedVerdict(result)], replacing: growth.replacing, error: result.errors[0] };
}

function appliedVerdict({ errors }: ApplySetResult): ConditionUpdate {
  if (errors.length === 0)
    return {
      type: 'Applied',
      status: 'True',
      reason: 'Applied',
      message: 'All objects of the system are as declared.',
    };
  return {
    type: 'Applied',
    status: 'False',
    reason: 'ApplyFailed',
    message: errors.map((error) => error.message).join(' '),
  };
}

/** What knows the others before they come: it is replaced first. */
const FIRST = 'redis';

/**
 * Deletes at most one outdated pod of each StatefulSet (their updateStrategy is OnDelete). Shards with several copies are
 * rolled where their primaries are known (shards/).
 */
export async function rollOne(deps: MailSystemDependencies, key: string): Promise<void> {
  const sets = deps.statefulSets.byIndex(bySystem, key);
  const first = sets.filter((set) => componentOf(set) === FIRST);
  for (const set of [...first, ...sets.filter((other) => !first.includes(other))]) {
    const { updateRevision, observedGeneration } = set.status ?? {};
    if (updateRevision === undefined || observedGeneration !== set.metadata.generation || hasCopies(set)) continue;
    const mine = deps.pods
      .byIndex(bySystem, key)
      .filter((pod) => pod.metadata.ownerReferences?.some((owner) => owner.uid === set.metadata.uid));
    const name = podToReplace({ pods: mine.map(observePod), updateRevision, replicas: set.spec?.replicas ?? 1 });
    const pod = mine.find((candidate) => candidate.metadata.name === name);
    if (pod === undefined) continue;
    deps.log.info({ pod: name, statefulSet: set.metadata.name }, 'replacing a pod that runs an older specification');
    await deps.client.delete(builtin.pod, refOf(pod), { uid: pod.metadata.uid });
    if (first.includes(set)) return;
  }
}

const componentOf = ({ metadata }: WorkloadObject): string | undefined => metadata.labels?.[componentLabel];

function hasCopies(set: WorkloadObject): boolean {
  return componentOf(set) === 'store' && (set.spec?.replicas ?? 1) > 1;
}

/**
 * Rolling a StatefulSet by hand (`updateStrategy: OnDelete`): which pod may be replaced now. Pure.
 * Kubernetes' own rolling update goes by ordinal; ours leaves the database's leader for last and never takes a
 * second pod while one is away.
 */

export interface RolloutPod {
  name: string;
  /** Label controller-revision-hash. */
  revision: string;
  ready: boolean;
  terminating: boolean;
  /** Has the role that moves elsewhere when it goes: replaced last. */
  leader: boolean;
}

export interface Rollout {
  pods: readonly RolloutPod[];
  /** `status.updateRevision` of the StatefulSet. */
  updateRevision: string;
  /** `spec.replicas`. */
  replicas: number;
}

/** Name of the pod to delete now, or undefined when nothing is outdated or something must be waited for. */
export function podToReplace({ pods, updateRevision, replicas }: Rollout): string | undefined {
  const outdated = pods.filter((pod) => pod.revision !== updateRevision);
  if (outdated.length === 0 || pods.some((pod) => pod.terminating)) return undefined;
  // A pod that is broken and outdated serves nobody: replacing it can only help, whatever else is missing.
  const broken = outdated.find((pod) => !pod.ready);
  if (broken) return broken.name;
  if (pods.length < replicas || pods.some((pod) => !pod.ready)) return undefined;
  return [...outdated].sort(replicasFirst)[0]?.name;
}

function replicasFirst(a: RolloutPod, b: RolloutPod): number {
  return Number(a.leader) - Number(b.leader) || ordinal(b.name) - ordinal(a.name);
}

function ordinal(name: string): number {
  return Number(name.slice(name.lastIndexOf('-') + 1));
}

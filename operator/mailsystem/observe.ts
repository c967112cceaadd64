import type { MailSystemResolved, MailSystemStatus } from '../../crds/mailsystem.js';
import type { KubeObject } from '../runtime/object.js';
import type { RolloutPod } from './rollout.js';
import type { ComponentCondition, Workload } from './status.js';

/** A StatefulSet or Deployment, as far as we read it. */
export interface WorkloadObject extends KubeObject {
  spec?: { replicas?: number };
  status?: {
    observedGeneration?: number;
    replicas?: number;
    readyReplicas?: number;
    updatedReplicas?: number;
    updateRevision?: string;
  };
}

/** A Pod, as far as we read it. */
export interface PodObject extends KubeObject {
  spec?: { nodeName?: string | undefined; containers?: { name: string }[]; volumes?: { name: string }[] };
  status?: { conditions?: { type: string; status: string; lastTransitionTime?: string | undefined }[] };
}

/** A Service, as far as we read it. */
export interface ServiceObject extends KubeObject {
  spec?: { type?: string; clusterIP?: string; ports?: { name?: string; port: number; nodePort?: number }[] };
  status?: { loadBalancer?: { ingress?: { ip?: string; hostname?: string }[] } };
}

const CONDITION_OF: Readonly<Record<string, ComponentCondition>> = {
  mx: 'MxReady',
  submission: 'SubmissionReady',
  egress: 'EgressReady',
  forward: 'ForwardReady',
  courier: 'CourierReady',
  proxy: 'ProxyReady',
  store: 'StoreReady',
  redis: 'FilterReady',
  postgres: 'DatabaseReady',
  pooler: 'DatabaseReady',
};

/** The label that says which component an object belongs to. */
export const componentLabel = 'app.kubernetes.io/component';

/** Index: objects of one MailSystem's children, by `namespace/system`. */
export const bySystem = 'system';

/** Index function for children: `namespace/instance` of those that carry our labels. */
export function systemOfChild(object: KubeObject): string[] {
  const labels = object.metadata.labels ?? {};
  const instance = labels['app.kubernetes.io/instance'];
  return instance !== undefined && labels[componentLabel] !== undefined
    ? [`${object.metadata.namespace}/${instance}`]
    : [];
}

/** What a workload counts for; undefined for one that is not ours. */
export function observeWorkload(object: WorkloadObject): Workload | undefined {
  const condition = CONDITION_OF[object.metadata.labels?.[componentLabel] ?? ''];
  if (condition === undefined) return undefined;
  const desired = object.spec?.replicas ?? 1;
  const { readyReplicas = 0, updatedReplicas = 0, observedGeneration } = object.status ?? {};
  // Until its controller has seen the object, its counts are those of an older specification.
  const current = observedGeneration === object.metadata.generation;
  return {
    condition,
    name: `${object.kind}/${object.metadata.name}`,
    desired,
    ready: Math.min(readyReplicas, desired),
    outdated: current ? Math.max(0, desired - updatedReplicas) : desired,
  };
}

/** A pod as the rollout looks at it. */
export function observePod(pod: PodObject): RolloutPod {
  return {
    name: pod.metadata.name,
    revision: pod.metadata.labels?.['controller-revision-hash'] ?? '',
    ready: pod.status?.conditions?.find((c) => c.type === 'Ready')?.status === 'True',
    terminating: pod.metadata.deletionTimestamp !== undefined,
    leader: pod.metadata.labels?.role === 'primary',
  };
}

const ENDPOINT_NAMES: Readonly<Record<number, string>> = {
  25: 'smtp',
  587: 'submission',
  465: 'submissions',
  993: 'imaps',
  4190: 'managesieve',
};

/** Where people and other servers reach the system: load balancer's address, node port, or the Service's own address. */
export function observeEndpoints(
  services: readonly ServiceObject[],
  spec: MailSystemResolved,
): NonNullable<MailSystemStatus['endpoints']> {
  return services.flatMap((service) => {
    const host = hostOf(service, spec);
    return (service.spec?.ports ?? []).flatMap((port) => {
      const name = ENDPOINT_NAMES[port.port];
      if (name === undefined || host === undefined) return [];
      const usesNodePort = service.spec?.type === 'NodePort' && port.nodePort !== undefined;
      return [{ name, host, port: usesNodePort ? (port.nodePort as number) : port.port }];
    });
  });
}

function hostOf(service: ServiceObject, spec: MailSystemResolved): string | undefined {
  const ingress = service.status?.loadBalancer?.ingress?.[0];
  if (service.spec?.type === 'NodePort') return spec.hostname;
  return ingress?.ip ?? ingress?.hostname ?? service.spec?.clusterIP;
}

import type {
  V1DeploymentSpec,
  V1LabelSelectorRequirement,
  V1PersistentVolumeClaim,
  V1StatefulSetSpec,
} from '@kubernetes/client-node';
import type { Construct } from 'constructs';
import { formatQuantity, parseQuantity } from '../crds/quantity.js';
import { addConfig, configMapName } from './config.js';
import type { VolumeRequest } from './context.js';
import { addChild } from './object.js';
import { type Pod, podTemplate } from './pod.js';
import { labels, type System, selectorLabels } from './system.js';

/** A StatefulSet: pods with names and volumes of their own. */
export interface Stateful extends Pod {
  readonly name: string;
  /** The governing Service. */
  readonly serviceName: string;
  readonly replicas: number;
  /** The one volume of each pod. */
  readonly claim: VolumeRequest & { readonly name: string };
  readonly minReadySeconds?: number;
}

/** The ConfigMap of every daemon in the pod. */
function addConfigs(scope: Construct, system: System, pod: Pod): void {
  const configs = [...(pod.sidecars ?? []), ...pod.containers].flatMap(({ config }) => config ?? []);
  const byName = new Map(configs.map((config) => [configMapName(system, config), config]));
  for (const config of byName.values()) addConfig(scope, system, pod.component, config);
}

/**
 * Adds, with its daemons' ConfigMaps, a StatefulSet that the operator rolls itself (`OnDelete`): it knows which pod is a primary.
 * Volumes outlive it, unless the MailSystem says `deletionPolicy: Delete`.
 */
export function addStatefulSet(scope: Construct, system: System, workload: Stateful): void {
  addConfigs(scope, system, workload);
  const spec: V1StatefulSetSpec = {
    serviceName: workload.serviceName,
    replicas: workload.replicas,
    podManagementPolicy: 'Parallel',
    updateStrategy: { type: 'OnDelete' },
    revisionHistoryLimit: 3,
    persistentVolumeClaimRetentionPolicy: {
      whenDeleted: system.spec.deletionPolicy === 'Delete' ? 'Delete' : 'Retain',
      whenScaled: 'Retain',
    },
    selector: { matchLabels: selectorLabels(system, workload.component, workload.labels) },
    template: podTemplate(system, workload),
    volumeClaimTemplates: [claimTemplate(system, workload)],
  };
  addChild(scope, system, {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    name: workload.name,
    component: workload.component,
    labels: workload.labels,
    body: { spec },
  });
}

function claimTemplate(system: System, workload: Stateful): V1PersistentVolumeClaim {
  const { claim } = workload;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: claim.name, labels: labels(system, workload.component, workload.labels) },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
      resources: { requests: { storage: canonical(claim.size) } },
      ...(claim.storageClassName ? { storageClassName: claim.storageClassName } : {}),
    },
  };
}

/** As the API server writes it, so that the declared and the live object compare as equal. */
function canonical(size: string): string {
  return formatQuantity(parseQuantity(size));
}

/** A Deployment: pods without state. */
export interface Stateless extends Pod {
  readonly name: string;
  readonly replicas: number;
}

/** Adds, with its daemons' ConfigMaps, a Deployment that replaces pods one by one, each only once its successor is ready. */
export function addDeployment(scope: Construct, system: System, workload: Stateless): void {
  addConfigs(scope, system, workload);
  const spec: V1DeploymentSpec = {
    replicas: workload.replicas,
    revisionHistoryLimit: 3,
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    selector: { matchLabels: selectorLabels(system, workload.component, workload.labels) },
    template: podTemplate(system, workload),
  };
  addChild(scope, system, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    name: workload.name,
    component: workload.component,
    labels: workload.labels,
    body: { spec },
  });
}

/** Whom a PodDisruptionBudget protects, and how much. */
export interface Disruptions extends Pick<Stateless, 'name' | 'component' | 'labels'> {
  /** More conditions on the pods' labels. */
  readonly expressions?: readonly V1LabelSelectorRequirement[];
  /** Pods that evictions must leave. */
  readonly minAvailable?: number;
  /** Without `minAvailable`: pods that evictions may take at a time; default 1. */
  readonly maxUnavailable?: number;
}

/** Adds a PodDisruptionBudget: unless it says otherwise evictions take one pod of the component at a time. */
export function addDisruptionBudget(scope: Construct, system: System, workload: Disruptions): void {
  const { expressions, minAvailable, maxUnavailable = 1 } = workload;
  addChild(scope, system, {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    name: workload.name,
    component: workload.component,
    labels: workload.labels,
    body: {
      spec: {
        ...(minAvailable === undefined ? { maxUnavailable } : { minAvailable }),
        unhealthyPodEvictionPolicy: 'AlwaysAllow',
        selector: {
          matchLabels: selectorLabels(system, workload.component, workload.labels),
          ...(expressions ? { matchExpressions: [...expressions] } : {}),
        },
      },
    },
  });
}

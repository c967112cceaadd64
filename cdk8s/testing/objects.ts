import type { V1Container, V1DeploymentSpec, V1StatefulSetSpec } from '@kubernetes/client-node';
import { parseQuantity } from '../../crds/quantity.js';
import type { KubernetesObject } from '../context.js';

/** A StatefulSet or a Deployment. */
export type Workload = KubernetesObject & { spec: V1DeploymentSpec & Partial<V1StatefulSetSpec> };

/** The StatefulSets and Deployments among the objects. */
export function workloads(objects: KubernetesObject[]): Workload[] {
  return objects.filter((o) => o.kind === 'StatefulSet' || o.kind === 'Deployment') as Workload[];
}

/** The workload of a name. */
export function named<T extends Workload>(objects: KubernetesObject[], name: string): T {
  const found = workloads(objects).find((w) => w.metadata.name === name);
  if (!found) throw new Error(`no workload ${name}`);
  return found as T;
}

/** All containers of a workload's pods, sidecars too. */
export function containers(workload: Workload): V1Container[] {
  const spec = workload.spec.template.spec;
  return [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
}

/** Names of the workloads whose pods carry the labels, apart from labels that daemons set on themselves. */
export function podsOf(objects: KubernetesObject[], selector: Record<string, string>): string[] {
  const fixed = Object.entries(selector).filter(([label]) => label !== 'role');
  return workloads(objects)
    .filter((w) => fixed.every(([label, value]) => w.spec.template.metadata?.labels?.[label] === value))
    .map((w) => w.metadata.name);
}

/** Pod selectors of a Service, PodDisruptionBudget or NetworkPolicy (own pods first), and the ports of a policy. */
export function ingressOf(object: KubernetesObject): { selectors: Record<string, string>[]; ports: number[] } {
  const spec = object.spec as {
    selector?: Record<string, unknown>;
    podSelector?: Selector;
    ingress?: { ports: { port: number }[]; from?: { podSelector: Selector; namespaceSelector?: object }[] }[];
  };
  if (object.kind === 'Service') return { selectors: [spec.selector as Record<string, string>], ports: [] };
  if (object.kind === 'PodDisruptionBudget') {
    return { selectors: [(spec.selector as unknown as Selector).matchLabels], ports: [] };
  }
  if (object.kind !== 'NetworkPolicy') return { selectors: [], ports: [] };
  const rules = spec.ingress ?? [];
  const sources = rules.flatMap((rule) => rule.from ?? []).filter((from) => !from.namespaceSelector);
  const selectors = [spec.podSelector as Selector, ...sources.map((from) => from.podSelector)];
  return {
    selectors: selectors.map((s) => s.matchLabels),
    ports: rules.flatMap((rule) => rule.ports.map((p) => p.port)),
  };
}

interface Selector {
  matchLabels: Record<string, string>;
}

/** Bytes of a memory quantity; 0 when there is none. */
export function bytes(quantity: string | undefined): number {
  return quantity === undefined ? 0 : parseQuantity(quantity);
}

/** Cores of a CPU quantity; 0 when there is none. */
export function cpu(quantity: string | undefined): number {
  if (quantity === undefined) return 0;
  return quantity.endsWith('m') ? Number(quantity.slice(0, -1)) / 1000 : Number(quantity);
}

import type { V1ServicePort, V1ServiceSpec } from '@kubernetes/client-node';
import type { Construct } from 'constructs';
import type { Component } from './context.js';
import { addChild } from './object.js';
import { type System, selectorLabels } from './system.js';

/** A Service of a component. */
export interface ServiceProps {
  readonly name: string;
  readonly component: Component;
  readonly labels?: Readonly<Record<string, string>>;
  /** More labels that pods must carry to be chosen (the database's role). */
  readonly select?: Readonly<Record<string, string>>;
  /** Port name → [port, name of the container's port]. */
  readonly ports: Readonly<Record<string, readonly [number, string]>>;
  /** `headless`: a name per pod; `internal`: one address within the cluster; `public`: as `spec.exposure` says. */
  readonly kind: 'headless' | 'internal' | 'public';
  /** Only pods that are ready: where a wrong pod is worse than none. */
  readonly readyOnly?: boolean;
}

/**
 * Adds a Service. Unless `readyOnly`, endpoints stay published while pods are not ready: after an outage of the Kubernetes API
 * nodes count as not ready for about a minute, and mail must not stop for that.
 */
export function addService(scope: Construct, system: System, service: ServiceProps): void {
  const ports: V1ServicePort[] = Object.entries(service.ports).map(([name, [port, targetPort]]) => ({
    name,
    port,
    targetPort,
    protocol: 'TCP',
  }));
  const spec: V1ServiceSpec = {
    ...exposure(system, service.kind),
    ...(service.readyOnly ? {} : { publishNotReadyAddresses: true }),
    selector: { ...selectorLabels(system, service.component, service.labels), ...service.select },
    ports,
  };
  addChild(scope, system, {
    apiVersion: 'v1',
    kind: 'Service',
    name: service.name,
    component: service.component,
    labels: service.labels,
    body: { spec },
  });
}

function exposure(system: System, kind: ServiceProps['kind']): V1ServiceSpec {
  if (kind === 'headless') return { type: 'ClusterIP', clusterIP: 'None' };
  const type = kind === 'public' ? system.spec.exposure.type : 'ClusterIP';
  // Local keeps the client's address, which spam filtering and rate limits need.
  return type === 'ClusterIP' ? { type } : { type, externalTrafficPolicy: 'Local' };
}

/** Who may open which ports; an empty `from` is everyone. */
export interface Allow {
  readonly ports: readonly number[];
  readonly from: readonly Source[];
}

/** A component of the same system, or the operator in whatever namespace it runs. */
export type Source = Component | 'operator';

/** Who asks the directory: every component that has a role in it, and the operator. */
export const DIRECTORY_CLIENTS: readonly Source[] = [
  'mx',
  'submission',
  'egress',
  'forward',
  'courier',
  'proxy',
  'store',
  'operator',
];

/** Labels of the operator's pods; the chart sets them. */
export const OPERATOR_LABELS = {
  'app.kubernetes.io/name': 'posthorn',
  'app.kubernetes.io/component': 'operator',
};

/**
 * Adds the NetworkPolicy of a component: what isn't allowed is refused. This is a second fence; the first is
 * that every internal listener wants a certificate.
 */
export function addIngressPolicy(
  scope: Construct,
  system: System,
  policy: { readonly name: string; readonly component: Component; readonly allow: readonly Allow[] },
): void {
  addChild(scope, system, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    name: policy.name,
    component: policy.component,
    body: {
      spec: {
        podSelector: { matchLabels: selectorLabels(system, policy.component) },
        policyTypes: ['Ingress'],
        ingress: policy.allow.map(({ ports, from }) => ({
          ports: ports.map((port) => ({ port, protocol: 'TCP' })),
          ...(from.length ? { from: from.map((source) => peer(system, source)) } : {}),
        })),
      },
    },
  });
}

function peer(system: System, source: Source) {
  if (source === 'operator') return { namespaceSelector: {}, podSelector: { matchLabels: OPERATOR_LABELS } };
  return { podSelector: { matchLabels: selectorLabels(system, source) } };
}

/** Adds the policy that refuses everything to the system's pods unless another policy allows it. */
export function addDefaultDeny(scope: Construct, system: System): void {
  addChild(scope, system, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    name: `${system.name}-default-deny`,
    body: {
      spec: {
        podSelector: {
          // With managed-by, since an operator's Helm release may bear the system's name.
          matchLabels: {
            'app.kubernetes.io/name': 'posthorn',
            'app.kubernetes.io/instance': system.name,
            'app.kubernetes.io/managed-by': 'posthorn',
          },
        },
        policyTypes: ['Ingress'],
      },
    },
  });
}

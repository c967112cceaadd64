import { createHash } from 'node:crypto';
import type { Component, KubernetesObject, MailSystemContext, OwnerReference } from './context.js';
import { names } from './names.js';
import { loadTemplates, type Templates, type TemplateValues } from './template.js';
import { templateValues } from './values.js';

/** A MailSystem's context with what every construct derives from it. */
export interface System extends MailSystemContext {
  readonly templates: Templates;
  readonly names: ReturnType<typeof names>;
  readonly values: TemplateValues;
}

let loaded: Templates | undefined;

/** Adds names, template values and templates (read from disk once per process unless given). */
export function resolveSystem(context: MailSystemContext): System {
  let templates = context.templates;
  if (!templates) {
    loaded ??= loadTemplates();
    templates = loaded;
  }
  return { ...context, templates, names: names(context.name), values: templateValues(context) };
}

/** Labels that select a component's pods. Immutable in StatefulSets: never add to them. */
export function selectorLabels(
  system: Pick<MailSystemContext, 'name'>,
  component: Component,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    'app.kubernetes.io/name': 'posthorn',
    'app.kubernetes.io/instance': system.name,
    'app.kubernetes.io/component': component,
    ...extra,
  };
}

/** Labels of every child. */
export function labels(
  system: Pick<MailSystemContext, 'name'>,
  component?: Component,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    'app.kubernetes.io/name': 'posthorn',
    'app.kubernetes.io/instance': system.name,
    ...(component ? { 'app.kubernetes.io/component': component } : {}),
    'app.kubernetes.io/managed-by': 'posthorn',
    ...extra,
  };
}

/** Controller reference from a child to its MailSystem; none when the uid isn't known (the chart, tests). */
export function ownerReferences(system: MailSystemContext): OwnerReference[] | undefined {
  if (!system.uid) return undefined;
  return [
    {
      apiVersion: 'posthorn.dev/v1alpha1',
      kind: 'MailSystem',
      name: system.name,
      uid: system.uid,
      controller: true,
      blockOwnerDeletion: true,
    },
  ];
}

/** First 16 hex digits of the SHA-256 of a value's JSON. */
export function shortHash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

/** Order in which kinds are applied: what pods mount or select comes before the pods. */
const KIND_ORDER = [
  'ServiceAccount',
  'Role',
  'RoleBinding',
  'ConfigMap',
  'NetworkPolicy',
  'Service',
  'PodDisruptionBudget',
  'StatefulSet',
  'Deployment',
];

/** Compares two objects by kind (as applied), then name: independent of locale and of construct order. */
export function applyOrder(a: KubernetesObject, b: KubernetesObject): number {
  const byKind = KIND_ORDER.indexOf(a.kind) - KIND_ORDER.indexOf(b.kind);
  if (byKind !== 0) return byKind;
  return a.metadata.name < b.metadata.name ? -1 : 1;
}

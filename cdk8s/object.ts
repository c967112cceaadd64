import { ApiObject } from 'cdk8s';
import type { Construct } from 'constructs';
import type { Component } from './context.js';
import { labels, ownerReferences, type System } from './system.js';

/** One child of a MailSystem. */
export interface Child {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly component?: Component | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** `spec`, `data`, `rules`: whatever the kind has beside its metadata. */
  readonly body: Readonly<Record<string, unknown>>;
}

/**
 * Adds a child with its namespace, labels and owner. The name is always given: cdk8s would generate one
 * with a hash, and names of what holds data must not depend on where a construct stands in a tree.
 */
export function addChild(scope: Construct, system: System, child: Child): ApiObject {
  const owners = ownerReferences(system);
  return new ApiObject(scope, `${child.kind}-${child.name}`, {
    apiVersion: child.apiVersion,
    kind: child.kind,
    metadata: {
      name: child.name,
      namespace: system.namespace,
      labels: labels(system, child.component, child.labels),
      ...(child.annotations ? { annotations: { ...child.annotations } } : {}),
      ...(owners ? { ownerReferences: owners } : {}),
    },
    ...child.body,
  });
}

import { Construct } from 'constructs';
import { courier, UID } from './daemons.js';
import { addIngressPolicy, addService } from './network.js';
import { addChild } from './object.js';
import type { System } from './system.js';
import { tlsVolume } from './volumes.js';
import { addDeployment, addDisruptionBudget } from './workload.js';

const COMPONENT = 'courier';

/** Hands messages to webhooks, and to commands that run as Jobs in the MailSystem's namespace. */
export class Courier extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = COMPONENT;
    const name = system.names.courier;
    addAccount(this, system);
    addDeployment(this, system, {
      component,
      name,
      replicas: system.spec.courier.replicas,
      containers: [courier()],
      fsGroup: UID.posthorn,
      volumes: [tlsVolume(system, component)],
      serviceAccountName: name,
      // A webhook or a command that has begun may take this long to answer.
      graceSeconds: 90,
    });
    addService(this, system, { name, component, kind: 'headless', ports: { lmtp: [10024, 'lmtp'] } });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, { name, component, allow: [{ ports: [10024], from: ['forward'] }] });
  }
}

/**
 * What the courier may do in the namespace. Who may create Jobs can have a pod mount any Secret there, so the right to
 * read Secrets adds nothing to it. No right here may exceed the operator's own (operator-rbac.ts).
 */
const RULES = [
  { apiGroups: ['batch'], resources: ['jobs'], verbs: ['create', 'delete', 'get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
  { apiGroups: [''], resources: ['secrets'], verbs: ['create', 'get', 'patch'] },
  { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
];

function addAccount(scope: Construct, system: System): void {
  const name = system.names.courier;
  const rbac = 'rbac.authorization.k8s.io';
  const child = { name, component: COMPONENT } as const;
  addChild(scope, system, {
    ...child,
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    body: { automountServiceAccountToken: false },
  });
  addChild(scope, system, { ...child, apiVersion: `${rbac}/v1`, kind: 'Role', body: { rules: RULES } });
  addChild(scope, system, {
    ...child,
    apiVersion: `${rbac}/v1`,
    kind: 'RoleBinding',
    body: {
      roleRef: { apiGroup: rbac, kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace: system.namespace }],
    },
  });
}

import { Construct } from 'constructs';
import { heartbeat, member, pgbouncer, UID } from './daemons.js';
import { addIngressPolicy, addService, DIRECTORY_CLIENTS } from './network.js';
import { addChild } from './object.js';
import type { System } from './system.js';
import { DIRECTORY_PORT } from './values.js';
import { SOCKET_VOLUME, tlsVolume } from './volumes.js';
import { addDisruptionBudget, addStatefulSet } from './workload.js';

const COMPONENT = 'postgres';

/**
 * The directory: PostgreSQL under Patroni, one or three members, each with a pooler of its own. Patroni keeps
 * its state in ConfigMaps called after the StatefulSet and labels its pod with `role`.
 */
export class Postgres extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const name = system.names.postgres;
    addPatroniAccount(this, system);
    addStatefulSet(this, system, {
      component: COMPONENT,
      podLabels: { 'posthorn.dev/patroni': name },
      name,
      serviceName: system.names.postgresMembers,
      replicas: system.spec.database.members,
      containers: [member(), pgbouncer(), heartbeat()],
      fsGroup: UID.postgres,
      volumes: [tlsVolume(system, 'postgres'), SOCKET_VOLUME],
      claim: { name: 'data', ...system.spec.database },
      serviceAccountName: name,
      // A leader that ends writes a checkpoint and hands its lock over.
      graceSeconds: 60,
    });
    addServices(this, system);
    addDisruptionBudget(this, system, { name, component: COMPONENT });
    addIngressPolicy(this, system, {
      name,
      component: COMPONENT,
      allow: [
        { ports: [DIRECTORY_PORT], from: DIRECTORY_CLIENTS },
        { ports: [5432, 8008], from: ['postgres', 'operator'] },
      ],
    });
  }
}

function addServices(scope: Construct, system: System): void {
  addService(scope, system, {
    name: system.names.postgresMembers,
    component: COMPONENT,
    kind: 'headless',
    ports: { pooler: [DIRECTORY_PORT, 'pooler'], postgres: [5432, 'postgres'], patroni: [8008, 'patroni'] },
  });
  addService(scope, system, {
    name: system.names.postgres,
    component: COMPONENT,
    kind: 'internal',
    select: { role: 'primary' },
    // A dead leader keeps its label until its pod is gone: then its readiness is all that takes it out of here.
    readyOnly: true,
    ports: { pooler: [DIRECTORY_PORT, 'pooler'], postgres: [5432, 'postgres'] },
  });
}

/** ConfigMaps in which Patroni keeps what the members agree on. */
function patroniConfigMaps(name: string): string[] {
  return ['config', 'failover', 'failsafe', 'leader', 'sync'].map((suffix) => `${name}-${suffix}`);
}

/** Patroni writes only its own ConfigMaps and pods. (A right to create or list can't be limited to names.) */
function addPatroniAccount(scope: Construct, system: System): void {
  const name = system.names.postgres;
  const pods = Array.from({ length: system.spec.database.members }, (_, i) => `${name}-${i}`);
  const rbac = 'rbac.authorization.k8s.io';
  const child = { name, component: COMPONENT } as const;
  addChild(scope, system, {
    ...child,
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    body: { automountServiceAccountToken: false },
  });
  addChild(scope, system, {
    ...child,
    apiVersion: `${rbac}/v1`,
    kind: 'Role',
    body: {
      rules: [
        { apiGroups: [''], resources: ['configmaps'], verbs: ['create', 'get', 'list', 'watch'] },
        { apiGroups: [''], resources: ['configmaps'], resourceNames: patroniConfigMaps(name), verbs: ['patch'] },
        { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
        { apiGroups: [''], resources: ['pods'], resourceNames: pods, verbs: ['patch'] },
      ],
    },
  });
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

/** What the runtime needs to know of Kubernetes objects: metadata, resource types, keys and paths. Dates stay RFC 3339 strings. */

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean | undefined;
  blockOwnerDeletion?: boolean | undefined;
}

export interface ObjectMeta {
  name: string;
  namespace?: string | undefined;
  uid?: string | undefined;
  resourceVersion?: string | undefined;
  generation?: number | undefined;
  creationTimestamp?: string | undefined;
  deletionTimestamp?: string | undefined;
  labels?: Record<string, string> | undefined;
  annotations?: Record<string, string> | undefined;
  finalizers?: string[] | undefined;
  ownerReferences?: OwnerReference[] | undefined;
  managedFields?: unknown[] | undefined;
}

/** The least that every object has. Kinds of your own extend it with `spec` and `status`. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** Names a collection of the API: what a path is made from, and the kind of its items. */
export interface ResourceType {
  /** Empty for the core group. */
  group: string;
  version: string;
  plural: string;
  kind: string;
  namespaced: boolean;
}

/** Names one object within a resource type. */
export interface ObjectRef {
  namespace?: string | undefined;
  name: string;
}

/** `namespace/name`, or `name` for cluster-scoped objects: the key of caches and queues. */
export function keyOf(object: { metadata: { name: string; namespace?: string | undefined } }): string {
  return refKey(object.metadata);
}

/** The same key from a reference. */
export function refKey({ namespace, name }: ObjectRef): string {
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}

/** The inverse of {@link keyOf}. */
export function parseKey(key: string): ObjectRef {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** The reference of an object. */
export function refOf(object: KubeObject): ObjectRef {
  return { namespace: object.metadata.namespace, name: object.metadata.name };
}

/** `apps/v1`, or `v1` for the core group. */
export function apiVersionOf(type: Pick<ResourceType, 'group' | 'version'>): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

/** Path of a collection; without a namespace, of the collection across all namespaces. */
export function collectionPath(type: ResourceType, namespace?: string): string {
  const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const scope =
    type.namespaced && namespace !== undefined && namespace !== ''
      ? `/namespaces/${encodeURIComponent(namespace)}`
      : '';
  return `${root}${scope}/${type.plural}`;
}

/** Path of one object, or of one of its subresources. Throws if the reference lacks the namespace that the type needs. */
export function objectPath(type: ResourceType, ref: ObjectRef, subresource?: string): string {
  if (ref.name === '') throw new Error(`${type.kind}: an object name is needed`);
  if (type.namespaced && (ref.namespace === undefined || ref.namespace === '')) {
    throw new Error(`${type.kind} ${ref.name}: a namespace is needed`);
  }
  const path = `${collectionPath(type, ref.namespace)}/${encodeURIComponent(ref.name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

/** An owner reference that makes `owner` the controller of the object that carries it. */
export function ownerReference(owner: KubeObject): OwnerReference {
  const { uid, name } = owner.metadata;
  if (uid === undefined)
    throw new Error(`${owner.kind} ${name}: an owner must have been read from the API (it has no uid)`);
  return { apiVersion: owner.apiVersion, kind: owner.kind, name, uid, controller: true, blockOwnerDeletion: true };
}

const core = (plural: string, kind: string, namespaced = true): ResourceType => ({
  group: '',
  version: 'v1',
  plural,
  kind,
  namespaced,
});
const of = (group: string, plural: string, kind: string, namespaced = true): ResourceType => ({
  group,
  version: 'v1',
  plural,
  kind,
  namespaced,
});

/** Kubernetes' own resource types that controllers commonly read or write. */
export const builtin = {
  configMap: core('configmaps', 'ConfigMap'),
  secret: core('secrets', 'Secret'),
  service: core('services', 'Service'),
  serviceAccount: core('serviceaccounts', 'ServiceAccount'),
  pod: core('pods', 'Pod'),
  event: core('events', 'Event'),
  endpoints: core('endpoints', 'Endpoints'),
  persistentVolumeClaim: core('persistentvolumeclaims', 'PersistentVolumeClaim'),
  persistentVolume: core('persistentvolumes', 'PersistentVolume', false),
  limitRange: core('limitranges', 'LimitRange'),
  namespace: core('namespaces', 'Namespace', false),
  node: core('nodes', 'Node', false),
  deployment: of('apps', 'deployments', 'Deployment'),
  statefulSet: of('apps', 'statefulsets', 'StatefulSet'),
  daemonSet: of('apps', 'daemonsets', 'DaemonSet'),
  job: of('batch', 'jobs', 'Job'),
  cronJob: of('batch', 'cronjobs', 'CronJob'),
  lease: of('coordination.k8s.io', 'leases', 'Lease'),
  endpointSlice: of('discovery.k8s.io', 'endpointslices', 'EndpointSlice'),
  podDisruptionBudget: of('policy', 'poddisruptionbudgets', 'PodDisruptionBudget'),
  networkPolicy: of('networking.k8s.io', 'networkpolicies', 'NetworkPolicy'),
  ingress: of('networking.k8s.io', 'ingresses', 'Ingress'),
  role: of('rbac.authorization.k8s.io', 'roles', 'Role'),
  roleBinding: of('rbac.authorization.k8s.io', 'rolebindings', 'RoleBinding'),
  clusterRole: of('rbac.authorization.k8s.io', 'clusterroles', 'ClusterRole', false),
  clusterRoleBinding: of('rbac.authorization.k8s.io', 'clusterrolebindings', 'ClusterRoleBinding', false),
  customResourceDefinition: of('apiextensions.k8s.io', 'customresourcedefinitions', 'CustomResourceDefinition', false),
} as const satisfies Record<string, ResourceType>;

/** Finds the resource type of an object among `extra` and Kubernetes' own. Throws for a kind that is in neither. */
export function resourceTypeOf(
  object: { apiVersion: string; kind: string },
  extra: readonly ResourceType[] = [],
): ResourceType {
  const found = [...extra, ...Object.values(builtin)].find(
    (type) => type.kind === object.kind && apiVersionOf(type) === object.apiVersion,
  );
  if (found === undefined)
    throw new Error(`no resource type is known for ${object.apiVersion} ${object.kind}; pass it explicitly`);
  return found;
}

/** Whether a live object still says what was applied to it, fields of others and the server's defaults aside. */

type Json = unknown;

/** Fields by which Kubernetes tells the items of a list apart (`x-kubernetes-list-map-keys`), by the list's name. */
const listKeys: Record<string, readonly string[]> = {
  containers: ['name'],
  initContainers: ['name'],
  env: ['name'],
  volumes: ['name'],
  imagePullSecrets: ['name'],
  volumeMounts: ['mountPath'],
  volumeDevices: ['devicePath'],
  topologySpreadConstraints: ['topologyKey', 'whenUnsatisfiable'],
  hostAliases: ['ip'],
  ownerReferences: ['uid'],
  conditions: ['type'],
};

/** Parents of values that are quantities: `1000m` and `1` are the same there. */
const quantityParents = new Set(['requests', 'limits', 'capacity', 'hard', 'sizeLimit', 'overhead', 'divisor']);

/**
 * Fields whose zero the server does not store. Not so for the many others where a missing value means something else than
 * false (`automountServiceAccountToken`, …).
 */
const droppedZeros = new Set([
  'hostNetwork',
  'hostPID',
  'hostIPC',
  'stdin',
  'stdinOnce',
  'tty',
  'readOnly',
  'publishNotReadyAddresses',
  'paused',
  'initialDelaySeconds',
  'minReadySeconds',
]);

/** Differences at these paths are none: who made the request and the server fill them in. */
const ignored = new Set([
  'apiVersion',
  'kind',
  'status',
  'metadata.managedFields',
  'metadata.creationTimestamp',
  'metadata.resourceVersion',
]);

export interface Difference {
  /** `spec.replicas`, `spec.template.spec.containers[postfix].image` */
  path: string;
  /** The live value there; undefined if there is none. */
  live: Json;
}

/** Where `live` differs from `desired`, in fields that `desired` has. */
export function differences(desired: object, live: object): Difference[] {
  const found: Difference[] = [];
  compare(desired, live, '', '', found);
  return found;
}

function compare(desired: Json, live: Json, path: string, name: string, found: Difference[]): void {
  if (ignored.has(path) || isEmpty(desired, live, name)) return;
  if (Array.isArray(desired) && Array.isArray(live)) compareLists(desired, live, path, name, found);
  else if (isRecord(desired) && isRecord(live)) compareRecords(desired, live, path, name, found);
  else if (!sameScalar(desired, live, name)) found.push({ path, live });
}

/** Nothing asked for and nothing there: null, empty text, lists and objects, and some zeros are dropped by the server. */
function isEmpty(desired: Json, live: Json, name: string): boolean {
  if (desired === undefined || desired === null) return true;
  if (live !== undefined && live !== null) return false;
  return isEmptyValue(desired) || (droppedZeros.has(name) && (desired === false || desired === 0));
}

function isEmptyValue(value: Json): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return isRecord(value) ? Object.keys(value).length === 0 : value === '';
}

function compareRecords(
  desired: Record<string, Json>,
  live: Record<string, Json>,
  path: string,
  name: string,
  found: Difference[],
): void {
  for (const [field, value] of Object.entries(desired)) {
    const inner = quantityParents.has(name) ? `${name}.*` : field;
    compare(value, live[field], path === '' ? field : `${path}.${field}`, inner, found);
  }
}

function compareLists(desired: Json[], live: Json[], path: string, name: string, found: Difference[]): void {
  const keys = keysOf(name, desired);
  if (keys === undefined) {
    if (desired.length !== live.length) found.push({ path, live });
    else for (const [at, item] of desired.entries()) compare(item, live[at], `${path}[${at}]`, name, found);
    return;
  }
  const byKey = new Map(live.filter(isRecord).map((item) => [identityOf(item, keys), item]));
  for (const item of desired.filter(isRecord)) {
    const identity = identityOf(item, keys);
    compare(item, byKey.get(identity), `${path}[${identity}]`, '', found);
  }
}

function keysOf(name: string, items: Json[]): readonly string[] | undefined {
  const keys = name === 'ports' ? portKeys(items) : listKeys[name];
  if (keys === undefined || !items.every((item) => isRecord(item) && item[keys[0] ?? ''] !== undefined))
    return undefined;
  return keys;
}

/** Container ports, Service ports, and the rest (NetworkPolicy: an atomic list). */
function portKeys(items: Json[]): readonly string[] | undefined {
  const [first] = items;
  if (!isRecord(first)) return undefined;
  if ('containerPort' in first) return ['containerPort', 'protocol'];
  return 'targetPort' in first || 'name' in first ? ['port', 'protocol'] : undefined;
}

function identityOf(item: Record<string, Json>, keys: readonly string[]): string {
  return keys.map((key) => item[key] ?? (key === 'protocol' ? 'TCP' : '')).join('/');
}

function sameScalar(desired: Json, live: Json, name: string): boolean {
  if (desired === live) return true;
  const isQuantity = name.endsWith('.*') || quantityParents.has(name);
  if (!isQuantity) return false;
  const [a, b] = [quantity(desired), quantity(live)];
  return a !== undefined && a === b;
}

const suffixes: Record<string, number> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** A Kubernetes quantity as a number; undefined if it is none. */
function quantity(value: Json): number | undefined {
  const match = /^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)$/.exec(String(value));
  const factor = suffixes[match?.[2] ?? '-'];
  return match === null || factor === undefined ? undefined : Number(match[1]) * factor;
}

function isRecord(value: Json): value is Record<string, Json> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

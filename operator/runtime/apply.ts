/**
 * Keeps a set of objects as a controller wants them: server-side apply with one field manager, owned by one object, pruned by
 * inventory. What already is as it should be is not written; what somebody else changed is put back.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Client } from './client.js';
import { type Difference, differences } from './drift.js';
import { isInvalid } from './errors.js';
import { type Log, silentLog } from './log.js';
import type { Metrics } from './metrics.js';
import {
  builtin,
  type KubeObject,
  type ObjectRef,
  ownerReference,
  type ResourceType,
  refKey,
  refOf,
  resourceTypeOf,
} from './object.js';

/** Label: which inventory an object belongs to. */
export const inventoryLabel = 'posthorn.dev/inventory';
/** Annotation: digest of what was applied. */
export const hashAnnotation = 'posthorn.dev/applied-hash';

/** Kinds that hold what cannot be made again; pruned only if `allowPrune` names them. */
const protectedKinds = new Set([
  'Secret',
  'PersistentVolumeClaim',
  'PersistentVolume',
  'Namespace',
  'CustomResourceDefinition',
]);

/** Where the live state is read: from the API, or from caches that see everything with the inventory label. */
export interface LiveObjects {
  /** Objects of that inventory. */
  list(type: ResourceType, namespace: string | undefined, inventory: string): Promise<KubeObject[]>;
  /** Any object by that name, with or without the label. */
  find(type: ResourceType, ref: ObjectRef): Promise<KubeObject | undefined>;
}

export interface ApplySetOptions {
  client: Client;
  fieldManager: string;
  /** Becomes the controller of every object in its namespace; without it they have no owner. */
  owner?: KubeObject | undefined;
  /** Name of the set, a label value: unique in the namespace, or in the cluster if it holds cluster-scoped objects. */
  inventory: string;
  /** Applied in this order. Objects without a namespace get the owner's. */
  desired: readonly KubeObject[];
  /** The types in which objects of the inventory that are no longer desired are looked for: every type it ever had. */
  pruneTypes: readonly ResourceType[];
  /** Types besides Kubernetes' own among the desired objects. */
  types?: readonly ResourceType[] | undefined;
  live: LiveObjects;
  /** Objects that must outlive the owner. */
  ownerless?: ((object: KubeObject) => boolean) | undefined;
  /** Protected kinds that may be pruned after all. */
  allowPrune?: readonly string[] | undefined;
  /** Whether an object that exists but is not of this inventory may be taken over; default never. */
  adopt?: ((live: KubeObject) => boolean) | undefined;
  log?: Log | undefined;
  metrics?: Metrics | undefined;
  signal?: AbortSignal | undefined;
}

export interface ApplySetResult {
  /** `Kind namespace/name` of what was written, in order; likewise below. */
  applied: string[];
  unchanged: string[];
  pruned: string[];
  /** No longer desired, but of a protected kind, and so left alone. */
  retained: string[];
  /** One per object that failed; with any of them, nothing was pruned. */
  errors: Error[];
}

interface Item {
  type: ResourceType;
  object: KubeObject;
  hash: string;
}

/** How the server rewrote what we applied (per uid): such differences are no drift. */
type Rewritten = Map<string, { hash: string; differences: Difference[] }>;

const rewrittenBy = new WeakMap<Client, Rewritten>();

/** Makes the live objects be as desired. Does not reject for a single object's failure: look at `errors`. */
export async function applySet(options: ApplySetOptions): Promise<ApplySetResult> {
  const result: ApplySetResult = { applied: [], unchanged: [], pruned: [], retained: [], errors: [] };
  const items = options.desired.map((object) => prepare(options, object));
  const inventory = await readInventory(options, items);
  for (const item of items) {
    try {
      await applyItem(options, item, inventory, result);
    } catch (error) {
      result.errors.push(error instanceof Error ? error : new Error(String(error)));
    }
  }
  if (result.errors.length === 0) await prune(options, items, inventory, result);
  return result;
}

/** Reads live objects from the API: one list per type. */
export function liveFromApi(client: Client): LiveObjects {
  return {
    list: async (type, namespace, inventory) =>
      (await client.list(type, { namespace, labelSelector: `${inventoryLabel}=${inventory}` })).items,
    find: (type, ref) => client.find(type, ref),
  };
}

/** What will be sent: with namespace, owner, label and digest; Secrets' `stringData` as `data`. */
function prepare({ owner, inventory, ownerless, types }: ApplySetOptions, desired: KubeObject): Item {
  const type = resourceTypeOf(desired, types);
  const object = withData(JSON.parse(JSON.stringify(desired)) as KubeObject);
  const { metadata } = object;
  if (type.namespaced) metadata.namespace ??= owner?.metadata.namespace;
  metadata.labels = { ...metadata.labels, [inventoryLabel]: inventory };
  const owned = owner !== undefined && ownerless?.(desired) !== true && metadata.namespace === owner.metadata.namespace;
  if (owned) metadata.ownerReferences = [ownerReference(owner)];
  const hash = createHash('sha256').update(canonical(object)).digest('base64url').slice(0, 22);
  metadata.annotations = { ...metadata.annotations, [hashAnnotation]: hash };
  return { type, object, hash };
}

function withData(
  object: KubeObject & { data?: Record<string, string>; stringData?: Record<string, string> },
): KubeObject {
  const { stringData, ...rest } = object;
  if (object.kind !== 'Secret' || stringData === undefined) return object;
  const encoded = Object.entries(stringData).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  return { ...rest, data: { ...object.data, ...Object.fromEntries(encoded) } } as KubeObject;
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([name, of]) => `${JSON.stringify(name)}:${canonical(of)}`).join(',')}}`;
}

interface Found {
  type: ResourceType;
  object: KubeObject;
}

/** All objects of the inventory, by type and key. */
async function readInventory(
  { live, inventory, owner, pruneTypes }: ApplySetOptions,
  items: Item[],
): Promise<Map<string, Found>> {
  const types = new Map(
    [...pruneTypes, ...items.map(({ type }) => type)].map((type) => [`${type.group}/${type.plural}`, type]),
  );
  const lists = await Promise.all(
    [...types.values()].map(async (type) => {
      const namespace = type.namespaced ? owner?.metadata.namespace : undefined;
      return (await live.list(type, namespace, inventory)).map((object) => ({ type, object }));
    }),
  );
  return new Map(lists.flat().map((found) => [idOf(found.type, refOf(found.object)), found]));
}

function idOf(type: ResourceType, ref: ObjectRef): string {
  return `${type.kind} ${refKey(type.namespaced ? ref : { name: ref.name })}`;
}

async function applyItem(
  options: ApplySetOptions,
  item: Item,
  inventory: Map<string, Found>,
  result: ApplySetResult,
): Promise<void> {
  const { client, metrics, log = silentLog, live } = options;
  const { type, object, hash } = item;
  const id = idOf(type, refOf(object));
  const known = inventory.get(id)?.object;
  const changes = known === undefined ? undefined : changesOf(client, item, known);
  if (changes?.length === 0) return void result.unchanged.push(id);
  if (known === undefined) refuseForeign(options, id, await live.find(type, refOf(object)));
  const written = await writeItem(options, item, known);
  rewritten(client).set(written.metadata.uid ?? id, { hash, differences: differences(object, written) });
  metrics?.write('apply', type.kind);
  log.info(
    { object: id, changes: changes?.slice(0, 5).map(({ path }) => path) },
    known === undefined ? 'created' : 'applied',
  );
  result.applied.push(id);
}

/**
 * Applies; where somebody's additions to a list make the merged object invalid, the lists are replaced as a whole
 * (JSON merge patch), and then applied, so that the fields are ours again.
 */
async function writeItem(
  { client, fieldManager, signal }: ApplySetOptions,
  { type, object }: Item,
  known: KubeObject | undefined,
): Promise<KubeObject> {
  try {
    return await client.applyServerSide(type, object, { fieldManager, signal });
  } catch (error) {
    if (known === undefined || !isInvalid(error)) throw error;
    await client.patchMerge(type, refOf(object), object, { fieldManager, signal });
    return client.applyServerSide(type, object, { fieldManager, signal });
  }
}

/** What has to be written: differences other than those that the server made when we last applied exactly this. */
function changesOf(client: Client, { object, hash }: Item, live: KubeObject): Difference[] {
  const now = differences(object, live);
  const then = rewritten(client).get(live.metadata.uid ?? '');
  if (live.metadata.annotations?.[hashAnnotation] !== hash || then?.hash !== hash) return now;
  return isDeepStrictEqual(now, then.differences) ? [] : now;
}

function rewritten(client: Client): Rewritten {
  const known = rewrittenBy.get(client) ?? new Map();
  rewrittenBy.set(client, known);
  return known;
}

/** An object that somebody else made by this name is not overwritten. */
function refuseForeign({ adopt, owner, inventory }: ApplySetOptions, id: string, live: KubeObject | undefined): void {
  if (live === undefined || live.metadata.labels?.[inventoryLabel] === inventory || adopt?.(live) === true) return;
  const controller = live.metadata.ownerReferences?.find((reference) => reference.controller === true);
  if (owner !== undefined && controller?.uid === owner.metadata.uid) return;
  const whose = controller === undefined ? '' : ` (it belongs to ${controller.kind} ${controller.name})`;
  throw new Error(`${id} exists and was not made for "${inventory}"${whose}: rename or delete it`);
}

async function prune(
  options: ApplySetOptions,
  items: Item[],
  inventory: Map<string, Found>,
  result: ApplySetResult,
): Promise<void> {
  const wanted = new Set(items.map(({ type, object }) => idOf(type, refOf(object))));
  const pruneKinds = new Set(options.pruneTypes.map(({ group, kind }) => `${group}/${kind}`));
  for (const [id, { type, object }] of inventory) {
    const candidate =
      !wanted.has(id) &&
      pruneKinds.has(`${type.group}/${type.kind}`) &&
      object.metadata.deletionTimestamp === undefined;
    if (!candidate || belongsToAnother(options, object)) continue;
    if (protectedKinds.has(type.kind) && options.allowPrune?.includes(type.kind) !== true) result.retained.push(id);
    else await pruneOne(options, id, { type, object }, result);
  }
}

async function pruneOne(
  { client, metrics, log = silentLog, signal }: ApplySetOptions,
  id: string,
  { type, object }: Found,
  result: ApplySetResult,
): Promise<void> {
  try {
    await client.delete(type, refOf(object), { uid: object.metadata.uid, signal });
  } catch (error) {
    result.errors.push(error instanceof Error ? error : new Error(String(error)));
    return;
  }
  rewritten(client).delete(object.metadata.uid ?? id);
  metrics?.write('prune', type.kind);
  log.info({ object: id }, 'pruned: it is no longer wanted');
  result.pruned.push(id);
}

function belongsToAnother({ owner }: ApplySetOptions, object: KubeObject): boolean {
  const controller = object.metadata.ownerReferences?.find((reference) => reference.controller === true);
  return controller !== undefined && controller.uid !== owner?.metadata.uid;
}

/** Every type that Kubernetes has built in and that a set of workloads commonly contains: a sound default for `pruneTypes`. */
export const workloadTypes: readonly ResourceType[] = [
  builtin.configMap,
  builtin.secret,
  builtin.service,
  builtin.serviceAccount,
  builtin.persistentVolumeClaim,
  builtin.deployment,
  builtin.statefulSet,
  builtin.job,
  builtin.cronJob,
  builtin.podDisruptionBudget,
  builtin.networkPolicy,
  builtin.role,
  builtin.roleBinding,
];

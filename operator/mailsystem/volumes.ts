import type { KubernetesObject } from '../../cdk8s/context.js';
import { formatQuantity, parseQuantity } from '../../crds/quantity.js';
import type { Client } from '../runtime/client.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { ApiError } from '../runtime/errors.js';
import { builtin, type KubeObject, refOf } from '../runtime/object.js';

interface Sized {
  resources?: { requests?: { storage?: string } };
}

/** A StatefulSet, as far as its volumes go. */
export interface StatefulSetObject extends KubeObject {
  spec?: { volumeClaimTemplates?: { metadata?: { name?: string }; spec?: Sized }[] };
}

/** A PersistentVolumeClaim, as far as its size goes. */
export interface ClaimObject extends KubeObject {
  spec?: Sized;
  status?: { capacity?: { storage?: string } };
}

/** What has to happen before a StatefulSet can be applied as it is declared. */
export interface Growth {
  /** Claims to enlarge: name and new request. */
  claims: { name: string; size: string }[];
  /** The StatefulSet must be made anew, because claim templates can't be changed. Its pods and volumes stay. */
  replace: boolean;
}

/**
 * Compares declared sizes of volumes with those that are there. Claims are found by name, as the StatefulSet controller finds
 * them: those that a deleted system left behind count too. Nothing ever shrinks. Pure.
 */
export function planGrowth(
  desired: StatefulSetObject,
  live: StatefulSetObject | undefined,
  claims: readonly ClaimObject[],
): Growth {
  const present = live === undefined ? new Map<string, number>() : sizesOf(live);
  const sizes = [...sizesOf(desired)];
  return {
    claims: sizes.flatMap(([template, bytes]) =>
      claims
        .filter((claim) => isClaimOf(claim, template, desired) && isSmaller(claim, bytes))
        .map((claim) => ({ name: claim.metadata.name, size: formatQuantity(bytes) })),
    ),
    replace: sizes.some(([template, bytes]) => (present.get(template) ?? bytes) !== bytes),
  };
}

/** The declared StatefulSet with the sizes of the live one: everything else of it can be applied meanwhile. Pure. */
export function withLiveSizes<T extends StatefulSetObject>(desired: T, live: StatefulSetObject): T {
  const sizes = new Map(
    (live.spec?.volumeClaimTemplates ?? []).map((t) => [t.metadata?.name, t.spec?.resources?.requests?.storage]),
  );
  const templates = (desired.spec?.volumeClaimTemplates ?? []).map((template) => {
    const storage = sizes.get(template.metadata?.name);
    if (storage === undefined) return template;
    const { resources } = template.spec ?? {};
    return {
      ...template,
      spec: { ...template.spec, resources: { ...resources, requests: { ...resources?.requests, storage } } },
    };
  });
  return { ...desired, spec: { ...desired.spec, volumeClaimTemplates: templates } };
}

export interface GrowthResult {
  /** The objects to apply now. */
  desired: readonly KubernetesObject[];
  verdict: ConditionUpdate;
  /** A StatefulSet is on its way out and has to be made anew as soon as it is gone. */
  replacing: boolean;
}

/**
 * Enlarges volumes whose declared size has grown, and takes away, without their pods, the StatefulSets whose claim templates
 * have to change. What the API refuses (StorageClasses may forbid it) becomes the verdict; all else goes on being applied.
 *
 * @throws ApiError for anything but such a refusal
 */
export async function growVolumes(
  client: Client,
  owner: KubeObject,
  desired: readonly KubernetesObject[],
): Promise<GrowthResult> {
  const { namespace, name } = owner.metadata;
  const select = { namespace, labelSelector: `app.kubernetes.io/name=posthorn,app.kubernetes.io/instance=${name}` };
  const [sets, claims] = await Promise.all([
    client.list<StatefulSetObject>(builtin.statefulSet, select),
    client.list<ClaimObject>(builtin.persistentVolumeClaim, select),
  ]);
  const live = new Map(sets.items.filter((set) => isOwn(set, owner)).map((set) => [set.metadata.name, set]));
  const steps: Step[] = [];
  for (const object of desired) {
    steps.push(
      object.kind === 'StatefulSet'
        ? await growOne(client, object as StatefulSetObject, live.get(object.metadata.name), claims.items)
        : { object, replacing: false, refusals: [] },
    );
  }
  const refusals = steps.flatMap((step) => step.refusals);
  const replacing = steps.some((step) => step.replacing);
  const resizing = claims.items.filter(isResizing).map((claim) => claim.metadata.name);
  return {
    desired: steps.map(({ object }) => object as KubernetesObject),
    verdict: verdictOf(refusals, replacing, resizing),
    replacing,
  };
}

interface Step {
  object: KubeObject | KubernetesObject;
  replacing: boolean;
  refusals: string[];
}

async function growOne(
  client: Client,
  desired: StatefulSetObject,
  live: StatefulSetObject | undefined,
  all: readonly ClaimObject[],
): Promise<Step> {
  const plan = planGrowth(desired, live, all);
  const refusals = await enlarge(client, desired.metadata.namespace, plan.claims);
  if (live === undefined || !plan.replace) return { object: desired, replacing: false, refusals };
  const kept = withLiveSizes(desired, live);
  if (refusals.length > 0) return { object: kept, replacing: false, refusals };
  if (live.metadata.deletionTimestamp === undefined) {
    const options = { uid: live.metadata.uid, propagation: 'Orphan' } as const;
    await client.delete(builtin.statefulSet, refOf(live), options);
  }
  return { object: kept, replacing: true, refusals };
}

async function enlarge(
  client: Client,
  namespace: string | undefined,
  claims: readonly { name: string; size: string }[],
): Promise<string[]> {
  const refusals: string[] = [];
  for (const { name, size } of claims) {
    const patch = { spec: { resources: { requests: { storage: size } } } };
    try {
      await client.patchMerge(builtin.persistentVolumeClaim, { namespace, name }, patch, {
        fieldManager: 'posthorn-mailsystem',
      });
    } catch (error) {
      if (!(error instanceof ApiError) || ![403, 422].includes(error.status)) throw error;
      refusals.push(error.message);
    }
  }
  return refusals;
}

function verdictOf(refusals: readonly string[], replacing: boolean, resizing: readonly string[]): ConditionUpdate {
  const type = 'VolumesReady';
  if (refusals.length > 0) {
    const message = `Volumes can't be enlarged, and stay as they are: ${refusals.join(' ')} Let their StorageClass allow it (allowVolumeExpansion), or replace the volumes by hand; it is tried again by itself.`;
    return { type, status: 'False', reason: 'ResizeRefused', message };
  }
  if (replacing || resizing.length > 0) {
    const what = resizing.length > 0 ? resizing.join(', ') : 'Volumes';
    return { type, status: 'True', reason: 'Resizing', message: `${what}: being enlarged.` };
  }
  return { type, status: 'True', reason: 'AsDeclared', message: 'Every volume has at least the declared size.' };
}

function sizesOf(set: StatefulSetObject): Map<string, number> {
  return new Map(
    (set.spec?.volumeClaimTemplates ?? []).flatMap(({ metadata, spec }) => {
      const bytes = bytesOf(spec?.resources?.requests?.storage);
      return metadata?.name === undefined || bytes === undefined ? [] : [[metadata.name, bytes] as const];
    }),
  );
}

/** Undefined for what others have written in a way that we don't: such a claim is left alone. */
function bytesOf(quantity: string | undefined): number | undefined {
  try {
    return quantity === undefined ? undefined : parseQuantity(quantity);
  } catch {
    return undefined;
  }
}

function isClaimOf({ metadata }: ClaimObject, template: string, set: StatefulSetObject): boolean {
  const prefix = `${template}-${set.metadata.name}-`;
  return (
    metadata.deletionTimestamp === undefined &&
    metadata.name.startsWith(prefix) &&
    /^\d+$/.test(metadata.name.slice(prefix.length))
  );
}

function isSmaller({ spec }: ClaimObject, bytes: number): boolean {
  const request = bytesOf(spec?.resources?.requests?.storage);
  return request !== undefined && request < bytes;
}

function isResizing({ spec, status }: ClaimObject): boolean {
  const [request, capacity] = [bytesOf(spec?.resources?.requests?.storage), bytesOf(status?.capacity?.storage)];
  return request !== undefined && capacity !== undefined && capacity < request;
}

function isOwn(object: KubeObject, owner: KubeObject): boolean {
  return object.metadata.ownerReferences?.some(({ uid }) => uid === owner.metadata.uid) === true;
}

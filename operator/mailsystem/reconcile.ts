import type { KubernetesObject } from '../../cdk8s/context.js';
import { mailSystemObjects } from '../../cdk8s/mailsystem.js';
import { names } from '../../cdk8s/names.js';
import { type MailSystem, type MailSystemResolved, resolveMailSystem } from '../../crds/mailsystem.js';
import { type ApplySetResult, applySet, liveFromApi } from '../runtime/apply.js';
import { setConditions, writeStatus } from '../runtime/conditions.js';
import { isPaused, type Result } from '../runtime/controller.js';
import { builtin, type KubeObject, refOf } from '../runtime/object.js';
import { mailSystemType } from '../types.js';
import { attachDirectory } from './attach.js';
import { type Certificates, ensureCertificates } from './certificates.js';
import type { MailSystemDependencies } from './dependencies.js';
import { componentLabel, observeEndpoints, observePod, observeWorkload, type ServiceObject } from './observe.js';
import { podToReplace } from './rollout.js';
import { systemStatus, type Verdict } from './status.js';

/** Keeps a MailSystem until nothing lives in it. */
export const dataFinalizer = 'posthorn.dev/data';

const FIELD_MANAGER = 'posthorn-mailsystem';
/** Every kind that a child ever had, and that the operator may list: what is no longer desired is pruned. */
const CHILD_TYPES = [
  builtin.configMap,
  builtin.service,
  builtin.serviceAccount,
  builtin.statefulSet,
  builtin.deployment,
  builtin.podDisruptionBudget,
  builtin.networkPolicy,
  builtin.role,
  builtin.roleBinding,
];
const LOOK_AGAIN_MS = 30_000;
const STARTING_MS = 3_000;

/** Objects of one MailSystem's children, by `namespace/system`. */
export const bySystem = 'system';

/** Brings one MailSystem about: certificates, workloads, directory, rollout, status. Each step goes as far as it can. */
export async function reconcileMailSystem(
  deps: MailSystemDependencies,
  key: string,
  signal: AbortSignal,
): Promise<Result> {
  const object = deps.mailSystems.cache.get(key);
  if (object === undefined) return detach(deps, key);
  if (isPaused(object)) return {};
  const spec = resolved(object);
  if ('problem' in spec) {
    await writeSystemStatus(deps, object, undefined, [spec.problem]);
    return {};
  }
  if (object.metadata.deletionTimestamp !== undefined && (await released(deps, key, object, spec.value))) return {};
  if (object.metadata.deletionTimestamp === undefined) await ensureFinalizer(deps, object);

  const certificates = await ensureCertificates(deps.client, {
    object,
    spec: spec.value,
    clusterDomain: deps.config.clusterDomain,
    now: deps.now(),
  });
  const applied = await applyChildren(deps, object, spec.value, certificates, signal);
  await rollOne(deps, key);
  const verdicts = [
    certificates.verdict,
    ...(await attachDirectory(deps, { key, object, spec: spec.value, certificates })),
    childrenVerdict(applied),
  ];
  await writeSystemStatus(deps, object, spec.value, verdicts);
  const starting = verdicts.some((verdict) => verdict.status !== 'True');
  return { requeueAfterMs: starting ? STARTING_MS : LOOK_AGAIN_MS, error: applied.errors[0] };
}

type Resolution = { value: MailSystemResolved } | { problem: Verdict };

function resolved(object: MailSystem): Resolution {
  try {
    return { value: resolveMailSystem(object.spec) };
  } catch (error) {
    return {
      problem: { type: 'SpecValid', status: 'False', reason: 'InvalidSpec', message: (error as Error).message },
    };
  }
}

async function applyChildren(
  deps: MailSystemDependencies,
  object: MailSystem,
  spec: MailSystemResolved,
  certificates: Certificates,
  signal: AbortSignal,
): Promise<ApplySetResult> {
  const { config, client, log } = deps;
  const desired = mailSystemObjects({
    name: object.metadata.name,
    namespace: object.metadata.namespace ?? '',
    spec,
    clusterDomain: config.clusterDomain,
    clusterDns: config.clusterDns,
    images: config.images,
    peers: certificates.peers,
  });
  const result = await applySet({
    client,
    fieldManager: FIELD_MANAGER,
    owner: object,
    inventory: object.metadata.name,
    desired: desired as (KubernetesObject & KubeObject)[],
    pruneTypes: CHILD_TYPES,
    live: liveFromApi(client),
    log,
    signal,
  });
  if (result.applied.length > 0 || result.pruned.length > 0)
    log.info({ system: object.metadata.name, applied: result.applied, pruned: result.pruned }, 'applied children');
  return result;
}

function childrenVerdict({ errors }: ApplySetResult): Verdict {
  if (errors.length === 0)
    return {
      type: 'Applied',
      status: 'True',
      reason: 'Applied',
      message: 'All objects of the system are as declared.',
    };
  return {
    type: 'Applied',
    status: 'False',
    reason: 'ApplyFailed',
    message: errors.map((error) => error.message).join(' '),
  };
}

/** Deletes at most one outdated pod of each StatefulSet (their updateStrategy is OnDelete). */
async function rollOne(deps: MailSystemDependencies, key: string): Promise<void> {
  for (const set of deps.statefulSets.byIndex(bySystem, key)) {
    const { updateRevision, observedGeneration } = set.status ?? {};
    if (updateRevision === undefined || observedGeneration !== set.metadata.generation) continue;
    const mine = deps.pods
      .byIndex(bySystem, key)
      .filter((pod) => pod.metadata.ownerReferences?.some((owner) => owner.uid === set.metadata.uid));
    const name = podToReplace({ pods: mine.map(observePod), updateRevision, replicas: set.spec?.replicas ?? 1 });
    const pod = mine.find((candidate) => candidate.metadata.name === name);
    if (pod === undefined) continue;
    deps.log.info({ pod: name, statefulSet: set.metadata.name }, 'replacing a pod that runs an older specification');
    await deps.client.delete(builtin.pod, refOf(pod), { uid: pod.metadata.uid });
  }
}

async function ensureFinalizer(deps: MailSystemDependencies, object: MailSystem): Promise<void> {
  const present = object.metadata.finalizers ?? [];
  if (present.includes(dataFinalizer)) return;
  await patchFinalizers(deps, object, [...present, dataFinalizer]);
}

async function patchFinalizers(deps: MailSystemDependencies, object: MailSystem, finalizers: string[]): Promise<void> {
  const patch = { metadata: { finalizers, resourceVersion: object.metadata.resourceVersion } };
  deps.mailSystems.observe(
    await deps.client.patchMerge(mailSystemType, refOf(object), patch, { fieldManager: FIELD_MANAGER }),
  );
}

/** Whether a MailSystem that is being deleted may go: not while MailDomains or Mailboxes live in it. */
async function released(
  deps: MailSystemDependencies,
  key: string,
  object: MailSystem,
  spec: MailSystemResolved,
): Promise<boolean> {
  const { domains, mailboxes } = deps.usedBy(key);
  if (domains + mailboxes > 0) return false;
  detach(deps, key);
  if (spec.deletionPolicy === 'Delete') await deleteVolumes(deps, object);
  const present = object.metadata.finalizers ?? [];
  if (present.includes(dataFinalizer)) {
    const patch = {
      metadata: {
        finalizers: present.filter((name) => name !== dataFinalizer),
        resourceVersion: object.metadata.resourceVersion,
      },
    };
    await deps.client.patchMerge(mailSystemType, refOf(object), patch, { fieldManager: FIELD_MANAGER });
  }
  return true;
}

/** Marks the volumes for removal; Kubernetes removes them when the pods that use them are gone. */
async function deleteVolumes({ client }: MailSystemDependencies, object: MailSystem): Promise<void> {
  const namespace = object.metadata.namespace;
  const labelSelector = `app.kubernetes.io/name=posthorn,app.kubernetes.io/instance=${object.metadata.name}`;
  const { items } = await client.list(builtin.persistentVolumeClaim, { namespace, labelSelector, metadataOnly: true });
  await Promise.all(items.map((claim) => client.delete(builtin.persistentVolumeClaim, refOf(claim))));
}

function detach(deps: MailSystemDependencies, key: string): Result {
  const system = deps.systems.detach(key);
  system?.signing.close();
  void system?.directory
    .close()
    .catch((err: unknown) => deps.log.warn({ system: key, err }, 'closing the directory failed'));
  return {};
}

async function writeSystemStatus(
  deps: MailSystemDependencies,
  stale: MailSystem,
  spec: MailSystemResolved | undefined,
  verdicts: readonly Verdict[],
): Promise<void> {
  const key = `${stale.metadata.namespace}/${stale.metadata.name}`;
  const object = deps.mailSystems.cache.get(key) ?? stale;
  const workloads = [...deps.statefulSets.byIndex(bySystem, key), ...deps.deployments.byIndex(bySystem, key)].flatMap(
    (w) => observeWorkload(w) ?? [],
  );
  const endpoints = spec === undefined ? [] : observeEndpoints(publicServices(deps, key, object.metadata.name), spec);
  const { conditions, detail } = systemStatus({
    workloads,
    verdicts: [...verdicts, ...deletion(deps, key, object)],
    endpoints,
  });
  const generation = object.metadata.generation ?? 0;
  const status = {
    ...object.status,
    observedGeneration: generation,
    conditions: setConditions(object.status?.conditions, conditions, { generation, now: deps.now().toISOString() }),
    endpoints,
    detail,
  };
  const written = await writeStatus({
    client: deps.client,
    type: mailSystemType,
    object,
    status,
    fieldManager: FIELD_MANAGER,
  });
  if (written) deps.mailSystems.observe(written as MailSystem);
}

function publicServices(deps: MailSystemDependencies, key: string, system: string): ServiceObject[] {
  const n = names(system);
  const order = [n.mx, n.submission, n.imap];
  return deps.services
    .byIndex(bySystem, key)
    .filter((service) => order.includes(service.metadata.name))
    .sort((a, b) => order.indexOf(a.metadata.name) - order.indexOf(b.metadata.name));
}

function deletion(deps: MailSystemDependencies, key: string, object: MailSystem): Verdict[] {
  if (object.metadata.deletionTimestamp === undefined) return [];
  const { domains, mailboxes } = deps.usedBy(key);
  const message = `The MailSystem is to be deleted, but ${domains} MailDomains and ${mailboxes} Mailboxes live in it and go on working: delete them first.`;
  return [{ type: 'Deleting', status: 'False', reason: 'InUse', message }];
}

/** Index function for children: `namespace/instance` of those that carry our labels. */
export function systemOfChild(object: KubeObject): string[] {
  const labels = object.metadata.labels ?? {};
  const instance = labels['app.kubernetes.io/instance'];
  return instance !== undefined && labels[componentLabel] !== undefined
    ? [`${object.metadata.namespace}/${instance}`]
    : [];
}

import { names } from '../../cdk8s/names.js';
import type { MailSystem, MailSystemResolved } from '../../crds/mailsystem.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { builtin, refOf } from '../runtime/object.js';
import { mailSystemType } from '../types.js';
import type { MailSystemDependencies } from './dependencies.js';

/** Keeps a MailSystem until nothing lives in it. */
export const dataFinalizer = 'posthorn.dev/data';

const FIELD_MANAGER = 'posthorn-mailsystem';
const COMPONENT_SELECTOR = (system: string) =>
  `app.kubernetes.io/name=posthorn,app.kubernetes.io/instance=${system},app.kubernetes.io/component=postgres`;

/** Where Patroni's members keep what they agree on; `config` identifies the database. */
const PATRONI_SUFFIXES = ['config', 'leader', 'failover', 'sync', 'failsafe'];

/** ConfigMaps that Patroni makes for a MailSystem's database: nobody owns them. */
export function patroniConfigMaps(system: string): string[] {
  return PATRONI_SUFFIXES.map((suffix) => `${names(system).postgres}-${suffix}`);
}

/** How far the deletion of a MailSystem has come. */
export type Departure =
  /** MailDomains or Mailboxes live in it: it goes on working. */
  | 'in use'
  /** Its database is being stopped, so that nothing writes any more what is to be removed. */
  | 'stopping'
  | 'released';

/** Lets a MailSystem that is being deleted go, when nothing lives in it; with deletionPolicy Delete, with its data. */
export async function depart(
  deps: MailSystemDependencies,
  key: string,
  object: MailSystem,
  spec: MailSystemResolved,
): Promise<Departure> {
  const { domains, mailboxes } = deps.usedBy(key);
  if (domains + mailboxes > 0) return 'in use';
  detach(deps, key);
  if (spec.deletionPolicy === 'Delete' && !(await removeData(deps, object))) return 'stopping';
  await patchFinalizers(deps, object, (present) => present.filter((name) => name !== dataFinalizer));
  return 'released';
}

export async function ensureFinalizer(deps: MailSystemDependencies, object: MailSystem): Promise<void> {
  const patched = await patchFinalizers(deps, object, (present) =>
    present.includes(dataFinalizer) ? present : [...present, dataFinalizer],
  );
  if (patched !== undefined) deps.mailSystems.observe(patched);
}

/** Closes the connections to a MailSystem that is gone. */
export function detach(deps: MailSystemDependencies, key: string): void {
  deps.looks.forget(key);
  const system = deps.systems.detach(key);
  system?.signing.close();
  void system?.directory
    .close()
    .catch((err: unknown) => deps.log.warn({ system: key, err }, 'closing the directory failed'));
}

/** What keeps a MailSystem that is to be deleted. */
export function deletionVerdicts(deps: MailSystemDependencies, key: string, object: MailSystem): ConditionUpdate[] {
  if (object.metadata.deletionTimestamp === undefined) return [];
  const { domains, mailboxes } = deps.usedBy(key);
  const message = `The MailSystem is to be deleted, but ${domains} MailDomains and ${mailboxes} Mailboxes live in it and go on working: delete them first.`;
  return [{ type: 'Deleting', status: 'False', reason: 'InUse', message }];
}

/** Said while the database of a MailSystem that takes its data along is being stopped. */
export const stoppingVerdict: ConditionUpdate = {
  type: 'Deleting',
  status: 'False',
  reason: 'Stopping',
  message: "The database is being stopped; then the system's volumes are removed, and the MailSystem with them.",
};

/**
 * Marks the volumes for removal (Kubernetes removes them when the pods that use them are gone) and removes Patroni's
 * ConfigMaps. A running leader would write those again: so the database is stopped first.
 *
 * @returns whether it is done; if not, look again in a while
 */
async function removeData({ client }: MailSystemDependencies, object: MailSystem): Promise<boolean> {
  const { namespace, name, uid } = object.metadata;
  const database = await client.find(builtin.statefulSet, { namespace, name: names(name).postgres });
  if (database?.metadata.ownerReferences?.some((owner) => owner.uid === uid)) {
    await client.delete(builtin.statefulSet, refOf(database), {
      uid: database.metadata.uid,
      propagation: 'Background',
    });
  }
  const labelSelector = `app.kubernetes.io/name=posthorn,app.kubernetes.io/instance=${name}`;
  const claims = await client.list(builtin.persistentVolumeClaim, { namespace, labelSelector, metadataOnly: true });
  const present = claims.items.filter((claim) => claim.metadata.deletionTimestamp === undefined);
  await Promise.all(present.map((claim) => client.delete(builtin.persistentVolumeClaim, refOf(claim))));

  const members = { namespace, labelSelector: COMPONENT_SELECTOR(name), metadataOnly: true };
  if ((await client.list(builtin.pod, members)).items.length > 0) return false;
  const maps = patroniConfigMaps(name);
  await Promise.all(maps.map((map) => client.delete(builtin.configMap, { namespace, name: map })));
  return true;
}

async function patchFinalizers(
  { client }: MailSystemDependencies,
  object: MailSystem,
  change: (present: readonly string[]) => readonly string[],
): Promise<MailSystem | undefined> {
  const present = object.metadata.finalizers ?? [];
  const finalizers = change(present);
  if (finalizers.length === present.length) return undefined;
  const patch = { metadata: { finalizers, resourceVersion: object.metadata.resourceVersion } };
  return client.patchMerge<MailSystem>(mailSystemType, refOf(object), patch, { fieldManager: FIELD_MANAGER });
}

import type { MailDomain } from '../../crds/maildomain.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import { isPaused, type Result } from '../runtime/controller.js';
import { refOf } from '../runtime/object.js';
import type { DkimKey } from '../signing/secret.js';
import type { AttachedSystem } from '../systems.js';
import { mailDomainType } from '../types.js';
import type { Hosted, MailDomainDependencies } from './dependencies.js';
import { domainOf, type NotHosted } from './hosting.js';
import { challengeRecord } from './ownership.js';
import { awaitProof, isTenant, verifyTenant } from './proof.js';
import { directoryState, signingState } from './provision.js';
import { expectedRecords } from './records.js';
import { writeDomainStatus } from './report.js';
import type { DomainObservation } from './status.js';

/** Keeps a MailDomain until no Mailbox has an address in it. */
export const inUseFinalizer = 'posthorn.dev/in-use';

const REPLAY_RETRY_MS = 1_000;
const IN_USE_RETRY_MS = 30_000;
const WAIT_FOR_SYSTEM_MS = 15_000;

/** Brings one MailDomain about: key, signing cache, directory, status. In that order: nothing is sent unsigned. */
export async function reconcileMailDomain(deps: MailDomainDependencies, key: string): Promise<Result> {
  const object = deps.domains.cache.get(key);
  if (object === undefined || isPaused(object)) return {};
  const hosting = deps.hosting(object);
  if ('system' in hosting) return reconcileHosted(deps, object, hosting);
  if (object.metadata.deletionTimestamp !== undefined) return release(deps, object);
  return hosting.pending === undefined ? refuse(deps, object, hosting) : awaitProof(deps, object, hosting);
}

async function refuse(deps: MailDomainDependencies, object: MailDomain, hosting: NotHosted): Promise<Result> {
  const had = hasSystem(object);
  await writeDomainStatus(deps, object, notHosted(hosting), domainOf(object), object.status?.ownership);
  if (had) deps.onHosted(object.metadata.namespace ?? '', domainOf(object) ?? '');
  return {};
}

async function reconcileHosted(deps: MailDomainDependencies, object: MailDomain, hosting: Hosted): Promise<Result> {
  const { domain } = hosting.spec;
  const addresses = deps.addressesIn(object.metadata.namespace ?? '', domain);
  const deleting = object.metadata.deletionTimestamp !== undefined;
  const system = deps.systems.get(hosting.system);
  if (deleting && addresses === 0) return remove(deps, object, domain, system);
  if (!deleting) await ensureFinalizer(deps, object);
  // After a restart: what was said holds until the system is there to say otherwise.
  const told = object.status?.observedGeneration === object.metadata.generation && hasSystem(object);
  if (system === undefined && told) return { requeueAfterMs: WAIT_FOR_SYSTEM_MS };
  return bringAbout(deps, object, hosting, { system, addresses, deleting });
}

interface Situation {
  system: AttachedSystem | undefined;
  /** How many objects have an address in the domain. */
  addresses: number;
  deleting: boolean;
}

async function bringAbout(
  deps: MailDomainDependencies,
  object: MailDomain,
  hosting: Hosted,
  { system, addresses, deleting }: Situation,
): Promise<Result> {
  const { domain } = hosting.spec;
  const proof = await verifyTenant(deps, object, hosting);
  const dkim = await signingState(deps, object, hosting.spec, system);
  const directory = await directoryState(deps, object, hosting.spec, dkim, system);
  const observation: DomainObservation = {
    system: { ok: true, name: systemName(hosting.system, object) },
    dkim: dkim.state,
    directory: directory.state,
    ...(proof === undefined ? {} : { ownership: proof.state }),
    records: recordsOf(object, hosting, system, dkim.key),
    mailboxes: addresses,
    deleting,
  };
  await writeDomainStatus(deps, object, observation, domain, proof?.ownership);
  const waits = [directory.retryMs, deleting ? IN_USE_RETRY_MS : undefined, proof?.nextMs];
  return { requeueAfterMs: soonest(waits), error: dkim.error ?? directory.error };
}

function systemName(system: string, object: MailDomain): string {
  return isTenant(object, system) ? system : system.slice(system.indexOf('/') + 1);
}

function soonest(waits: readonly (number | undefined)[]): number | undefined {
  const known = waits.filter((wait) => wait !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

function recordsOf(
  object: MailDomain,
  hosting: Hosted,
  system: AttachedSystem | undefined,
  dkim: DkimKey | undefined,
): DomainObservation['records'] {
  if (system === undefined) return [];
  const { domain } = hosting.spec;
  const { hostname, postmaster } = system.spec;
  const records = expectedRecords({ domain, hostname, dkim, postmaster });
  return isTenant(object, hosting.system) ? [...records, challengeRecord(object.metadata.uid ?? '', domain)] : records;
}

function hasSystem(object: MailDomain): boolean {
  return object.status?.conditions?.find((c) => c.type === 'SystemReady')?.status === 'True';
}

function notHosted(hosting: NotHosted): DomainObservation {
  const none = { ok: false as const, reason: hosting.reason, message: hosting.message };
  return { system: none, dkim: none, directory: none, records: [], mailboxes: 0, deleting: false };
}

async function ensureFinalizer(deps: MailDomainDependencies, object: MailDomain): Promise<void> {
  const present = object.metadata.finalizers ?? [];
  if (present.includes(inUseFinalizer)) return;
  const patch = {
    metadata: { finalizers: [...present, inUseFinalizer], resourceVersion: object.metadata.resourceVersion },
  };
  deps.domains.observe(
    await deps.keys.client.patchMerge(mailDomainType, refOf(object), patch, { fieldManager: 'posthorn-maildomain' }),
  );
}

async function remove(
  deps: MailDomainDependencies,
  object: MailDomain,
  domain: string,
  system: AttachedSystem | undefined,
): Promise<Result> {
  if (system !== undefined && !(await removedFromDirectory(deps, object, domain, system))) {
    return { requeueAfterMs: REPLAY_RETRY_MS };
  }
  const result = await release(deps, object);
  deps.onHosted(object.metadata.namespace ?? '', domain);
  return result;
}

/** Whether the directory has let the domain go; one that goes with its MailSystem is not waited for. */
async function removedFromDirectory(
  deps: MailDomainDependencies,
  object: MailDomain,
  domain: string,
  system: AttachedSystem,
): Promise<boolean> {
  try {
    const { value } = await system.directory.removeDomains([{ domain, objectUid: object.metadata.uid ?? '' }]);
    return !value.inUse.includes(domain);
  } catch (error) {
    if (error instanceof DirectoryUnavailable && deps.isLeaving(system.key)) return true;
    throw error;
  }
}

async function release(deps: MailDomainDependencies, object: MailDomain): Promise<Result> {
  deps.verifier.forget(object.metadata.uid ?? '');
  const present = object.metadata.finalizers ?? [];
  if (!present.includes(inUseFinalizer)) return {};
  const patch = {
    metadata: {
      finalizers: present.filter((name) => name !== inUseFinalizer),
      resourceVersion: object.metadata.resourceVersion,
    },
  };
  await deps.keys.client.patchMerge(mailDomainType, refOf(object), patch, { fieldManager: 'posthorn-maildomain' });
  return {};
}

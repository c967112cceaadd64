import type { MailDomain } from '../../crds/maildomain.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import type { CacheReader } from '../runtime/cache.js';
import { setConditions, writeStatus } from '../runtime/conditions.js';
import { isPaused, type Result } from '../runtime/controller.js';
import type { EventRecorder } from '../runtime/events.js';
import type { Informer } from '../runtime/informer.js';
import type { Log } from '../runtime/log.js';
import { refOf } from '../runtime/object.js';
import { ensureDkimKey, type KeyStore } from '../signing/ensure.js';
import type { DkimKey, Secret } from '../signing/secret.js';
import { DEFAULT_SELECTOR, syncSigning } from '../signing/sync.js';
import type { AttachedSystem, Systems } from '../systems.js';
import { mailDomainType } from '../types.js';
import type { Hosting } from './hosting.js';
import { expectedRecords } from './records.js';
import { type DomainObservation, domainStatus } from './status.js';

/** Keeps a MailDomain until no Mailbox has an address in it. */
export const inUseFinalizer = 'posthorn.dev/in-use';

export interface MailDomainDependencies {
  keys: KeyStore;
  domains: Informer<MailDomain>;
  dkimSecrets: CacheReader<Secret>;
  hosting: (object: MailDomain) => Hosting;
  /** MailDomains that a MailSystem hosts. */
  hosted: (systemKey: string) => readonly MailDomain[];
  /** Keys of the Mailboxes with an address in this domain of this namespace. */
  mailboxesIn: (namespace: string, domain: string) => ReadonlySet<string>;
  /** Called when the directory has just got the domain, or a MailDomain got or lost its system. */
  onHosted: (namespace: string, domain: string) => void;
  systems: Systems;
  /** Whether that MailSystem is being deleted or is gone. */
  isLeaving: (systemKey: string) => boolean;
  events: EventRecorder;
  log: Log;
  now: () => Date;
}

type Hosted = Extract<Hosting, { system: string }>;

const REPLAY_RETRY_MS = 1_000;
const IN_USE_RETRY_MS = 30_000;
const WAIT_FOR_SYSTEM_MS = 15_000;

/** Brings one MailDomain about: key, signing cache, directory, status. In that order: nothing is sent unsigned. */
export async function reconcileMailDomain(deps: MailDomainDependencies, key: string): Promise<Result> {
  const object = deps.domains.cache.get(key);
  if (object === undefined || isPaused(object)) return {};
  const hosting = deps.hosting(object);
  if ('reason' in hosting) {
    if (object.metadata.deletionTimestamp !== undefined) return release(deps, object);
    await writeDomainStatus(deps, object, notHosted(hosting), undefined);
    return {};
  }
  return reconcileHosted(deps, object, hosting);
}

async function reconcileHosted(deps: MailDomainDependencies, object: MailDomain, hosting: Hosted): Promise<Result> {
  const { domain } = hosting.spec;
  const mailboxes = deps.mailboxesIn(object.metadata.namespace ?? '', domain).size;
  const deleting = object.metadata.deletionTimestamp !== undefined;
  const system = deps.systems.get(hosting.system);
  if (deleting && mailboxes === 0) return remove(deps, object, domain, system);
  if (!deleting) await ensureFinalizer(deps, object);
  // After a restart: what was said holds until the system is there to say otherwise.
  const told = object.status?.observedGeneration === object.metadata.generation && hasSystem(object);
  if (system === undefined && told) return { requeueAfterMs: WAIT_FOR_SYSTEM_MS };

  const dkim = await signingState(deps, object, hosting.spec, system);
  const directory = await directoryState(deps, object, domain, dkim, system);
  const observation: DomainObservation = {
    system: { ok: true, name: hosting.system.slice(hosting.system.indexOf('/') + 1) },
    dkim: dkim.state,
    directory: directory.state,
    records: recordsOf(domain, system, dkim.key),
    mailboxes,
    deleting,
  };
  await writeDomainStatus(deps, object, observation, domain);
  const wait = deleting ? IN_USE_RETRY_MS : undefined;
  return { requeueAfterMs: directory.retryMs ?? wait, error: dkim.error ?? directory.error };
}

function recordsOf(
  domain: string,
  system: AttachedSystem | undefined,
  dkim: DkimKey | undefined,
): DomainObservation['records'] {
  if (system === undefined) return [];
  const { hostname, postmaster } = system.spec;
  return expectedRecords({ domain, hostname, dkim, postmaster });
}

interface Step {
  retryMs?: number;
  error?: unknown;
}

async function signingState(
  deps: MailDomainDependencies,
  object: MailDomain,
  spec: Hosted['spec'],
  system: AttachedSystem | undefined,
): Promise<Step & { key?: DkimKey; state: DomainObservation['dkim'] }> {
  const wanted = {
    domain: spec.domain,
    selector: spec.dkim.selector ?? DEFAULT_SELECTOR,
    algorithm: spec.dkim.algorithm,
  };
  let key: DkimKey;
  try {
    key = await ensureDkimKey(deps.keys, object.metadata.namespace ?? '', wanted);
  } catch (error) {
    return { state: { ok: false, reason: 'KeyUnusable', message: (error as Error).message }, error };
  }
  if (system === undefined) return { key, state: { ok: false, ...waiting } };
  try {
    const signed = await syncSigning({ secrets: deps.dkimSecrets, hosted: deps.hosted, log: deps.log }, system);
    if (signed.has(spec.domain)) return { key, state: { ok: true, selector: key.selector } };
    const message = 'The key is in its Secret but not loaded yet.';
    return { key, state: { ok: false, reason: 'KeyNotLoaded', message }, error: new Error(message) };
  } catch (error) {
    const message = `The signers' cache can't be filled (${(error as Error).message}): outgoing mail waits. It is tried again by itself.`;
    return { key, state: { ok: false, reason: 'SigningCacheUnavailable', message }, error };
  }
}

const waiting = {
  reason: 'SystemNotReady',
  message: 'The MailSystem is still starting; its conditions tell what it waits for.',
};

async function directoryState(
  deps: MailDomainDependencies,
  object: MailDomain,
  domain: string,
  dkim: { key?: DkimKey; state: DomainObservation['dkim'] },
  system: AttachedSystem | undefined,
): Promise<Step & { state: DomainObservation['directory'] }> {
  if (system === undefined) return { state: { ok: false, ...waiting }, retryMs: WAIT_FOR_SYSTEM_MS };
  if (!dkim.state.ok)
    return { state: { ok: false, reason: 'WaitingForKey', message: 'The domain is accepted once its key is loaded.' } };
  const { uid = '', namespace = '', name } = object.metadata;
  try {
    const row = { domain, object: { uid, namespace, name }, dkimSelector: dkim.state.selector };
    const { value, lsn } = await system.directory.projectDomains([row]);
    if (value.includes(domain)) deps.onHosted(namespace, domain);
    const { ok, lagging } = await system.directory.replayedEverywhere(lsn);
    if (ok || wasProvisioned(object)) return { state: { ok: true } };
    const message = `Written; ${lagging.join(', ')} of the directory does not show it yet.`;
    return { state: { ok: false, reason: 'WaitingForReplicas', message }, retryMs: REPLAY_RETRY_MS };
  } catch (error) {
    if (!(error instanceof DirectoryUnavailable)) throw error;
    // What the directory has already stays in effect: a domain that was provisioned still is.
    if (wasProvisioned(object)) return { state: { ok: true }, error };
    return { state: { ok: false, reason: 'DirectoryUnavailable', message: error.message }, error };
  }
}

function hasSystem(object: MailDomain): boolean {
  return object.status?.conditions?.find((c) => c.type === 'SystemReady')?.status === 'True';
}

function wasProvisioned(object: MailDomain): boolean {
  return object.status?.conditions?.find((c) => c.type === 'Provisioned')?.status === 'True';
}

function notHosted(hosting: Extract<Hosting, { reason: string }>): DomainObservation {
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

async function writeDomainStatus(
  deps: MailDomainDependencies,
  stale: MailDomain,
  observation: DomainObservation,
  domain: string | undefined,
): Promise<void> {
  const object = deps.domains.cache.get(`${stale.metadata.namespace}/${stale.metadata.name}`) ?? stale;
  // Made anew by the same name in the meantime: what we have found is not about this one.
  if (object.metadata.uid !== stale.metadata.uid) return;
  const { conditions, detail } = domainStatus(observation);
  const generation = stale.metadata.generation ?? 0;
  const status = {
    ...object.status,
    observedGeneration: generation,
    conditions: setConditions(object.status?.conditions, conditions, { generation, now: deps.now().toISOString() }),
    ...(domain === undefined ? {} : { domain }),
    ...(observation.records.length === 0 ? {} : { records: [...observation.records] }),
    detail,
  };
  const written = await writeStatus({
    client: deps.keys.client,
    type: mailDomainType,
    object,
    status,
    fieldManager: 'posthorn-maildomain',
  });
  if (written) deps.domains.observe(written as MailDomain);
  const [ready] = conditions;
  const before = object.status?.conditions?.find((c) => c.type === 'Ready');
  if (ready && ready.status === 'False' && before?.reason !== ready.reason && ready.reason !== 'SystemNotReady') {
    deps.events.emit(object, { type: 'Warning', reason: ready.reason, message: ready.message });
  }
}

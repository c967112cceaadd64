import { isDeepStrictEqual } from 'node:util';
import { type MailDomain, resolveMailDomain } from '../../crds/maildomain.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import type { DomainRow } from '../directory/rows.js';
import { ensureDkimKey } from '../signing/ensure.js';
import type { DkimKey } from '../signing/secret.js';
import { DEFAULT_SELECTOR, syncSigning } from '../signing/sync.js';
import type { AttachedSystem } from '../systems.js';
import type { Hosted, MailDomainDependencies } from './dependencies.js';
import type { DomainObservation } from './status.js';

const REPLAY_RETRY_MS = 1_000;
const WAIT_FOR_SYSTEM_MS = 15_000;

/** What came of one step. */
export interface Step {
  retryMs?: number;
  error?: unknown;
}

/** Makes sure that the domain has a key and that egress has it. */
export async function signingState(
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

/** Brings the domain to the directory, once its mail can be signed. */
export async function directoryState(
  deps: MailDomainDependencies,
  object: MailDomain,
  spec: Hosted['spec'],
  dkim: { key?: DkimKey; state: DomainObservation['dkim'] },
  system: AttachedSystem | undefined,
): Promise<Step & { state: DomainObservation['directory'] }> {
  if (system === undefined) return { state: { ok: false, ...waiting }, retryMs: WAIT_FOR_SYSTEM_MS };
  if (!dkim.state.ok)
    return { state: { ok: false, reason: 'WaitingForKey', message: 'The domain is accepted once its key is loaded.' } };
  const { namespace = '' } = object.metadata;
  try {
    const { value, lsn } = await system.directory.projectDomains([rowOf(object, spec, dkim.state.selector)]);
    if (value.includes(spec.domain)) deps.onHosted(namespace, spec.domain);
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

function rowOf(object: MailDomain, { domain, filter, sending }: Hosted['spec'], dkimSelector: string): DomainRow {
  const { uid = '', namespace = '', name } = object.metadata;
  return {
    domain,
    object: { uid, namespace, name },
    dkimSelector,
    filter: isDeepStrictEqual(filter, NO_FILTER) ? null : filter,
    sendingHour: sending.hour ?? null,
  };
}

/** As it is when nothing is said: then there is no policy to look up. */
const NO_FILTER: Hosted['spec']['filter'] = resolveMailDomain({}, 'a.example').filter;

function wasProvisioned(object: MailDomain): boolean {
  return object.status?.conditions?.find((c) => c.type === 'Provisioned')?.status === 'True';
}

import type { MailDomain } from '../../crds/maildomain.js';
import { type ConditionUpdate, setConditions, writeStatus } from '../runtime/conditions.js';
import { mailDomainType } from '../types.js';
import type { MailDomainDependencies } from './dependencies.js';
import { type DomainObservation, domainStatus } from './status.js';
import type { Ownership } from './verify.js';

/**
 * Writes the status if it differs, and tells of what is wrong now.
 *
 * @param ownership the proof that the domain belongs to its namespace; undefined: there is none
 */
export async function writeDomainStatus(
  deps: MailDomainDependencies,
  stale: MailDomain,
  observation: DomainObservation,
  domain: string | undefined,
  ownership?: Ownership,
): Promise<void> {
  const object = deps.domains.cache.get(`${stale.metadata.namespace}/${stale.metadata.name}`) ?? stale;
  // Made anew by the same name in the meantime: what we have found is not about this one.
  if (object.metadata.uid !== stale.metadata.uid) return;
  const { conditions, detail } = domainStatus(observation);
  const generation = stale.metadata.generation ?? 0;
  const { ownership: _, ...kept } = object.status ?? {};
  const status = {
    ...kept,
    ...(ownership === undefined ? {} : { ownership }),
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
  for (const type of ['Ready', 'OwnershipVerified']) announce(deps, object, type, conditions);
}

/** What concerns the whole system is told there; a proof that is waited for is told by Ready. */
const QUIET = new Set(['SystemNotReady', 'RecordNotFound', 'RecordDiffers', 'LookupFailed']);

function announce(deps: MailDomainDependencies, object: MailDomain, type: string, conditions: ConditionUpdate[]): void {
  const now = conditions.find((c) => c.type === type);
  const before = object.status?.conditions?.find((c) => c.type === type);
  if (now?.status !== 'False' || before?.reason === now.reason || QUIET.has(now.reason)) return;
  deps.events.emit(object, { type: 'Warning', reason: now.reason, message: now.message });
}

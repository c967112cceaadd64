import { names } from '../../cdk8s/names.js';
import type { MailSystem, MailSystemResolved } from '../../crds/mailsystem.js';
import { type ConditionUpdate, findCondition, setConditions, writeStatus } from '../runtime/conditions.js';
import { mailSystemType } from '../types.js';
import type { MailSystemDependencies } from './dependencies.js';
import { bySystem, observeEndpoints, observeWorkload, type ServiceObject } from './observe.js';
import { systemStatus } from './status.js';

const FIELD_MANAGER = 'posthorn-mailsystem';

/** Writes the conditions, endpoints and detail of a MailSystem, if they differ from what it says. */
export async function writeSystemStatus(
  deps: MailSystemDependencies,
  stale: MailSystem,
  spec: MailSystemResolved | undefined,
  verdicts: readonly ConditionUpdate[],
): Promise<void> {
  const key = `${stale.metadata.namespace}/${stale.metadata.name}`;
  const object = deps.mailSystems.cache.get(key) ?? stale;
  // Made anew by the same name in the meantime: what we have found is not about this one.
  if (object.metadata.uid !== stale.metadata.uid) return;
  const workloads = [...deps.statefulSets.byIndex(bySystem, key), ...deps.deployments.byIndex(bySystem, key)].flatMap(
    (w) => observeWorkload(w) ?? [],
  );
  const endpoints = spec === undefined ? [] : observeEndpoints(publicServices(deps, key, object.metadata.name), spec);
  const view = deps.shards.get(key);
  const replicas = view === undefined ? saidOfReplicas(object) : [view.verdict];
  const { conditions, detail } = systemStatus({ workloads, verdicts: [...verdicts, ...replicas], endpoints });
  const generation = stale.metadata.generation ?? 0;
  const status = {
    ...object.status,
    observedGeneration: generation,
    conditions: setConditions(remaining(object, conditions), conditions, {
      generation,
      now: deps.now().toISOString(),
    }),
    endpoints,
    ...(view === undefined ? {} : { shards: view.statuses }),
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

/** Until the directory has been asked, what was said before stands. */
function saidOfReplicas({ status }: MailSystem): ConditionUpdate[] {
  const type = 'ReplicasReady';
  const said = findCondition(status?.conditions, type);
  if (said !== undefined) return [{ type, status: said.status, reason: said.reason, message: said.message }];
  const message = 'The directory, which knows the shards, has not been asked yet.';
  return [{ type, status: 'Unknown', reason: 'NotChecked', message }];
}

/** Conditions that are there only when there is something to say. */
const OCCASIONAL: ReadonlySet<string> = new Set(['SpecValid', 'LDAPReady', 'Deleting']);

/** What was said before, without what there is nothing to say of any more. */
function remaining({ status }: MailSystem, told: readonly ConditionUpdate[]) {
  const types = new Set(told.map(({ type }) => type));
  return status?.conditions?.filter(({ type }) => !OCCASIONAL.has(type) || types.has(type));
}

function publicServices(deps: MailSystemDependencies, key: string, system: string): ServiceObject[] {
  const n = names(system);
  const order = [n.mx, n.submission, n.imap];
  return deps.services
    .byIndex(bySystem, key)
    .filter((service) => order.includes(service.metadata.name))
    .sort((a, b) => order.indexOf(a.metadata.name) - order.indexOf(b.metadata.name));
}

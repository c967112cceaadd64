import type { ForwardRule } from '../../crds/forwardrule.js';
import type { ForwardOutcome } from '../directory/rows.js';
import { type ConditionUpdate, setConditions, writeStatus } from '../runtime/conditions.js';
import type { Result } from '../runtime/controller.js';
import { keyOf } from '../runtime/object.js';
import { forwardRuleType } from '../types.js';
import type { ForwardRuleDependencies } from './dependencies.js';
import type { Desired } from './desired.js';
import { targetCount } from './forward.js';
import { addressesOf } from './landscape.js';
import { type ForwardObservation, forwardStatus } from './status.js';

/** What is to be done about one ForwardRule. */
export interface Plan extends Desired {
  key: string;
  object: ForwardRule;
}

/** What came of a batch. */
export interface Findings {
  outcomes?: ReadonlyMap<string, ForwardOutcome>;
  lagging?: readonly string[];
  unavailable?: string;
}

const RETRY_MS = 1_000;
/** Conflicts end with an event; this look is only a safety net. */
const RARELY_MS = 60_000;
/** A domain that is still on its way is announced too, when it has come. */
const SOON_MS = 10_000;

/** Writes the statuses that changed; a failure to write one is that one's result. */
export async function report(
  deps: ForwardRuleDependencies,
  plans: readonly Plan[],
  results: Map<string, Result>,
  findings: Findings,
): Promise<void> {
  await Promise.all(
    plans.map(async (plan) => {
      const outcome = findings.outcomes?.get(plan.key);
      const lagging = laggingFor(plan, outcome, findings);
      if (outcome?.result === 'refused') results.set(plan.key, { requeueAfterMs: retryMs(outcome) });
      else if (lagging.length > 0) results.set(plan.key, { requeueAfterMs: RETRY_MS });
      const { problems, forward } = plan;
      try {
        await writeOne(deps, plan, { problems, forward, outcome, lagging, unavailable: findings.unavailable });
      } catch (error) {
        results.set(plan.key, { error });
      }
    }),
  );
}

/** A rule that was Ready and needed no write stays so, even if a replica is behind on something else. */
function laggingFor(
  { object, forward }: Plan,
  outcome: ForwardOutcome | undefined,
  { lagging = [] }: Findings,
): readonly string[] {
  if (forward === undefined || forward === 'none') return [];
  return outcome?.result === 'unchanged' && wasProvisioned(object) ? [] : lagging;
}

async function writeOne(
  deps: ForwardRuleDependencies,
  { object }: Plan,
  observation: ForwardObservation,
): Promise<void> {
  // Made anew by the same name in the meantime: what we have found is not about that one.
  if (deps.rules.cache.get(keyOf(object))?.metadata.uid !== object.metadata.uid) return;
  const { conditions, detail } = forwardStatus(observation);
  const generation = object.metadata.generation ?? 0;
  const [address] = addressesOf(object);
  const targets = targetsInEffect(observation);
  const status = {
    ...object.status,
    ...(address === undefined ? {} : { address }),
    ...(targets === undefined ? {} : { targets }),
    observedGeneration: generation,
    conditions: setConditions(object.status?.conditions, conditions, { generation, now: deps.now().toISOString() }),
    detail,
  };
  const written = await writeStatus({
    client: deps.client,
    type: forwardRuleType,
    object,
    status,
    fieldManager: 'posthorn-forwardrule',
  });
  if (written) deps.rules.observe(written as ForwardRule);
  announce(deps, object, conditions[0]);
}

/** Undefined when nothing was changed: then it is what it was. */
function targetsInEffect({ forward, outcome, unavailable }: ForwardObservation): number | undefined {
  if (outcome?.result === 'refused') return 0;
  if (forward === undefined || unavailable !== undefined) return undefined;
  return forward === 'none' ? 0 : targetCount(forward);
}

/** What concerns the whole system is told there, not by an event for each of thousands of rules. */
const PASSING = new Set(['WaitingForReplicas', 'DirectoryUnavailable', 'UnknownDomain']);

function announce(deps: ForwardRuleDependencies, object: ForwardRule, ready: ConditionUpdate | undefined): void {
  if (ready === undefined || ready.status === 'True' || PASSING.has(ready.reason)) return;
  const before = object.status?.conditions?.find((c) => c.type === 'Ready');
  if (before?.reason === ready.reason && before.message === ready.message) return;
  deps.events.emit(object, { type: 'Warning', reason: ready.reason, message: ready.message });
}

function wasProvisioned({ metadata, status }: ForwardRule): boolean {
  const provisioned = status?.conditions?.find((c) => c.type === 'Provisioned');
  return status?.observedGeneration === metadata.generation && provisioned?.status === 'True';
}

function retryMs({ reason }: ForwardOutcome): number {
  return reason === 'UnknownDomain' ? SOON_MS : RARELY_MS;
}

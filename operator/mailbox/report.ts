import type { Mailbox } from '../../crds/mailbox.js';
import type { MailboxOutcome } from '../directory/rows.js';
import { setConditions, writeStatus } from '../runtime/conditions.js';
import type { Result } from '../runtime/controller.js';
import { keyOf } from '../runtime/object.js';
import { mailboxType } from '../types.js';
import type { MailboxDependencies } from './dependencies.js';
import type { DesiredMailbox, Problem } from './desired.js';
import type { PasswordPlan } from './password.js';
import { type MailboxObservation, mailboxStatus, type Verdict } from './status.js';

/** What is to be done about one Mailbox. */
export interface Plan {
  key: string;
  object: Mailbox;
  /** Absent: nothing is to be changed in the directory. */
  desired?: DesiredMailbox | undefined;
  problems: readonly Problem[];
  password: PasswordPlan;
}

/** What came of a batch. */
export interface Findings {
  outcomes?: ReadonlyMap<string, MailboxOutcome>;
  lagging?: readonly string[];
  unavailable?: string;
  adoptable?: ReadonlyMap<string, string[]>;
}

const RETRY_MS = 1_000;
/** Conflicts and the like end with an event; this look is only a safety net. */
const RARELY_MS = 60_000;
/** A domain or shard that is still on its way is announced too, when it has come. */
const SOON_MS = 10_000;

/** Writes the statuses that changed; a failure to write one is that one's result. */
export async function report(
  deps: MailboxDependencies,
  plans: readonly Plan[],
  results: Map<string, Result>,
  findings: Findings,
): Promise<void> {
  await Promise.all(
    plans.map(async (plan) => {
      const outcome = findings.outcomes?.get(plan.key);
      const lagging = laggingFor(plan, outcome, findings);
      if (outcome?.result === 'refused' || lagging.length > 0)
        results.set(plan.key, { requeueAfterMs: retryMs(outcome) });
      try {
        await writeOne(deps, plan, observationOf(plan, outcome, lagging, findings));
      } catch (error) {
        results.set(plan.key, { error });
      }
    }),
  );
}

/** A mailbox that was Ready and needed no write stays so, even if a replica is behind on something else. */
function laggingFor(
  { object }: Plan,
  outcome: MailboxOutcome | undefined,
  { lagging = [] }: Findings,
): readonly string[] {
  return outcome?.result === 'unchanged' && wasProvisioned(object) ? [] : lagging;
}

function observationOf(
  { key, object, desired, problems, password }: Plan,
  outcome: MailboxOutcome | undefined,
  lagging: readonly string[],
  findings: Findings,
): MailboxObservation {
  return {
    problems,
    outcome,
    lagging,
    unavailable: findings.unavailable,
    password: passwordState(password),
    adoptable: findings.adoptable?.get(key),
    address: desired?.address ?? object.spec.address,
    quota: object.spec.quota,
  };
}

async function writeOne(
  deps: MailboxDependencies,
  { object, desired }: Plan,
  observation: MailboxObservation,
): Promise<void> {
  const { outcome } = observation;
  // Made anew by the same name in the meantime: what we have found is not about that one.
  if (deps.mailboxes.cache.get(keyOf(object))?.metadata.uid !== object.metadata.uid) return;
  const { conditions, detail } = mailboxStatus(observation);
  const generation = object.metadata.generation ?? 0;
  const told = withoutKnown(object, keepAdoptionNotice(object, outcome, conditions));
  const status = {
    ...object.status,
    ...identity(desired, outcome),
    observedGeneration: generation,
    conditions: setConditions(object.status?.conditions, told, { generation, now: deps.now().toISOString() }),
    detail,
  };
  const written = await writeStatus({
    client: deps.client,
    type: mailboxType,
    object,
    status,
    fieldManager: 'posthorn-mailbox',
  });
  if (written) deps.mailboxes.observe(written as Mailbox);
  announce(deps, object, conditions[0]);
}

function identity(desired: DesiredMailbox | undefined, outcome: MailboxOutcome | undefined) {
  if (desired === undefined || outcome === undefined || outcome.result === 'refused') return {};
  return { address: desired.address, uuid: desired.uuid, shard: outcome.shard };
}

/** Said once, when the mailbox was made; it must not come and go with every look. */
function keepAdoptionNotice(object: Mailbox, outcome: MailboxOutcome | undefined, conditions: Verdict[]): Verdict[] {
  const before = readyCondition(object);
  if (outcome?.result !== 'unchanged' || before?.status !== 'True' || !before.message.includes('spec.adopt'))
    return conditions;
  return conditions.map((c) => (c.type === 'Ready' && c.status === 'True' ? { ...c, message: before.message } : c));
}

/** A password that wasn't looked at is what it was said to be before. */
function withoutKnown({ status }: Mailbox, conditions: Verdict[]): Verdict[] {
  const present = new Set(status?.conditions?.map((c) => c.type));
  return conditions.filter(({ type, reason }) => reason !== 'NotChecked' || !present.has(type));
}

/** What concerns the whole system is told there, not by an event for each of thousands of Mailboxes. */
function isPassing(reason: string): boolean {
  return reason === 'WaitingForReplicas' || reason === 'DirectoryUnavailable';
}

function announce(deps: MailboxDependencies, object: Mailbox, ready: Verdict | undefined): void {
  const before = readyCondition(object);
  if (ready === undefined || ready.status === 'True' || isPassing(ready.reason)) return;
  if (before?.reason === ready.reason && before.message === ready.message) return;
  deps.events.emit(object, { type: 'Warning', reason: ready.reason, message: ready.message });
}

function readyCondition(object: Mailbox) {
  return object.status?.conditions?.find((c) => c.type === 'Ready');
}

function wasProvisioned({ metadata, status }: Mailbox): boolean {
  const provisioned = status?.conditions?.find((c) => c.type === 'Provisioned');
  return status?.observedGeneration === metadata.generation && provisioned?.status === 'True';
}

function retryMs(outcome: MailboxOutcome | undefined): number {
  switch (outcome?.reason) {
    case undefined:
    case 'UuidInUse':
      return RETRY_MS;
    case 'UnknownDomain':
    case 'UnknownShard':
      return SOON_MS;
    default:
      return RARELY_MS;
  }
}

function passwordState(plan: PasswordPlan): MailboxObservation['password'] {
  if (plan.kind === 'problem') return plan.problem;
  if (plan.kind === 'unchecked') return 'unchecked';
  return plan.kind === 'none' ? 'none' : 'set';
}

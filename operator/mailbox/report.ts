import type { Mailbox } from '../../crds/mailbox.js';
import { sieveHash } from '../directory/inventory.js';
import type { Incident, MailboxOutcome } from '../directory/rows.js';
import { type ConditionUpdate, setConditions, writeStatus } from '../runtime/conditions.js';
import type { Result } from '../runtime/controller.js';
import { keyOf } from '../runtime/object.js';
import { mailboxType } from '../types.js';
import { announceConduct, announceState } from './announce.js';
import type { MailboxDependencies } from './dependencies.js';
import { type DesiredMailbox, type Problem, resolvedSpec } from './desired.js';
import { membersOf } from './members.js';
import type { AppPasswordPlan, PasswordPlan } from './password.js';
import { translateLines } from './sieve.js';
import { type StateInEffect, stateInEffect } from './state.js';
import { type MailboxObservation, mailboxStatus, OCCASIONAL, type ScriptState } from './status.js';

/** What is to be done about one Mailbox. */
export interface Plan {
  key: string;
  object: Mailbox;
  /** Absent: nothing is to be changed in the directory. */
  desired?: DesiredMailbox | undefined;
  problems: readonly Problem[];
  password: PasswordPlan;
  apps: AppPasswordPlan;
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
      const observation = observationOf(deps, plan, outcome, lagging, findings);
      const retry = outcome?.result === 'refused' || lagging.length > 0 ? retryMs(outcome) : undefined;
      results.set(plan.key, { requeueAfterMs: soonest(retry, untilNextChange(observation, deps.now())) });
      try {
        await writeOne(deps, plan, observation);
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
  deps: MailboxDependencies,
  { key, object, desired, problems, password, apps }: Plan,
  outcome: MailboxOutcome | undefined,
  lagging: readonly string[],
  findings: Findings,
): MailboxObservation {
  const inDirectory = outcome !== undefined && outcome.result !== 'refused';
  return {
    problems,
    outcome,
    lagging,
    unavailable: findings.unavailable,
    password: passwordState(deps, password, desired),
    appProblems: apps.problems,
    adoptable: findings.adoptable?.get(key),
    address: desired?.address ?? object.spec.address,
    quota: object.spec.quota,
    ...(inDirectory && desired !== undefined ? inEffect(deps, object, desired, outcome) : notInEffect(object)),
  };
}

type InEffect = Pick<MailboxObservation, 'state' | 'sieve' | 'members' | 'alone' | 'full' | 'incidents'>;

function inEffect(
  deps: MailboxDependencies,
  object: Mailbox,
  desired: DesiredMailbox,
  outcome: MailboxOutcome,
): InEffect {
  const spec = resolvedSpec(object);
  return {
    state: spec && stateInEffect(spec, deps.now()),
    sieve: scriptState(deps, object, desired),
    members: membersOf(deps, object, desired, outcome.shard ?? object.status?.shard),
    alone: aloneSince(deps, object, desired.system, outcome.shard),
    full: deps.reports.of(desired.system).full.has(desired.uuid),
    incidents: incidentsOf(deps, desired),
  };
}

/** What is declared is not in effect yet: what was said of the state before still is so. */
function notInEffect({ status }: Mailbox): InEffect {
  const before = status?.state ?? 'Active';
  return {
    state: before === 'Active' ? undefined : { state: before, mail: 'Accept' },
    full: false,
    incidents: [],
  };
}

/** Until the shards have been looked at, what was said before stands. */
function aloneSince(
  { shards }: MailboxDependencies,
  object: Mailbox,
  system: string,
  shard: string | undefined,
): Date | undefined {
  const view = shards.get(system);
  if (view !== undefined) {
    const since = view.alone.get(shard ?? '');
    return since === undefined ? undefined : new Date(since);
  }
  const said = object.status?.conditions?.find(({ type }) => type === 'Replicated')?.message;
  const [, day, time] = /since (\S+) (\S+) UTC/.exec(said ?? '') ?? [];
  return day === undefined ? undefined : new Date(`${day}T${time}Z`);
}

function scriptState(deps: MailboxDependencies, object: Mailbox, desired: DesiredMailbox): ScriptState | undefined {
  const { system, uuid, sieve } = desired;
  const result = deps.reports.of(system).sieve.get(uuid);
  const pending = sieve !== null && result?.hash !== sieveHash(sieve);
  if (deps.reports.await(system, uuid, pending)) deps.awaitResults(system);
  if (sieve === null) return undefined;
  if (pending || result === undefined) return 'pending';
  const declared = resolvedSpec(object);
  const error = result.error === null || declared === undefined ? result.error : translateLines(result.error, declared);
  return { error };
}

function incidentsOf(deps: MailboxDependencies, desired: DesiredMailbox): readonly Incident[] {
  const now = deps.now();
  const all = deps.reports.of(desired.system).incidents.get(desired.uuid) ?? [];
  return all.filter(({ until }) => until === null || until > now);
}

/** Timers hold 24 days; looking now and then at what changes in a year costs nothing. */
const LONGEST_MS = 24 * 3_600_000;

/** Until the state ends, or it may send again: nobody else says so. */
function untilNextChange({ state, incidents }: MailboxObservation, now: Date): number | undefined {
  const ends = [state?.until, ...incidents.map(({ until }) => until)].flatMap((end) => end ?? []);
  const waits = ends.map((end) => Math.min(end.getTime() - now.getTime() + 1, LONGEST_MS));
  return waits.length === 0 ? undefined : Math.min(...waits);
}

function soonest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}

async function writeOne(
  deps: MailboxDependencies,
  { object, desired }: Plan,
  observation: MailboxObservation,
): Promise<void> {
  const { outcome, state } = observation;
  // Made anew by the same name in the meantime: what we have found is not about that one.
  if (deps.mailboxes.cache.get(keyOf(object))?.metadata.uid !== object.metadata.uid) return;
  const { conditions, detail } = mailboxStatus(observation);
  const generation = object.metadata.generation ?? 0;
  const told = withoutKnown(object, keepAdoptionNotice(object, outcome, conditions));
  const status = {
    ...object.status,
    ...identity(desired, outcome, state),
    observedGeneration: generation,
    conditions: setConditions(remaining(object, outcome, told), told, { generation, now: deps.now().toISOString() }),
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
  if (outcome === undefined || outcome.result === 'refused') return;
  if (state !== undefined) await announceState(deps, object, state);
  announceConduct(deps, object, conditions);
}

/** What was said before, without what there is nothing to say of any more. */
function remaining(object: Mailbox, outcome: MailboxOutcome | undefined, told: readonly ConditionUpdate[]) {
  if (outcome === undefined || outcome.result === 'refused') return object.status?.conditions;
  const types = new Set(told.map(({ type }) => type));
  return object.status?.conditions?.filter(({ type }) => !OCCASIONAL.has(type) || types.has(type));
}

function identity(
  desired: DesiredMailbox | undefined,
  outcome: MailboxOutcome | undefined,
  effect: StateInEffect | undefined,
) {
  if (desired === undefined || outcome === undefined || outcome.result === 'refused') return {};
  return { address: desired.address, uuid: desired.uuid, shard: outcome.shard, state: effect?.state };
}

/** Said once, when the mailbox was made; it must not come and go with every look. */
function keepAdoptionNotice(
  object: Mailbox,
  outcome: MailboxOutcome | undefined,
  conditions: ConditionUpdate[],
): ConditionUpdate[] {
  const before = readyCondition(object);
  if (outcome?.result !== 'unchanged' || before?.status !== 'True' || !before.message.includes('spec.adopt'))
    return conditions;
  return conditions.map((c) => (c.type === 'Ready' && c.status === 'True' ? { ...c, message: before.message } : c));
}

/** A password that wasn't looked at is what it was said to be before. */
function withoutKnown({ status }: Mailbox, conditions: ConditionUpdate[]): ConditionUpdate[] {
  const present = new Set(status?.conditions?.map((c) => c.type));
  return conditions.filter(({ type, reason }) => reason !== 'NotChecked' || !present.has(type));
}

const PASSING: ReadonlySet<string> = new Set(['WaitingForReplicas', 'DirectoryUnavailable', 'Pending']);

/** What concerns the whole system is told there, not by an event for each of thousands of Mailboxes. */
function isPassing(reason: string): boolean {
  return PASSING.has(reason);
}

function announce(deps: MailboxDependencies, object: Mailbox, ready: ConditionUpdate | undefined): void {
  const before = readyCondition(object);
  if (ready === undefined || ready.status === 'True' || isPassing(ready.reason)) return;
  if (before?.reason === ready.reason && before.message === ready.message) return;
  deps.events.emit(object, { type: 'Warning', reason: ready.reason, message: ready.message });
}

function readyCondition(object: Mailbox) {
  return object.status?.conditions?.find((c) => c.type === 'Ready');
}

/** Whether the directory has the object as it is declared, as far as was said. */
export function wasProvisioned({ metadata, status }: Mailbox): boolean {
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

function passwordState(
  deps: MailboxDependencies,
  plan: PasswordPlan,
  desired: DesiredMailbox | undefined,
): MailboxObservation['password'] {
  if (plan.kind === 'problem') return plan.problem;
  if (plan.kind === 'unchecked') return 'unchecked';
  if (plan.kind !== 'none') return 'set';
  return deps.systems.get(desired?.system ?? '')?.spec.ldap === undefined ? 'none' : 'ldap';
}

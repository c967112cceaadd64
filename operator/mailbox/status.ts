import type { Incident, MailboxOutcome, RefusalReason } from '../directory/rows.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import type { Problem } from './desired.js';
import { minute, type StateInEffect, stateDetail, stateMessage } from './state.js';

/** Why a password is not the declared one. */
export interface PasswordProblem {
  reason: 'SecretNotFound' | 'KeyNotFound' | 'InvalidPassword';
  message: string;
}

/** What became of the declared script: not compiled yet, in effect (null), or what the compiler said. */
export type ScriptState = 'pending' | { error: string | null };

/** Conditions that are there only when there is something to say. */
export const OCCASIONAL: ReadonlySet<string> = new Set([
  'SieveReady',
  'MembersReady',
  'Replicated',
  'Receiving',
  'Sending',
]);

/** What happened to one Mailbox in one reconciliation. */
export interface MailboxObservation {
  problems: readonly Problem[];
  /** Absent when nothing was written because of a problem, or because the directory could not be reached. */
  outcome?: MailboxOutcome | undefined;
  /** Members of the directory that don't show the mailbox yet. */
  lagging: readonly string[];
  /** Why the directory can't be written, when it can't. */
  unavailable?: string | undefined;
  password: PasswordProblem | 'none' | 'ldap' | 'set' | 'unchecked';
  /** What is wrong with app passwords. */
  appProblems: readonly PasswordProblem[];
  /** undefined: the spec doesn't parse. */
  state?: StateInEffect | undefined;
  /** undefined: no script is declared, or nobody knows what is in effect. */
  sieve?: ScriptState | undefined;
  /** Of a shared mailbox. */
  members?: ConditionUpdate | undefined;
  /** Since when its mail has been on one volume only though it should be on several, if that is long ago. */
  alone?: Date | undefined;
  /** Whether its store has found it full. */
  full: boolean;
  /** What it did that is not over yet. */
  incidents: readonly Incident[];
  /** Deleted mailboxes of this address whose mail could be had back. */
  adoptable?: readonly string[] | undefined;
  address: string;
  quota?: string | undefined;
}

/** Conditions and detail of a Mailbox. Pure. */
export function mailboxStatus(observation: MailboxObservation): { conditions: ConditionUpdate[]; detail: string } {
  const parts = [
    provisionedVerdict(observation),
    passwordVerdict(observation),
    ...sieveVerdict(observation.sieve),
    ...(observation.members === undefined ? [] : [observation.members]),
  ];
  const bad = parts.find((verdict) => verdict.status !== 'True');
  const ready: ConditionUpdate =
    bad === undefined
      ? { type: 'Ready', status: 'True', reason: 'Provisioned', message: readyMessage(observation) }
      : { ...bad, type: 'Ready' };
  // What its owner does is no fault of what the object asks for: these don't count for Ready.
  const conditions = [
    ready,
    ...parts,
    ...replicatedVerdict(observation),
    ...receivingVerdict(observation),
    ...sendingVerdict(observation.incidents),
  ];
  return { conditions, detail: detailOf(observation, bad) };
}

function provisionedVerdict({ problems, outcome, lagging, unavailable }: MailboxObservation): ConditionUpdate {
  const no = (reason: string, message: string): ConditionUpdate => ({
    type: 'Provisioned',
    status: 'False',
    reason,
    message,
  });
  if (unavailable !== undefined) return no('DirectoryUnavailable', unavailable);
  const refusal = outcome && refusalOf(outcome);
  if (refusal) return no(refusal.reason, refusal.message);
  const problem = problems[0];
  if (problem) return no(problem.reason, problems.map((p) => p.message).join(' '));
  const conflicts = (outcome?.conflicts ?? []).map((c) => conflictMessage(c.address, c.owner, c.kind));
  if (conflicts.length > 0) return no('AddressConflict', conflicts.join(' '));
  if (lagging.length > 0) {
    return no(
      'WaitingForReplicas',
      `Written; ${lagging.join(', ')} of the directory does not show it yet, so mail may still be deferred.`,
    );
  }
  return {
    type: 'Provisioned',
    status: 'True',
    reason: 'Provisioned',
    message: 'Every member of the directory shows the mailbox.',
  };
}

const REFUSALS: Record<Exclude<RefusalReason, 'AddressConflict'>, string> = {
  UnknownDomain: 'The domain is not in the directory yet; its MailDomain tells why.',
  UnknownShard: 'The shard is not in the directory yet; the MailSystem tells why.',
  NotAdoptable:
    'spec.adopt names no deleted mailbox of this namespace whose mail is still there. Check status.uuid of the one that had it.',
  Invalid: 'The directory refuses the address or an alias as it is written.',
  UuidInUse: 'Another Mailbox has the mail that spec.adopt names. Delete that one first.',
};

function refusalOf({ result, reason, conflicts }: MailboxOutcome): { reason: string; message: string } | undefined {
  if (result !== 'refused' || reason === undefined) return undefined;
  if (reason !== 'AddressConflict') return { reason, message: REFUSALS[reason] };
  return { reason, message: conflicts.map((c) => conflictMessage(c.address, c.owner, c.kind)).join(' ') };
}

function conflictMessage(
  address: string,
  owner: { namespace: string; name: string } | undefined,
  kind: string | undefined,
): string {
  if (owner === undefined) return `${address}: its domain is not hosted here.`;
  const use = kind === undefined ? '' : ` (as its ${kind === 'mailbox' ? 'main address' : kind})`;
  return `${address} belongs to ${owner.namespace}/${owner.name}${use}, which claimed it first: remove it there or here.`;
}

const PASSWORD_REASONS = {
  set: ['FromSecret', "The Secret's password is in effect."],
  ldap: ['FromLDAP', 'No passwordSecretRef: the LDAP server of the MailSystem checks passwords.'],
  none: ['NotDeclared', 'No passwordSecretRef: mail arrives, nobody can log in with a declared password.'],
} as const;

function passwordVerdict({ password, appProblems }: MailboxObservation): ConditionUpdate {
  const type = 'PasswordReady';
  if (password === 'unchecked') {
    const message = 'The Secret is read when the mailbox can be provisioned.';
    return { type, status: 'Unknown', reason: 'NotChecked', message };
  }
  const problems = [...(typeof password === 'string' ? [] : [password]), ...appProblems];
  const first = problems[0];
  if (first !== undefined)
    return { type, status: 'False', reason: first.reason, message: problems.map((p) => p.message).join(' ') };
  const [reason, message] = PASSWORD_REASONS[password as keyof typeof PASSWORD_REASONS];
  return { type, status: 'True', reason, message };
}

/** Compilers can be wordy. */
const QUOTED_LENGTH = 2_000;

function sieveVerdict(sieve: ScriptState | undefined): ConditionUpdate[] {
  const type = 'SieveReady';
  if (sieve === undefined) return [];
  if (sieve === 'pending') {
    const message = 'The store has not compiled the declared script yet. The one before stays in effect until then.';
    return [{ type, status: 'Unknown', reason: 'Pending', message }];
  }
  if (sieve.error === null)
    return [{ type, status: 'True', reason: 'Compiled', message: 'The declared script is in effect.' }];
  const message = `The declared script does not compile: the one before stays in effect. The compiler says: ${oneLine(sieve.error).slice(0, QUOTED_LENGTH)}`;
  return [{ type, status: 'False', reason: 'CompileError', message }];
}

/** What tables and Events print as one line. */
function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, '; ');
}

function replicatedVerdict({ alone, outcome }: MailboxObservation): ConditionUpdate[] {
  if (alone === undefined) return [];
  const message = `The mail is on one volume only since ${minute(alone)}: the other copies of shard ${outcome?.shard ?? ''} are not up to date. ReplicasReady of the MailSystem tells why.`;
  return [{ type: 'Replicated', status: 'False', reason: 'SingleCopy', message }];
}

function receivingVerdict({ full, quota }: MailboxObservation): ConditionUpdate[] {
  if (!full) return [];
  const message = `The mailbox is full${quota === undefined ? '' : ` (quota ${quota})`}: mail for it is refused with 552 until something is deleted or spec.quota is raised.`;
  return [{ type: 'Receiving', status: 'False', reason: 'Full', message }];
}

function sendingVerdict(incidents: readonly Incident[]): ConditionUpdate[] {
  const type = 'Sending';
  const said = incidents.map(({ kind, detail }) => `${kind}: ${detail}`).join(' ');
  const end = throttledUntil(incidents);
  if (end !== undefined) {
    const message = `${said} It may not send until ${minute(end)}. To block it for longer, set spec.state; to let it send now, set the annotation posthorn.dev/pardoned to the present time.`;
    return [{ type, status: 'False', reason: 'Throttled', message }];
  }
  return incidents.length === 0 ? [] : [{ type, status: 'True', reason: 'Reported', message: said }];
}

function throttledUntil(incidents: readonly Incident[]): Date | undefined {
  const ends = incidents.flatMap(({ until }) => until ?? []).sort((a, b) => a.getTime() - b.getTime());
  return ends.at(-1);
}

function readyMessage({ adoptable, address, state }: MailboxObservation): string {
  const arrives = state === undefined ? 'Mail arrives.' : stateMessage(state);
  if (adoptable === undefined || adoptable.length === 0) return arrives;
  return `${arrives} This mailbox is new: mail of a deleted one with the address ${address} is kept and can be had back by deleting this Mailbox and creating it with spec.adopt: ${adoptable[0]}.`;
}

function detailOf(
  { outcome, quota, state, full, incidents }: MailboxObservation,
  bad: ConditionUpdate | undefined,
): string {
  const active = state === undefined || (state.state === 'Active' && state.ended === undefined);
  const what = active ? 'Active' : stateDetail(state);
  if (bad !== undefined) return `${active ? '' : `${what}; `}${bad.reason}: ${bad.message}`.slice(0, 200);
  const end = throttledUntil(incidents);
  const place = outcome?.shard === undefined ? '' : `, shard ${outcome.shard}`;
  return `${what}${full ? ', full' : ''}${end === undefined ? '' : `, may not send until ${minute(end)}`}${place}${quota === undefined ? '' : `, quota ${quota}`}`;
}

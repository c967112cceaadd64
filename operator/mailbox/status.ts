import type { Condition } from '../../crds/condition.js';

import type { MailboxOutcome, RefusalReason } from '../directory/rows.js';
import type { Problem } from './desired.js';

/** What a controller says about one aspect; the runtime adds times and generations. */
export type Verdict = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

/** Why a password is not the declared one. */
export interface PasswordProblem {
  reason: 'SecretNotFound' | 'KeyNotFound' | 'InvalidPassword';
  message: string;
}

/** What happened to one Mailbox in one reconciliation. */
export interface MailboxObservation {
  problems: readonly Problem[];
  /** Absent when nothing was written because of a problem, or because the directory could not be reached. */
  outcome?: MailboxOutcome | undefined;
  /** Members of the directory that don't show the mailbox yet. */
  lagging: readonly string[];
  /** Why the directory can't be written, when it can't. */
  unavailable?: string | undefined;
  password: PasswordProblem | 'none' | 'set' | 'unchecked';
  /** Deleted mailboxes of this address whose mail could be had back. */
  adoptable?: readonly string[] | undefined;
  address: string;
  quota?: string | undefined;
}

/** Conditions and detail of a Mailbox. Pure. */
export function mailboxStatus(observation: MailboxObservation): { conditions: Verdict[]; detail: string } {
  const provisioned = provisionedVerdict(observation);
  const password = passwordVerdict(observation.password);
  const bad = [provisioned, password].find((verdict) => verdict.status !== 'True');
  const ready: Verdict =
    bad === undefined
      ? { type: 'Ready', status: 'True', reason: 'Provisioned', message: readyMessage(observation) }
      : { ...bad, type: 'Ready' };
  return { conditions: [ready, provisioned, password], detail: detailOf(observation, bad) };
}

function provisionedVerdict({ problems, outcome, lagging, unavailable }: MailboxObservation): Verdict {
  const no = (reason: string, message: string): Verdict => ({ type: 'Provisioned', status: 'False', reason, message });
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

function passwordVerdict(password: MailboxObservation['password']): Verdict {
  if (password === 'set')
    return {
      type: 'PasswordReady',
      status: 'True',
      reason: 'FromSecret',
      message: "The Secret's password is in effect.",
    };
  if (password === 'none') {
    return {
      type: 'PasswordReady',
      status: 'True',
      reason: 'NotDeclared',
      message: 'No passwordSecretRef: mail arrives, nobody can log in with a declared password.',
    };
  }
  if (password === 'unchecked') {
    return {
      type: 'PasswordReady',
      status: 'Unknown',
      reason: 'NotChecked',
      message: 'The Secret is read when the mailbox can be provisioned.',
    };
  }
  return { type: 'PasswordReady', status: 'False', reason: password.reason, message: password.message };
}

function readyMessage({ adoptable, address }: MailboxObservation): string {
  if (adoptable === undefined || adoptable.length === 0) return 'Mail arrives.';
  return `Mail arrives. This mailbox is new: mail of a deleted one with the address ${address} is kept and can be had back by deleting this Mailbox and creating it with spec.adopt: ${adoptable[0]}.`;
}

function detailOf({ outcome, quota }: MailboxObservation, bad: Verdict | undefined): string {
  if (bad !== undefined) return `${bad.reason}: ${bad.message}`.slice(0, 200);
  const place = outcome?.shard === undefined ? '' : `, shard ${outcome.shard}`;
  return `Active${place}${quota === undefined ? '' : `, quota ${quota}`}`;
}

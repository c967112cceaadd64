import type { ForwardOutcome } from '../directory/rows.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import type { Problem } from './context.js';
import { type DesiredForward, targetCount } from './forward.js';

/** What happened to one ForwardRule in one reconciliation. */
export interface ForwardObservation {
  problems: readonly Problem[];
  /** As it went to the directory. */
  forward?: DesiredForward | 'none' | undefined;
  /** Absent when nothing was written because of a problem, or because the directory could not be reached. */
  outcome?: ForwardOutcome | undefined;
  /** Members of the directory that don't show the forward yet. */
  lagging: readonly string[];
  /** Why the directory can't be written, when it can't. */
  unavailable?: string | undefined;
}

/** Conditions and detail of a ForwardRule. Pure. */
export function forwardStatus(observation: ForwardObservation): { conditions: ConditionUpdate[]; detail: string } {
  const parts = [acceptedVerdict(observation), provisionedVerdict(observation)];
  const bad = parts.find((part) => part.status !== 'True');
  const ready: ConditionUpdate =
    bad === undefined
      ? { type: 'Ready', status: 'True', reason: 'Forwarding', message: 'Mail for the address goes to every target.' }
      : { ...bad, type: 'Ready' };
  return { conditions: [ready, ...parts], detail: detailOf(observation, bad) };
}

function acceptedVerdict({ problems, outcome }: ForwardObservation): ConditionUpdate {
  const no = (reason: string, message: string): ConditionUpdate => ({
    type: 'Accepted',
    status: 'False',
    reason,
    message,
  });
  if (outcome?.result === 'refused' && outcome.reason === 'AddressConflict') {
    return no('AddressConflict', conflictMessage(outcome));
  }
  const [first] = problems;
  if (first !== undefined) return no(first.reason, problems.map(({ message }) => message).join(' '));
  if (outcome?.result === 'refused' && outcome.reason === 'Invalid') {
    return no(
      'Invalid',
      `The directory refuses the rule as it is written: ${outcome.message ?? 'it does not say why'}.`,
    );
  }
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'Address and targets are as they may be.' };
}

function provisionedVerdict({ forward, outcome, lagging, unavailable }: ForwardObservation): ConditionUpdate {
  const no = (reason: string, message: string): ConditionUpdate => ({
    type: 'Provisioned',
    status: 'False',
    reason,
    message,
  });
  if (unavailable !== undefined) return no('DirectoryUnavailable', unavailable);
  if (outcome?.result === 'refused' && outcome.reason === 'UnknownDomain') {
    return no('UnknownDomain', 'The domain is not in the directory yet; its MailDomain tells why.');
  }
  if (forward === undefined || outcome?.result === 'refused') {
    return no('NotAccepted', 'The directory was not changed: see the condition Accepted.');
  }
  if (forward === 'none') return no('NoTarget', 'No target is left, so mail for the address is not taken.');
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
    message: 'Every member of the directory shows the forward.',
  };
}

function conflictMessage({ conflicts }: ForwardOutcome): string {
  return conflicts
    .map(({ address, owner, kind }) => {
      if (owner === undefined) return `${address} is taken.`;
      const holder = `${owner.namespace}/${owner.name}`;
      if (kind !== 'mailbox' && kind !== 'alias') {
        return `${address} belongs to ${holder}, which claimed it first: remove it there or here.`;
      }
      const use = kind === 'mailbox' ? 'the main address' : 'an alias';
      return `${address} is ${use} of Mailbox ${holder}: to forward its mail as well, name that Mailbox in spec.keepCopy; else remove it there or here.`;
    })
    .join(' ');
}

function detailOf({ forward }: ForwardObservation, bad: ConditionUpdate | undefined): string {
  if (bad !== undefined) return `${bad.reason}: ${bad.message}`.slice(0, 200);
  if (forward === undefined || forward === 'none') return 'No target';
  const count = targetCount(forward);
  const copy = forward.keepCopy === null ? '' : `, a copy to ${forward.keepCopy}`;
  return `${count} ${count === 1 ? 'target' : 'targets'}${copy}`;
}

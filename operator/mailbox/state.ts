import type { MailboxResolved, MailboxState } from '../../crds/mailbox.js';
import type { EventOptions } from '../runtime/events.js';

/** What a mailbox may be used for now, and until when. */
export interface StateInEffect {
  state: MailboxState;
  /** When it ends by itself. */
  until?: Date;
  /** The declared state, when its time is over. */
  ended?: { state: MailboxState; at: Date };
  mail: 'Accept' | 'Refuse';
}

/** Pure. The directory's functions say the same of a mailbox at any moment, without anybody's help. */
export function stateInEffect(
  { state, stateUntil, suspended }: Pick<MailboxResolved, 'state' | 'stateUntil' | 'suspended'>,
  now: Date,
): StateInEffect {
  if (stateUntil === undefined) return { state, mail: suspended.mail };
  const until = new Date(stateUntil);
  return until.getTime() > now.getTime()
    ? { state, until, mail: suspended.mail }
    : { state: 'Active', ended: { state, at: until }, mail: suspended.mail };
}

/** For `status.detail`: `Suspended until 2026-12-31 18:00 UTC`. */
export function stateDetail({ state, until, ended, mail }: StateInEffect): string {
  const refused = state === 'Suspended' && mail === 'Refuse' ? ' (mail refused)' : '';
  if (ended !== undefined) return `Active (${ended.state} ended ${minute(ended.at)})`;
  return `${state}${refused}${until === undefined ? '' : ` until ${minute(until)}`}`;
}

/** For the message of Ready, after what arrives: what is otherwise than in an Active mailbox. */
export function stateMessage(effect: StateInEffect): string {
  const { state, until, ended, mail } = effect;
  if (ended !== undefined) {
    return `Mail arrives. spec.state ${ended.state} ended at ${minute(ended.at)} (spec.stateUntil) and has no effect any more: remove both, or give a later time.`;
  }
  if (state === 'Active') return 'Mail arrives.';
  return `${state}${until === undefined ? '' : ` until ${minute(until)}`}: ${meaning(state, mail)}.`;
}

/**
 * The Event for a change of the state in effect; undefined when it is as it was said to be.
 *
 * @param before `status.state`; undefined for a mailbox that is looked at for the first time
 * @param author who wrote the state, as far as the API server knows: a field manager such as kubectl-edit
 */
export function stateEvent(
  before: MailboxState | undefined,
  effect: StateInEffect,
  author: string | undefined,
): EventOptions | undefined {
  const { state, until, ended, mail } = effect;
  const was = before ?? 'Active';
  if (ended !== undefined && was === ended.state) {
    const message = `${ended.state} ended at ${minute(ended.at)}, as spec.stateUntil says: Active again.`;
    return event('Normal', 'StateEnded', message);
  }
  if (state === was) return undefined;
  const by = author === undefined ? '' : ` by ${author}`;
  const end = until === undefined ? '' : ` until ${minute(until)}`;
  const cut = state === 'Active' ? '' : ' Open sessions that this forbids are cut.';
  const message = `${was} → ${state}${end}, set${by}: ${meaning(state, mail)}.${cut}`;
  return event(SANCTIONS.has(state) ? 'Warning' : 'Normal', 'StateChanged', message);
}

/** The Event for a state whose time was over when it was declared. */
export function lateEvent(effect: StateInEffect): EventOptions | undefined {
  if (effect.ended === undefined) return undefined;
  const { state, at } = effect.ended;
  const message = `spec.stateUntil ${minute(at)} is in the past: state ${state} has no effect. Give a later time, or remove stateUntil.`;
  return event('Warning', 'StateUntilPassed', message);
}

const SANCTIONS: ReadonlySet<MailboxState> = new Set(['SendBlocked', 'LoginOff', 'Suspended']);

function event(type: EventOptions['type'], reason: string, message: string): EventOptions {
  return { type, reason, message };
}

function meaning(state: MailboxState, mail: 'Accept' | 'Refuse'): string {
  switch (state) {
    case 'Active':
      return 'everything is allowed';
    case 'ReceiveOnly':
      return 'mail arrives and can be read, sending is refused';
    case 'SendBlocked':
      return 'mail arrives and can be read, sending is refused as a sanction';
    case 'LoginOff':
      return 'mail arrives, nobody can log in';
    case 'Suspended':
      return `nobody can log in or send as it, mail is ${mail === 'Accept' ? 'accepted' : 'refused'}`;
  }
}

/** `2026-12-31 18:00 UTC`, with seconds only where there are some. */
export function minute(time: Date): string {
  const text = time.toISOString();
  return `${text.slice(0, 10)} ${time.getUTCSeconds() === 0 ? text.slice(11, 16) : text.slice(11, 19)} UTC`;
}

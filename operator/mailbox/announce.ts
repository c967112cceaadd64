import type { Mailbox } from '../../crds/mailbox.js';
import type { EventOptions } from '../runtime/events.js';
import { stateAuthor } from './author.js';
import type { MailboxDependencies } from './dependencies.js';
import { lateEvent, type StateInEffect, stateEvent } from './state.js';
import type { Verdict } from './status.js';

/** Event reasons are no conditions' reasons. */
const SENDING_ALLOWED = 'SendingAllowed';

type Announcer = Pick<MailboxDependencies, 'client' | 'events'>;

/** An Event when another state is in effect than was said before, or when one is declared that is over already. */
export async function announceState(deps: Announcer, object: Mailbox, effect: StateInEffect): Promise<void> {
  const before = object.status?.state;
  const changed = stateEvent(before, effect, undefined);
  if (changed !== undefined) {
    const author = effect.ended === undefined ? await stateAuthor(deps.client, object) : undefined;
    deps.events.emit(object, stateEvent(before, effect, author) ?? changed);
  }
  const isNew = object.status?.observedGeneration !== object.metadata.generation;
  const late = effect.ended?.state === before ? undefined : lateEvent(effect);
  if (isNew && late !== undefined) deps.events.emit(object, late);
}

/** Events when the gatekeeper has stopped an account, or lets it send again. */
export function announceSending(deps: Announcer, object: Mailbox, sending: Verdict | undefined): void {
  const before = object.status?.conditions?.find(({ type }) => type === 'Sending');
  const event = sendingEvent(before, sending);
  if (event !== undefined) deps.events.emit(object, event);
}

function sendingEvent(
  before: Pick<Verdict, 'status' | 'reason' | 'message'> | undefined,
  now: Verdict | undefined,
): EventOptions | undefined {
  if (now !== undefined && (before?.reason !== now.reason || before.message !== now.message)) {
    const reason = now.status === 'False' ? 'SendingThrottled' : 'SendingReported';
    return { type: 'Warning', reason, message: now.message };
  }
  return before?.status === 'False' && now?.status !== 'False'
    ? { type: 'Normal', reason: SENDING_ALLOWED, message: 'It may send again.' }
    : undefined;
}

import type { Mailbox } from '../../crds/mailbox.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import type { EventOptions } from '../runtime/events.js';
import { stateAuthor } from './author.js';
import type { MailboxDependencies } from './dependencies.js';
import { lateEvent, type StateInEffect, stateEvent } from './state.js';

/** Event reasons are no conditions' reasons. */
const SENDING_ALLOWED = 'SendingAllowed';
const MAILBOX_FULL = 'MailboxFull';
const MAILBOX_HAS_ROOM = 'MailboxHasRoom';

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

/** Events when the gatekeeper has stopped an account or lets it send again, when a mailbox is full or has room again. */
export function announceConduct(deps: Announcer, object: Mailbox, conditions: readonly ConditionUpdate[]): void {
  const of = (all: readonly ConditionUpdate[] | undefined, type: string) =>
    all?.find((condition) => condition.type === type);
  const before = object.status?.conditions;
  const events = [
    sendingEvent(of(before, 'Sending'), of(conditions, 'Sending')),
    fullEvent(of(before, 'Receiving'), of(conditions, 'Receiving')),
  ];
  for (const event of events) if (event !== undefined) deps.events.emit(object, event);
}

function fullEvent(before: ConditionUpdate | undefined, now: ConditionUpdate | undefined): EventOptions | undefined {
  if (before === undefined && now !== undefined) return { type: 'Warning', reason: MAILBOX_FULL, message: now.message };
  return before !== undefined && now === undefined
    ? { type: 'Normal', reason: MAILBOX_HAS_ROOM, message: 'There is room again: mail arrives.' }
    : undefined;
}

function sendingEvent(before: ConditionUpdate | undefined, now: ConditionUpdate | undefined): EventOptions | undefined {
  if (now !== undefined && (before?.reason !== now.reason || before.message !== now.message)) {
    const reason = now.status === 'False' ? 'SendingThrottled' : 'SendingReported';
    return { type: 'Warning', reason, message: now.message };
  }
  return before?.status === 'False' && now?.status !== 'False'
    ? { type: 'Normal', reason: SENDING_ALLOWED, message: 'It may send again.' }
    : undefined;
}

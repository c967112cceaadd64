import type { Mailbox } from '../../crds/mailbox.js';
import type { Incident } from '../directory/rows.js';
import type { AttachedSystem } from '../systems.js';
import type { MailboxDependencies } from './dependencies.js';
import type { Plan } from './report.js';

/**
 * Carries the time (RFC 3339) until which a person has looked at what an account did: incidents that began before are over.
 * A time and no switch, so that it may stay in Git and says nothing of what comes later.
 */
export const pardonAnnotation = 'posthorn.dev/pardoned';

/** Until when incidents are forgiven; undefined when nobody said so, or not a time. */
export function pardonedUntil({ metadata }: Pick<Mailbox, 'metadata'>): Date | undefined {
  const time = new Date(metadata.annotations?.[pardonAnnotation] ?? '');
  return Number.isNaN(time.getTime()) ? undefined : time;
}

/** Whether a person has said something else than before. */
export function isPardon(object: Mailbox, previous: Mailbox | undefined): boolean {
  return pardonedUntil(object)?.getTime() !== (previous && pardonedUntil(previous)?.getTime());
}

/** Ends the incidents that were forgiven, in one statement for all of a batch. */
export async function pardon(
  deps: Pick<MailboxDependencies, 'reports'>,
  { key, directory }: AttachedSystem,
  plans: readonly Pick<Plan, 'object' | 'desired'>[],
): Promise<void> {
  const known = deps.reports.of(key).incidents;
  if (known.size === 0) return;
  const settled = plans.flatMap(({ object, desired }) => forgiven(object, known.get(desired?.uuid ?? '')));
  if (settled.length === 0) return;
  await directory.clearIncidents(settled.map(({ uuid, kind }) => ({ uuid, kind })));
  deps.reports.forget(key, settled);
}

function forgiven(object: Mailbox, incidents: readonly Incident[] = []): Incident[] {
  const until = pardonedUntil(object);
  return until === undefined ? [] : incidents.filter(({ since }) => since <= until);
}

/** Whether an account behaves as if somebody else had its password. Pure. */

/** What is known of an account's sending. */
export interface Conduct {
  /** The filter's verdicts on its last messages. */
  readonly verdicts?: { readonly spam: number; readonly of: number };
  /** Recipients tried in the last hour, and how many of them are unknown here. */
  readonly unknown?: { readonly unknown: number; readonly tried: number };
  /** Recipients today, and on each of its earlier days (those without any left out). */
  readonly usual?: { readonly today: number; readonly earlier: readonly number[] };
}

/** From when on it is too much. The configuration has them, with these defaults. */
export interface ConductLimits {
  /** Spam among the last `messages`. */
  readonly spam: number;
  readonly messages: number;
  /** Unknown recipients in an hour; and they are at least half of those tried. */
  readonly unknownRecipients: number;
  /** Times the busiest of its last 14 days; never less than `surgeAbove` recipients. */
  readonly surgeFactor: number;
  readonly surgeAbove: number;
  /** For how long it is paused. */
  readonly pauseMinutes: number;
}

export interface Incident {
  readonly kind: 'Spam' | 'UnknownRecipients' | 'Surge';
  /** For people: numbers, and what they mean. */
  readonly detail: string;
}

/** The first thing that is wrong. */
export function judgeConduct(conduct: Conduct, limits: ConductLimits): Incident | undefined {
  return spam(conduct, limits) ?? unknownRecipients(conduct, limits) ?? surge(conduct, limits);
}

function spam({ verdicts }: Conduct, limits: ConductLimits): Incident | undefined {
  if (verdicts === undefined || verdicts.spam < limits.spam) return undefined;
  return { kind: 'Spam', detail: `The filter took ${verdicts.spam} of the last ${verdicts.of} messages for spam.` };
}

function unknownRecipients({ unknown }: Conduct, limits: ConductLimits): Incident | undefined {
  if (unknown === undefined || unknown.unknown < limits.unknownRecipients) return undefined;
  if (unknown.unknown * 2 < unknown.tried) return undefined;
  const detail = `${unknown.unknown} of ${unknown.tried} recipients within an hour do not exist here.`;
  return { kind: 'UnknownRecipients', detail };
}

function surge({ usual }: Conduct, limits: ConductLimits): Incident | undefined {
  if (usual === undefined) return undefined;
  const busiest = Math.max(0, ...usual.earlier);
  const most = Math.max(limits.surgeAbove, busiest * limits.surgeFactor);
  if (usual.today <= most) return undefined;
  const detail = `${usual.today} recipients today; on the busiest of its last 14 days there were ${busiest}.`;
  return { kind: 'Surge', detail };
}

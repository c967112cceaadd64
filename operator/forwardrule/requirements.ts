/**
 * What senders must have proved for an address. The mx asks it of the address that a message was sent to, once; what a forward
 * hands on is not asked again. So nothing may be handed to somebody who asks for more. Pure.
 */
import type { ForwardRuleResolved } from '../../crds/forwardrule.js';
import type { Mailbox } from '../../crds/mailbox.js';
import type { RequireRow } from '../directory/rows.js';
import { claimedAddresses, resolvedSpec } from '../mailbox/desired.js';
import type { DesiredForward } from './forward.js';

/** What decides about the mail of a forward: each of these must hold. */
export type Required = readonly RequireRow[];

/** The first of what is asked for there that mail does not meet by what is asked for here. */
export function missingRequirement(here: Required, there: Required): RequireRow | undefined {
  return there.find((wanted) => !here.some((given) => isAtLeast(given, wanted)));
}

/** `spec.require` as the directory has it. */
export function requireRow({ require }: Pick<ForwardRuleResolved, 'require'>): RequireRow | null {
  return require === undefined ? null : { from: require.dkimAlignedFrom, otherwise: require.otherwise };
}

/** What a mailbox asks for. One that can't be understood may ask for anything: nothing meets it. */
export function requiredByMailbox(box: Mailbox | undefined): Required {
  if (box?.spec.require === undefined) return [];
  const spec = resolvedSpec(box);
  return [spec === undefined ? { from: [], otherwise: 'Reject' } : (requireRow(spec) as RequireRow)];
}

/**
 * What is asked of the mail of a forward. If it has the address of a mailbox that keeps a copy, the directory asks for what
 * both want.
 *
 * @param keeper the mailbox that keeps a copy
 */
export function requiredByForward(
  { address, require }: Pick<DesiredForward, 'address' | 'require'>,
  keeper: Mailbox | undefined,
): Required {
  const isOwn = keeper !== undefined && claimedAddresses(keeper).includes(address);
  return [...(require === null ? [] : [require]), ...(isOwn ? requiredByMailbox(keeper) : [])];
}

function isAtLeast(given: RequireRow, wanted: RequireRow): boolean {
  if (given.otherwise === 'Tag' && wanted.otherwise === 'Reject') return false;
  return given.from.every((domain) => wanted.from.some((other) => domain === other || domain.endsWith(`.${other}`)));
}

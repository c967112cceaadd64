import type { Mailbox } from '../../crds/mailbox.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import type { MailboxDependencies } from './dependencies.js';
import { type DesiredMailbox, resolvedSpec } from './desired.js';

/** What is known of a Mailbox that is to be a member. */
export interface MemberView {
  object: Mailbox;
  /** `namespace/name` of its MailSystem. */
  system: string | undefined;
}

/** `membersVerdict` as the caches show the members. */
export function membersOf(
  { mailboxes, hosting }: Pick<MailboxDependencies, 'mailboxes' | 'hosting'>,
  object: Mailbox,
  desired: DesiredMailbox | undefined,
  shard: string | undefined,
): ConditionUpdate | undefined {
  const { namespace = '' } = object.metadata;
  return membersVerdict(object, desired, shard, (name) => {
    const member = mailboxes.cache.get(`${namespace}/${name}`);
    if (member === undefined) return undefined;
    const domain = resolvedSpec(member)?.address.split('@')[1] ?? '';
    return { object: member, system: hosting(namespace, domain)?.system };
  });
}

type Look = (name: string) => MemberView | undefined;

/** Names of the Mailboxes that are members of this one. */
export function memberNames({ spec }: Mailbox): string[] {
  return (spec.members ?? []).map(({ mailbox }) => mailbox);
}

/**
 * Condition MembersReady of a shared mailbox; undefined for one that isn't shared. Members that can't have access don't
 * keep the others from theirs.
 *
 * @param shard where this mailbox is stored; undefined as long as nobody knows
 */
export function membersVerdict(
  object: Mailbox,
  desired: Pick<DesiredMailbox, 'system'> | undefined,
  shard: string | undefined,
  look: Look,
): ConditionUpdate | undefined {
  const names = memberNames(object);
  if (names.length === 0) return undefined;
  const type = 'MembersReady';
  const problems = names.flatMap((name) => problemOf(name, object, desired?.system, shard, look) ?? []);
  const first = problems[0];
  if (first !== undefined)
    return { type, status: 'False', reason: first.reason, message: problems.map((p) => p.message).join(' ') };
  const message = names.length === 1 ? 'The member has access.' : `All ${names.length} members have access.`;
  return { type, status: 'True', reason: 'Shared', message };
}

type MemberProblem = Pick<ConditionUpdate, 'reason' | 'message'>;

function problemOf(
  name: string,
  object: Mailbox,
  system: string | undefined,
  shard: string | undefined,
  look: Look,
): MemberProblem | undefined {
  const { namespace = '', name: own } = object.metadata;
  if (name === own)
    return { reason: 'MemberIsItself', message: `${name} is this Mailbox itself: remove it from spec.members.` };
  const member = look(name);
  if (member === undefined) {
    const message = `There is no Mailbox ${namespace}/${name}: create it, or remove it from spec.members.`;
    return { reason: 'MemberNotFound', message };
  }
  if (system !== undefined && member.system !== undefined && member.system !== system) {
    const message = `Mailbox ${name} belongs to MailSystem ${member.system}, this one to ${system}: members must be in the same.`;
    return { reason: 'MemberElsewhere', message };
  }
  const at = member.object.status?.shard;
  if (shard !== undefined && at !== undefined && at !== shard) {
    const message = `Mailbox ${name} is on shard ${at}, this one on ${shard}: it can send as this one if declared, but not read it. A MailboxMove brings them together.`;
    return { reason: 'MemberElsewhere', message };
  }
  return undefined;
}

import { GROUP, KINDS, VERSION } from '../crds/group.js';
import type { ResourceType } from './runtime/object.js';

function typeOf({ kind, plural }: { kind: string; plural: string }): ResourceType {
  return { group: GROUP, version: VERSION, kind, plural, namespaced: true };
}

/** Our kinds, as the runtime names them. */
export const mailSystemType = typeOf(KINDS.MailSystem);
export const mailDomainType = typeOf(KINDS.MailDomain);
export const mailboxType = typeOf(KINDS.Mailbox);
export const forwardRuleType = typeOf(KINDS.ForwardRule);
export const mailboxMoveType = typeOf(KINDS.MailboxMove);

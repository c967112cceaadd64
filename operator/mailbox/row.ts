import type { Mailbox } from '../../crds/mailbox.js';
import type { MailboxRow } from '../directory/rows.js';
import type { AttachedSystem } from '../systems.js';
import type { DesiredMailbox } from './desired.js';

/** What a row says of a Mailbox, but for its shard and its passwords. */
export type DeclaredRow = Omit<MailboxRow, 'shard' | 'createdAt' | 'adopt' | 'password' | 'appPasswords'>;

/**
 * The row of a Mailbox: what is compared with the directory's inventory (`contentHash`), and written when it differs.
 * A mailbox without a Secret has its password checked by LDAP, if the system has an LDAP server.
 */
export function declaredRow(
  { metadata, spec }: Mailbox,
  { system: _, ...desired }: DesiredMailbox,
  { spec: system }: Pick<AttachedSystem, 'spec'>,
): DeclaredRow {
  const { uid = '', namespace = '', name } = metadata;
  const byLdap = system.ldap !== undefined && spec.passwordSecretRef === undefined;
  return { ...desired, ldapUser: byLdap ? desired.address : null, object: { uid, namespace, name } };
}

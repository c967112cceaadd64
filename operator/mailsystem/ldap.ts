import type { MailSystemResolved } from '../../crds/mailsystem.js';
import type { Client } from '../runtime/client.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { builtin } from '../runtime/object.js';
import type { Secret } from '../signing/secret.js';

/** A Secret that the gatekeepers need, and what has to be in it. */
interface Need {
  field: string;
  name: string;
  keys: readonly string[];
}

/**
 * Condition LDAPReady: whether the Secrets for asking the LDAP server are there. Whether it answers is the gatekeepers' to
 * find out. Nothing for a system without LDAP.
 */
export async function ldapVerdict(
  client: Client,
  namespace: string,
  { ldap }: Pick<MailSystemResolved, 'ldap'>,
): Promise<ConditionUpdate[]> {
  if (ldap === undefined) return [];
  const problems = await Promise.all(needs(ldap).map((need) => problemWith(client, namespace, need)));
  const found = problems.filter((problem) => problem !== undefined);
  if (found[0] !== undefined) {
    const message = `${found.map((problem) => problem.message).join(' ')} Until then nobody can log in whose password LDAP checks.`;
    return [{ type: 'LDAPReady', status: 'False', reason: found[0].reason, message }];
  }
  const message = `${ldap.url} checks the passwords of Mailboxes without a passwordSecretRef.`;
  return [{ type: 'LDAPReady', status: 'True', reason: 'Configured', message }];
}

function needs({ bindSecretRef, caSecretRef }: NonNullable<MailSystemResolved['ldap']>): Need[] {
  const bind = { field: 'spec.ldap.bindSecretRef', keys: ['username', 'password'] };
  return [
    ...(bindSecretRef === undefined ? [] : [{ ...bind, name: bindSecretRef.name }]),
    ...(caSecretRef === undefined
      ? []
      : [{ field: 'spec.ldap.caSecretRef', name: caSecretRef.name, keys: [caSecretRef.key] }]),
  ];
}

async function problemWith(
  client: Client,
  namespace: string,
  { field, name, keys }: Need,
): Promise<{ reason: string; message: string } | undefined> {
  const secret = await client.find<Secret>(builtin.secret, { namespace, name });
  if (secret === undefined)
    return {
      reason: 'SecretNotFound',
      message: `There is no Secret ${namespace}/${name}: create it, or correct ${field}.`,
    };
  const missing = keys.filter((key) => (secret.data?.[key] ?? '') === '');
  if (missing.length === 0) return undefined;
  return {
    reason: 'KeyNotFound',
    message: `Secret ${namespace}/${name} (${field}) has no ${missing.join(' and no ')}.`,
  };
}

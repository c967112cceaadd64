import { randomBytes } from 'node:crypto';
import { names } from '../../cdk8s/names.js';
import { REDIS_USER, REDIS_USERS } from '../../cdk8s/volumes.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import type { Client } from '../runtime/client.js';
import { builtin } from '../runtime/object.js';
import type { RedisUser } from '../signing/redis.js';
import type { Secret } from '../signing/secret.js';
import { componentLabel, type PodObject } from './observe.js';
import { createSecret } from './secrets.js';

const FIELD_MANAGER = 'posthorn-mailsystem';
const OPERATOR = 'operator';
/** Its presence tells Redis to let nobody in without a password. */
const CLOSED = 'closed';

/**
 * Makes the passwords by which Redis tells pods apart (images/redis/bin/write-users). They never change: pods read theirs
 * when they start. Once every pod that comes to Redis shows one, those without are let in no more; a system that an operator
 * of the release before has made has pods without until they are replaced.
 */
export async function ensureRedisUsers(
  client: Client,
  { metadata }: MailSystem,
  pods: readonly PodObject[],
): Promise<RedisUser> {
  const ref = { namespace: metadata.namespace ?? '', name: names(metadata.name).redisUsers };
  const present = await client.find<Secret>(builtin.secret, ref);
  const more = Object.fromEntries(
    missingFields(Object.keys(present?.data ?? {}), pods).map((field) => [field, word()]),
  );
  if (present === undefined)
    await createSecret({ client, namespace: ref.namespace, system: metadata.name }, ref.name, 'Opaque', more);
  else if (Object.keys(more).length > 0) {
    await client.patchMerge(builtin.secret, ref, { data: more }, { fieldManager: FIELD_MANAGER });
  }
  const password = { ...present?.data, ...more }[OPERATOR] ?? '';
  return { username: OPERATOR, password: Buffer.from(password, 'base64').toString('utf8') };
}

const word = (): string => Buffer.from(randomBytes(32).toString('base64url')).toString('base64');

/** What the Secret is to get besides what it has. */
export function missingFields(current: readonly string[], pods: readonly PodObject[]): string[] {
  const users = [OPERATOR, ...REDIS_USERS].filter((user) => !current.includes(user));
  const close = users.length === 0 && !current.includes(CLOSED) && allShowPasswords(pods);
  return close ? [CLOSED] : users;
}

/** Is there a pod of each component that comes to Redis, and none without a password? */
function allShowPasswords(pods: readonly PodObject[]): boolean {
  return REDIS_USERS.every((user) => {
    const mine = pods.filter(({ metadata }) => metadata.labels?.[componentLabel] === user);
    return mine.length > 0 && mine.every(({ spec }) => spec?.volumes?.some(({ name }) => name === REDIS_USER.volume));
  });
}

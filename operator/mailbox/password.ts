import type { Mailbox } from '../../crds/mailbox.js';
import { PasswordUnusable, passwordSource, preparePassword } from '../directory/password.js';
import type { PasswordRow } from '../directory/rows.js';
import type { CacheReader } from '../runtime/cache.js';
import type { Client } from '../runtime/client.js';
import { builtin, type KubeObject, refKey } from '../runtime/object.js';
import type { PasswordProblem } from './status.js';

interface Secret extends KubeObject {
  data?: Record<string, string>;
}

/** A password that a directory has. */
export interface KnownPassword {
  /** Of the Mailbox that it was set for: one that adopts the mail doesn't get its predecessor's password. */
  objectUid: string;
  /** Which version of which Secret; null: none. */
  source: string | null;
}

/** What is to be done about a mailbox's password. */
export type PasswordPlan =
  /** Already what the Secret says. */
  | { kind: 'current' }
  /** None is declared: a declared one that was there goes. */
  | { kind: 'none' }
  | { kind: 'new'; password: PasswordRow }
  /** It can't be had: the one in effect stays. */
  | { kind: 'problem'; problem: PasswordProblem }
  /** There is a Secret, and no directory yet to set its password in. */
  | { kind: 'unchecked' };

export interface PasswordResolver {
  /** @param known the password in effect, as the directory has it */
  plan(mailbox: Mailbox, known: KnownPassword | undefined): Promise<PasswordPlan>;
  /** What can be said without reading and hashing. */
  peek(mailbox: Mailbox): PasswordPlan;
  /** Whether a password from this source is another than the declared one. */
  isStale(mailbox: Mailbox, source: string | null): boolean;
}

/** Hashes are shared by mailboxes that name the same version of the same Secret: so many are remembered. */
const REMEMBERED = 256;

/**
 * Finds declared passwords. Secrets are known by their metadata only (`secrets`, a metadata-only cache); one is read
 * when its version differs from the one in effect, and forgotten again.
 */
export function createPasswordResolver(client: Client, secrets: CacheReader<KubeObject>): PasswordResolver {
  const hashes = new Map<string, Promise<PasswordRow | PasswordProblem>>();

  async function read(namespace: string, name: string, key: string): Promise<PasswordRow | PasswordProblem> {
    const secret = await client.find<Secret>(builtin.secret, { namespace, name });
    const encoded = secret?.data?.[key];
    if (secret === undefined) return notFound(namespace, name);
    if (encoded === undefined) return keyNotFound(secret, key);
    const source = passwordSource({ ...versionOf(secret), key });
    try {
      return { hash: await preparePassword(Buffer.from(encoded, 'base64')), source };
    } catch (error) {
      if (!(error instanceof PasswordUnusable)) throw error;
      return { reason: 'InvalidPassword', message: `Secret ${namespace}/${name}, key ${key}: ${error.message}` };
    }
  }

  function remember(
    source: string,
    make: () => Promise<PasswordRow | PasswordProblem>,
  ): Promise<PasswordRow | PasswordProblem> {
    const known = hashes.get(source);
    if (known !== undefined) return known;
    const made = make();
    hashes.set(source, made);
    made.catch(() => hashes.delete(source));
    const oldest = hashes.keys().next().value;
    if (hashes.size > REMEMBERED && oldest !== undefined) hashes.delete(oldest);
    return made;
  }

  return {
    plan: async (mailbox, known) => {
      const wanted = declared(mailbox, secrets);
      if ('kind' in wanted) return wanted;
      const { namespace, name, key, source } = wanted;
      if (source === known?.source && known.objectUid === mailbox.metadata.uid) return { kind: 'current' };
      const result = await remember(source, () => read(namespace, name, key));
      return 'hash' in result ? { kind: 'new', password: result } : { kind: 'problem', problem: result };
    },
    peek: (mailbox) => {
      const wanted = declared(mailbox, secrets);
      return 'kind' in wanted ? wanted : { kind: 'unchecked' };
    },
    isStale: (mailbox, source) => {
      const wanted = declared(mailbox, secrets);
      if ('kind' in wanted) return wanted.kind === 'none' && source !== null;
      return wanted.source !== source;
    },
  };
}

interface Declared {
  namespace: string;
  name: string;
  key: string;
  source: string;
}

/** Which version of which Secret a Mailbox takes its password from, or why from none. */
function declared(mailbox: Mailbox, secrets: CacheReader<KubeObject>): Declared | PasswordPlan {
  const ref = mailbox.spec.passwordSecretRef;
  if (ref === undefined) return { kind: 'none' };
  const namespace = mailbox.metadata.namespace ?? '';
  const { name, key = 'password' } = ref;
  const metadata = secrets.get(refKey({ namespace, name }))?.metadata;
  if (metadata === undefined) return { kind: 'problem', problem: notFound(namespace, name) };
  return { namespace, name, key, source: passwordSource({ ...versionOf({ metadata }), key }) };
}

function versionOf({ metadata }: Pick<KubeObject, 'metadata'>): { uid: string; resourceVersion: string } {
  return { uid: metadata.uid ?? '', resourceVersion: metadata.resourceVersion ?? '' };
}

function keyNotFound({ metadata, data = {} }: Secret, key: string): PasswordProblem {
  const keys = Object.keys(data);
  const has = keys.length === 0 ? 'it is empty' : `it has ${keys.join(', ')}`;
  const message = `Secret ${metadata.namespace}/${metadata.name} has no key ${key} (${has}): add it, or name another in spec.passwordSecretRef.key.`;
  return { reason: 'KeyNotFound', message };
}

function notFound(namespace: string, name: string): PasswordProblem {
  return {
    reason: 'SecretNotFound',
    message: `There is no Secret ${namespace}/${name}: create it, or correct spec.passwordSecretRef. A password that was set before stays in effect.`,
  };
}

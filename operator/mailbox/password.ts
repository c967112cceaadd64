import type { Mailbox } from '../../crds/mailbox.js';
import { PasswordUnusable, passwordSource, prepareAppPassword, preparePassword } from '../directory/password.js';
import type { AppPasswordRow, PasswordRow } from '../directory/rows.js';
import type { CacheReader } from '../runtime/cache.js';
import type { Client } from '../runtime/client.js';
import { builtin, type KubeObject, refKey } from '../runtime/object.js';
import type { PasswordProblem } from './status.js';

interface Secret extends KubeObject {
  data?: Record<string, string>;
}

/** The passwords that a directory has of a mailbox. */
export interface KnownPassword {
  /** Of the Mailbox that they were set for: one that adopts the mail doesn't get its predecessor's passwords. */
  objectUid: string;
  /** Which version of which Secret; null: none. */
  source: string | null;
  /** The same of app passwords, by name. */
  apps: Readonly<Record<string, string>>;
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

/** What is to be done about a mailbox's app passwords. */
export interface AppPasswordPlan {
  /** All that there should be; one that can't be had stays as it is. undefined: not looked at. */
  rows: AppPasswordRow[] | undefined;
  problems: readonly PasswordProblem[];
}

export interface PasswordResolver {
  /** @param known the password in effect, as the directory has it */
  plan(mailbox: Mailbox, known: KnownPassword | undefined): Promise<PasswordPlan>;
  planApps(mailbox: Mailbox, known: KnownPassword | undefined): Promise<AppPasswordPlan>;
  /** What can be said without reading and hashing. */
  peek(mailbox: Mailbox): PasswordPlan;
  /** Whether the passwords in effect are others than the declared ones. */
  isStale(mailbox: Mailbox, known: Pick<KnownPassword, 'source' | 'apps'>): boolean;
}

/** Names of all Secrets that a Mailbox takes passwords from. */
export function secretNames({ spec }: Mailbox): string[] {
  const refs = [spec.passwordSecretRef, ...(spec.appPasswords ?? []).map((app) => app.secretRef)];
  return [...new Set(refs.flatMap((ref) => ref?.name ?? []))];
}

type AppPassword = NonNullable<Mailbox['spec']['appPasswords']>[number];

interface AppPlan {
  row?: AppPasswordRow;
  problem?: PasswordProblem;
}

type Prepare = (value: Uint8Array) => Promise<string>;
type Reading = PasswordRow | PasswordProblem;

/** Hashes are shared by mailboxes that name the same version of the same Secret: so many are remembered. */
const REMEMBERED = 256;

/**
 * Finds declared passwords. Secrets are known by their metadata only (`secrets`, a metadata-only cache); one is read
 * when its version differs from the one in effect, and forgotten again.
 */
export function createPasswordResolver(client: Client, secrets: CacheReader<KubeObject>): PasswordResolver {
  const readMain = reader(client, preparePassword);
  const readApp = reader(client, prepareAppPassword);

  async function planApp(mailbox: Mailbox, app: AppPassword, before: string | undefined): Promise<AppPlan> {
    const kept: AppPlan = before === undefined ? {} : { row: { ...appRow(app), source: before } };
    const wanted = declared(mailbox, app.secretRef, `spec.appPasswords[${app.name}].secretRef`, secrets);
    if ('source' in wanted && wanted.source === before) return kept;
    const result = 'reason' in wanted ? wanted : await readApp(wanted);
    return 'reason' in result ? { ...kept, problem: result } : { row: { ...appRow(app), ...result } };
  }

  return {
    plan: async (mailbox, known) => {
      const ref = mailbox.spec.passwordSecretRef;
      if (ref === undefined) return { kind: 'none' };
      const wanted = declared(mailbox, ref, 'spec.passwordSecretRef', secrets);
      if ('reason' in wanted) return { kind: 'problem', problem: wanted };
      if (wanted.source === known?.source && known.objectUid === mailbox.metadata.uid) return { kind: 'current' };
      const result = await readMain(wanted);
      return 'hash' in result ? { kind: 'new', password: result } : { kind: 'problem', problem: result };
    },
    planApps: async (mailbox, known) => {
      const inEffect = known?.objectUid === mailbox.metadata.uid ? known?.apps : undefined;
      const plans = await Promise.all(
        (mailbox.spec.appPasswords ?? []).map((app) => planApp(mailbox, app, inEffect?.[app.name])),
      );
      return {
        rows: plans.flatMap(({ row }) => row ?? []).sort((a, b) => (a.name < b.name ? -1 : 1)),
        problems: plans.flatMap(({ problem }) => problem ?? []),
      };
    },
    peek: (mailbox) => {
      const ref = mailbox.spec.passwordSecretRef;
      if (ref === undefined) return { kind: 'none' };
      const wanted = declared(mailbox, ref, 'spec.passwordSecretRef', secrets);
      return 'reason' in wanted ? { kind: 'problem', problem: wanted } : { kind: 'unchecked' };
    },
    isStale: (mailbox, known) => isStale(mailbox, known, secrets),
  };
}

/** What the directory says of an app password but for the secret and where it is from. */
export function appRow({ name, protocols = [] }: AppPassword): Pick<AppPasswordRow, 'name' | 'protocols'> {
  return { name, protocols: protocols.length === 0 ? null : [...protocols].sort() };
}

function isStale(
  mailbox: Mailbox,
  { source, apps }: Pick<KnownPassword, 'source' | 'apps'>,
  secrets: CacheReader<KubeObject>,
): boolean {
  const { passwordSecretRef: ref, appPasswords = [] } = mailbox.spec;
  const stale = (wanted: Declared | PasswordProblem, has: string | undefined | null) =>
    'source' in wanted && wanted.source !== has;
  if (ref === undefined ? source !== null : stale(declared(mailbox, ref, '', secrets), source)) return true;
  const names = new Set(appPasswords.map(({ name }) => name));
  if (Object.keys(apps).some((name) => !names.has(name))) return true;
  return appPasswords.some(({ name, secretRef }) => stale(declared(mailbox, secretRef, '', secrets), apps[name]));
}

interface Declared {
  namespace: string;
  name: string;
  key: string;
  source: string;
  /** Of the spec, for messages. */
  field: string;
}

/** Which version of which Secret a password is taken from, or why from none. */
function declared(
  mailbox: Mailbox,
  { name, key = 'password' }: { name: string; key?: string | undefined },
  field: string,
  secrets: CacheReader<KubeObject>,
): Declared | PasswordProblem {
  const namespace = mailbox.metadata.namespace ?? '';
  const metadata = secrets.get(refKey({ namespace, name }))?.metadata;
  if (metadata === undefined) return notFound(namespace, name, field);
  return { namespace, name, key, field, source: passwordSource({ ...versionOf({ metadata }), key }) };
}

/** Reads and hashes; what several ask for is read once. */
function reader(client: Client, prepare: Prepare): (wanted: Declared) => Promise<Reading> {
  const hashes = new Map<string, Promise<Reading>>();

  async function read({ namespace, name, key, field }: Declared): Promise<Reading> {
    const secret = await client.find<Secret>(builtin.secret, { namespace, name });
    const encoded = secret?.data?.[key];
    if (secret === undefined) return notFound(namespace, name, field);
    if (encoded === undefined) return keyNotFound(secret, key, field);
    const source = passwordSource({ ...versionOf(secret), key });
    try {
      return { hash: await prepare(Buffer.from(encoded, 'base64')), source };
    } catch (error) {
      if (!(error instanceof PasswordUnusable)) throw error;
      return { reason: 'InvalidPassword', message: `Secret ${namespace}/${name}, key ${key}: ${error.message}` };
    }
  }

  return (wanted) => {
    const known = hashes.get(wanted.source);
    if (known !== undefined) return known;
    const made = read(wanted);
    hashes.set(wanted.source, made);
    made.catch(() => hashes.delete(wanted.source));
    const oldest = hashes.keys().next().value;
    if (hashes.size > REMEMBERED && oldest !== undefined) hashes.delete(oldest);
    return made;
  };
}

function versionOf({ metadata }: Pick<KubeObject, 'metadata'>): { uid: string; resourceVersion: string } {
  return { uid: metadata.uid ?? '', resourceVersion: metadata.resourceVersion ?? '' };
}

function keyNotFound({ metadata, data = {} }: Secret, key: string, field: string): PasswordProblem {
  const keys = Object.keys(data);
  const has = keys.length === 0 ? 'it is empty' : `it has ${keys.join(', ')}`;
  const message = `Secret ${metadata.namespace}/${metadata.name} has no key ${key} (${has}): add it, or name another in ${field}.key.`;
  return { reason: 'KeyNotFound', message };
}

function notFound(namespace: string, name: string, field: string): PasswordProblem {
  return {
    reason: 'SecretNotFound',
    message: `There is no Secret ${namespace}/${name}: create it, or correct ${field}. A password that was set before stays in effect.`,
  };
}

/** Passwords that an LDAP server checks (RFC 4511). Fails closed: whatever goes wrong is `unavailable`. */
import { connect as connectTcp, isIP } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { Client, InvalidCredentialsError, SizeLimitExceededError } from 'ldapts';
import { limiter } from '../../../operator/directory/password.js';
import type { Log } from '../../../operator/runtime/log.js';
import { failed, newCircuit } from '../../lib/circuit.js';
import { dovecotHashes, filterFor, isActive, type LdapRules, valuesOf } from './ldap-rules.js';

/** What is mounted beside the rules; read at each use, so that a changed Secret counts at once. */
export interface LdapSecrets {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** PEM; default: the CAs that Node trusts. */
  readonly ca?: string | undefined;
}

export interface LdapOptions {
  readonly rules: LdapRules;
  readonly secrets: () => Promise<LdapSecrets>;
  readonly log: Log;
  /** For everything that one log-in needs. Default 2500 ms: less than Dovecot waits. */
  readonly timeoutMs?: number;
  readonly clock?: () => number;
  readonly onOutcome?: (outcome: LdapAnswer['outcome'], seconds: number) => void;
}

export type LdapAnswer =
  | { readonly outcome: 'right' | 'wrong' | 'active' | 'unavailable' }
  /** No entry, more than one, or one whose status forbids it. */
  | { readonly outcome: 'denied' }
  /** Method Hash: Dovecot has to compare. */
  | { readonly outcome: 'hashes'; readonly hashes: readonly string[] };

export interface LdapCheck {
  (address: string, password: string): Promise<LdapAnswer>;
  /** Whether LDAP has a say on accounts whose password something else has checked. */
  readonly judgesStatus: boolean;
  /** `active`: there is exactly one entry, and its status allows it; `denied`, `unavailable`. No password is tried. */
  status(address: string): Promise<LdapAnswer>;
}

const DEFAULT_TIMEOUT_MS = 2_500;
const CONNECT_TIMEOUT_MS = 1_500;
/** A server that hangs costs each log-in its time-out; after a failure it is left alone for at most so long. */
const LONGEST_PAUSE_MS = 5_000;
const CONCURRENCY = 16;
const MOST_WAITING = 200;

/** Returns the check. Each has a connection of its own: no password can reach a connection that is not encrypted. */
export function createLdap(options: LdapOptions): LdapCheck {
  const { log, clock = Date.now, onOutcome } = options;
  const limited = limiter(CONCURRENCY);
  let circuit = newCircuit();
  let waiting = 0;
  const answer = async (address: string, password?: string): Promise<LdapAnswer> => {
    const started = performance.now();
    const report = (found: LdapAnswer): LdapAnswer => {
      onOutcome?.(found.outcome, (performance.now() - started) / 1000);
      return found;
    };
    // RFC 4513, 5.1.2: a bind with an empty password succeeds, and means nothing.
    if (password === '') return report({ outcome: 'wrong' });
    if (circuit.retryAt > clock() || waiting >= MOST_WAITING) return report({ outcome: 'unavailable' });
    waiting += 1;
    try {
      const found = await limited(() => bounded(options, address, password));
      circuit = newCircuit();
      return report(found);
    } catch (error) {
      const next = failed(circuit, clock());
      circuit = { ...next, retryAt: Math.min(next.retryAt, clock() + LONGEST_PAUSE_MS) };
      log.warn({ url: options.rules.url, err: error }, 'LDAP cannot be asked: log-ins by it fail for now');
      return report({ outcome: 'unavailable' });
    } finally {
      waiting -= 1;
    }
  };
  return Object.assign((address: string, password: string) => answer(address, password), {
    judgesStatus: options.rules.status !== undefined,
    status: (address: string) => answer(address),
  });
}

async function bounded(options: LdapOptions, address: string, password?: string): Promise<LdapAnswer> {
  const secrets = await options.secrets();
  const client = openClient(options.rules, secrets);
  let timer: NodeJS.Timeout | undefined;
  const ms = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([check(client, options, secrets, address, password), timeout]);
  } finally {
    clearTimeout(timer);
    void client.unbind().catch(() => undefined);
  }
}

function tlsOptions({ url }: LdapRules, { ca }: LdapSecrets): ConnectionOptions {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  // Server names are names (RFC 6066); an address is compared with those in the certificate all the same.
  const name = isIP(host) === 0 ? { servername: host } : {};
  return { ...(ca === undefined ? {} : { ca }), ...name, host, minVersion: 'TLSv1.2' };
}

/** ldapts connects again by itself, without StartTLS, when a connection has ended: one connection is all it gets. */
function openClient(rules: LdapRules, secrets: LdapSecrets): Client {
  let used = false;
  const once = (): void => {
    if (used) throw new Error('the connection ended early');
    used = true;
  };
  const plain = ((...args: Parameters<typeof connectTcp>) => {
    once();
    return connectTcp(...args);
  }) as typeof connectTcp;
  const secure = ((...args: Parameters<typeof connectTls>) => {
    if (rules.url.startsWith('ldaps:')) once();
    return connectTls(...args);
  }) as typeof connectTls;
  return new Client({
    url: rules.url,
    timeout: DEFAULT_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    createConnection: plain,
    createSecureConnection: secure,
    ...(rules.url.startsWith('ldaps:') ? { tlsOptions: tlsOptions(rules, secrets) } : {}),
  });
}

async function check(
  client: Client,
  { rules, log }: LdapOptions,
  secrets: LdapSecrets,
  address: string,
  password?: string,
): Promise<LdapAnswer> {
  if (!rules.url.startsWith('ldaps:')) await client.startTLS(tlsOptions(rules, secrets));
  if (secrets.username !== undefined) await client.bind(secrets.username, secrets.password ?? '');
  const entry = await findEntry(client, rules, address);
  if (entry === undefined || !isActive(entry, rules.status)) return { outcome: 'denied' };
  if (password === undefined) return { outcome: 'active' };
  if (rules.method === 'Bind') return bindAs(client, entry.dn, password);
  const hashes = dovecotHashes(valuesOf(entry, rules.passwordAttribute));
  if (hashes.length === 0) log.warn({ address }, `LDAP has no usable hash in ${rules.passwordAttribute}`);
  return { outcome: 'hashes', hashes };
}

/** The only entry; undefined for none and for several. */
async function findEntry(client: Client, rules: LdapRules, address: string) {
  const attributes = [
    ...(rules.status ? [rules.status.attribute] : []),
    ...(rules.method === 'Hash' ? [rules.passwordAttribute] : []),
  ];
  try {
    const { searchEntries } = await client.search(rules.baseDN, {
      scope: 'sub',
      derefAliases: 'never',
      filter: filterFor(rules.filter, address),
      attributes: attributes.length === 0 ? ['1.1'] : attributes,
      sizeLimit: 2,
    });
    return searchEntries.length === 1 ? searchEntries[0] : undefined;
  } catch (error) {
    if (error instanceof SizeLimitExceededError) return undefined;
    throw error;
  }
}

async function bindAs(client: Client, dn: string, password: string): Promise<LdapAnswer> {
  // An empty name is an anonymous bind, which succeeds with anything.
  if (dn === '') return { outcome: 'denied' };
  try {
    await client.bind(dn, password);
    return { outcome: 'right' };
  } catch (error) {
    if (error instanceof InvalidCredentialsError) return { outcome: 'wrong' };
    throw error;
  }
}

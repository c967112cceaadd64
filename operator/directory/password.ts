import { createHash, randomBytes } from 'node:crypto';
import { hash } from '@node-rs/argon2';

/** `Algorithm.Argon2id`, which is a const enum and cannot be imported by modules that are compiled one by one. */
const ARGON2ID_VARIANT = 2;

/**
 * ARGON2ID with OWASP's second choice of parameters. libsodium, with which Dovecot checks, knows no parallelism but 1.
 * One hash takes about 20 ms and 19 MiB.
 */
const ARGON2ID = { algorithm: ARGON2ID_VARIANT, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;

/** Longest password, octets: more than a person types, less than what SASL's line lengths cut. */
export const PASSWORD_MAX_BYTES = 512;

/** Longest hash that is taken over as it is. */
const HASH_MAX_LENGTH = 1024;

/** A password that cannot be used; the message is for the Mailbox's status and never holds the password. */
export class PasswordUnusable extends Error {
  override readonly name = 'PasswordUnusable';
}

/** Identifies one version of one key of a Secret, for `PasswordRow.source`. */
export function passwordSource(secret: { uid: string; resourceVersion: string; key: string }): string {
  const fingerprint = createHash('sha256').update(secret.key).digest('hex').slice(0, 16);
  return `${secret.uid}/${secret.resourceVersion}/${fingerprint}`;
}

/**
 * Hashes that are taken over as they are: salted and slow, and with bounds on what checking one may cost.
 * docs/reference/directory.md lists them for administrators.
 */
const ACCEPTED: Readonly<Record<string, (hash: string) => boolean>> = {
  ARGON2ID: (text) => argon2Cost(text, 'argon2id'),
  ARGON2I: (text) => argon2Cost(text, 'argon2i'),
  'BLF-CRYPT': (text) => within(/^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(text)?.[1], 8, 14),
  'SHA512-CRYPT': (text) => shaCrypt(/^\$6\$(?:rounds=(\d{1,9})\$)?[^$:\n]{1,16}\$[./A-Za-z0-9]{86}$/.exec(text)),
  'SHA256-CRYPT': (text) => shaCrypt(/^\$5\$(?:rounds=(\d{1,9})\$)?[^$:\n]{1,16}\$[./A-Za-z0-9]{43}$/.exec(text)),
};

/** Parameters in the text form of the Argon2 reference implementation; at most 256 MiB, since logins pay for it. */
function argon2Cost(text: string, variant: string): boolean {
  const match = /^\$(argon2id?)\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=1\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/.exec(
    text,
  );
  return match?.[1] === variant && within(match[2], 8_192, 262_144) && within(match[3], 1, 16);
}

/** crypt(5): 5000 rounds when the text doesn't say. */
function shaCrypt(match: RegExpExecArray | null): boolean {
  return match !== null && within(match[1] ?? '5000', 5_000, 1_000_000);
}

function within(digits: string | undefined, min: number, max: number): boolean {
  return digits !== undefined && Number(digits) >= min && Number(digits) <= max;
}

/** How crypt(5) and the Argon2 reference implementation begin their hashes, and what Dovecot calls them. */
const BARE: Readonly<Record<string, keyof typeof ACCEPTED | undefined>> = {
  '2a': 'BLF-CRYPT',
  '2b': 'BLF-CRYPT',
  '2y': 'BLF-CRYPT',
  '5': 'SHA256-CRYPT',
  '6': 'SHA512-CRYPT',
  argon2i: 'ARGON2I',
  argon2id: 'ARGON2ID',
  '1': undefined,
  '7': undefined,
  y: undefined,
  gy: undefined,
  argon2d: undefined,
};

/** A password could begin so too, but then it isn't that long. */
const BARE_PATTERN = /^\$([a-z0-9]{1,8})\$.{20}/;

/**
 * What a Secret's value means: a hash to take over, or a password to hash.
 *
 * One line break at the end is dropped: files end with one. A value that begins like `{SCHEME}`, or like a hash of crypt(5)
 * such as `$2y$10$…`, is a hash.
 * @throws PasswordUnusable
 */
export function readPassword(value: string | Uint8Array): { readonly hashed: string } | { readonly plain: string } {
  const text = (typeof value === 'string' ? value : decode(value)).replace(/\r?\n$/, '');
  const scheme = /^\{([A-Za-z0-9.-]+)\}/.exec(text)?.[1];
  if (scheme !== undefined) return { hashed: checkHash(text, scheme) };
  const bare = BARE_PATTERN.exec(text)?.[1];
  return bare !== undefined && bare in BARE ? { hashed: checkBare(text, bare) } : { plain: checkPlain(text) };
}

function checkBare(text: string, id: string): string {
  const scheme = BARE[id];
  if (scheme !== undefined) return checkHash(`{${scheme}}${text}`, scheme);
  const known = Object.keys(ACCEPTED).join(', ');
  throw new PasswordUnusable(
    `The value begins like a hash of crypt(5), $${id}$…, of a kind that is not accepted. Give the password itself, or one of: ${known}.`,
  );
}

function decode(value: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    throw new PasswordUnusable('The password is not valid UTF-8.');
  }
}

function checkPlain(text: string): string {
  const bytes = Buffer.byteLength(text);
  if (bytes === 0) throw new PasswordUnusable('The password is empty.');
  if (bytes > PASSWORD_MAX_BYTES) {
    throw new PasswordUnusable(`The password has ${bytes} octets; at most ${PASSWORD_MAX_BYTES} are possible.`);
  }
  // What decoders put in place of octets that are no UTF-8: the password would be another one than was meant.
  if (text.includes('\ufffd')) throw new PasswordUnusable('The password is not valid UTF-8.');
  // Clients cannot send these (RFC 4616, RFC 9051).
  if (/[\0\r\n]/.test(text)) throw new PasswordUnusable('The password contains a line break or a NUL character.');
  return text;
}

function checkHash(text: string, scheme: string): string {
  const accepts = ACCEPTED[scheme.toUpperCase()];
  if (accepts === undefined) {
    const known = Object.keys(ACCEPTED).join(', ');
    throw new PasswordUnusable(
      `Hashes of the scheme {${scheme}} are not accepted. Give the password itself, or one of: ${known}.`,
    );
  }
  const bare = text.slice(scheme.length + 2);
  if (text.length > HASH_MAX_LENGTH || !accepts(bare)) {
    throw new PasswordUnusable(`What follows {${scheme}} is not such a hash, or is too weak or too costly to check.`);
  }
  return `{${scheme.toUpperCase()}}${bare}`;
}

/** Each hash keeps a core busy for a while: the rest of the process needs the other threads. */
const CONCURRENCY = 2;

const limited = limiter(CONCURRENCY);

/**
 * What the directory keeps for a Secret's value: the hash that it is, or an ARGON2ID hash of it. At most two are made
 * at a time. The result has a new salt each time: make it once per `passwordSource`, and share it.
 *
 * @throws PasswordUnusable
 */
export async function preparePassword(value: string | Uint8Array): Promise<string> {
  const password = readPassword(value);
  return 'hashed' in password ? password.hashed : limited(() => hashPassword(password.plain));
}

/**
 * The same for an app password. One that looks generated can't be guessed, so a fast salted hash is enough; and it has to
 * be fast, since a login is compared with one hash after the other.
 *
 * @throws PasswordUnusable
 */
export async function prepareAppPassword(value: string | Uint8Array): Promise<string> {
  const password = readPassword(value);
  if ('hashed' in password) return password.hashed;
  return looksGenerated(password.plain) ? fastHash(password.plain) : limited(() => hashPassword(password.plain));
}

/** Long, without blanks, with digits in it and of many different characters: no words that people put together. */
export function looksGenerated(plain: string): boolean {
  const digits = plain.match(/[0-9]/g)?.length ?? 0;
  return /^[A-Za-z0-9+/=_.~-]{24,}$/.test(plain) && digits >= 3 && new Set(plain).size >= 10;
}

/** Dovecot's SSHA512: the digest of password and salt, then the salt. */
function fastHash(plain: string): string {
  const salt = randomBytes(16);
  const digest = createHash('sha512').update(plain).update(salt).digest();
  return `{SSHA512}${Buffer.concat([digest, salt]).toString('base64')}`;
}

/** `{ARGON2ID}…` of a password, with a new salt. */
async function hashPassword(plain: string): Promise<string> {
  return `{ARGON2ID}${await hash(plain, ARGON2ID)}`;
}

/** Runs at most so many works at a time, the others in the order that they came. */
export function limiter(concurrency: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= concurrency) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}

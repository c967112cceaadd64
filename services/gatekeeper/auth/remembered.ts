/** Passwords that LDAP found right, for a stated time, in this process: as keyed hashes, never as they are. */
import { recent } from '../../lib/recent.js';
import { cacheFingerprint } from './fingerprint.js';

export interface Remembered {
  has(username: string, who: string, password: string): boolean;
  add(username: string, who: string, password: string): void;
  /** What stands for a password, for `addKey` later. */
  keyOf(who: string, password: string): string;
  addKey(username: string, key: string): void;
  /** Everything that was right for a login. */
  forget(username: string): void;
}

const MOST = 20_000;

/** Programs of one person use several passwords at most. */
const MOST_PER_LOGIN = 8;

/** `who` is the mailbox and its LDAP name: another mailbox under the same login begins anew. */
export function createRemembered(seconds: number, clock: () => number = Date.now): Remembered {
  const fingerprint = cacheFingerprint();
  const known = recent<Map<string, number>>(MOST, seconds * 1000, clock);
  const add = (username: string, key: string): void => {
    if (seconds === 0) return;
    const fresh = [...(known.get(username) ?? [])].filter(([, until]) => until > clock()).slice(-(MOST_PER_LOGIN - 1));
    known.set(username, new Map([...fresh, [key, clock() + seconds * 1000]]));
  };
  return {
    has: (username, who, password) => (known.get(username)?.get(fingerprint(who, password)) ?? 0) > clock(),
    add: (username, who, password) => add(username, fingerprint(who, password)),
    keyOf: fingerprint,
    addKey: add,
    forget: (username) => known.delete(username),
  };
}

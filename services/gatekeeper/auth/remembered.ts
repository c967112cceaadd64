/** Passwords that LDAP found right, for a stated time, in this process: as keyed hashes, never as they are. */

import { DirectoryRejected } from '../../../operator/directory/errors.js';
import type { Log } from '../../../operator/runtime/log.js';
import type { DirectoryPool } from '../../lib/directory.js';
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

interface Revocation {
  readonly username: string;
  readonly at: Date;
}

/**
 * Drops what is remembered of logins whose sessions have to end, as the directory tells it, every second. (States are
 * asked for at each log-in anyway.) Returns what stops it.
 */
export function followRevocations(directory: DirectoryPool, remembered: Remembered, log: Log): () => void {
  let since = new Date(0);
  let stopped = false;
  const look = async (): Promise<void> => {
    try {
      const rows = await directory.ask<Revocation>({
        doing: 'look up revocations',
        sql: 'SELECT username, at FROM directory_v1.revoked($1)',
        values: [since],
      });
      for (const { username, at } of rows) {
        if (at > since) since = at;
        remembered.forget(username);
      }
    } catch (error) {
      if (!(error instanceof DirectoryRejected)) return;
      log.error({ err: error }, 'revocations cannot be followed');
      stopped = true;
    }
  };
  const loop = async (): Promise<void> => {
    while (!stopped) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, 1_000).unref());
    }
  };
  void loop();
  return () => {
    stopped = true;
  };
}

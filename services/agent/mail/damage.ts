/** A replica's copy of a mailbox that Dovecot can't read any more. */
import { readdir, rename, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CallOptions, Doveadm } from '../doveadm.js';
import { countMessages, inventory } from './mailbox.js';
import { homeOf } from './sieve.js';

/** What one look at a mailbox has shown. */
export interface Look {
  /** Dovecot's userdb, and so the directory, knows the mailbox: before and after the look. */
  readonly known: boolean;
  /** All messages of all folders could be named. */
  readonly readable: boolean;
  /** Messages by Dovecot's index, and files that hold one; undefined: the index could not be asked. */
  readonly messages: number | undefined;
  readonly files: number;
  /** Of the volume, 0 to 1. */
  readonly free: number;
}

/** Below this Dovecot fails for want of space. */
const ENOUGH_FREE = 0.02;
const LOOKS = 3;
const PAUSE_MS = 1_000;

/**
 * Only what every look says alike is damage: files are missing; or the mailbox can't be read though the directory knows it, and there is
 * space. Dovecot that restarts, a directory that is away, and a full volume make a healthy mailbox unreadable for a while.
 */
export function isDamaged(looks: readonly Look[]): boolean {
  if (looks.length === 0) return false;
  const lost = looks.every(({ messages, files }) => messages !== undefined && files < messages);
  const unreadable = looks.every(({ known, readable, free }) => known && !readable && free > ENOUGH_FREE);
  return lost || unreadable;
}

export interface Suspect {
  /** For doveadm. */
  readonly user: string;
  readonly uuid: string;
}

/**
 * Puts a damaged mailbox aside, so that the next full sync makes it anew from the primary's. Files stay in the home, under
 * `mail.damaged.TIME`, for a person to look at.
 *
 * Dovecot itself would rebuild its index from the files that are left, and the next sync would take the missing ones for expunged,
 * on the other members too: `mail_alt_path` in dovecot.conf keeps it from that.
 * @param signal aborts when this member ceases to be a replica: then nothing is moved.
 * @returns whether it was put aside.
 */
export async function putAside(
  doveadm: Doveadm,
  mailRoot: string,
  suspect: Suspect,
  signal: AbortSignal,
): Promise<boolean> {
  const mail = join(homeOf(mailRoot, suspect.uuid), 'mail');
  const looks: Look[] = [];
  while (looks.length < LOOKS) {
    if (looks.length > 0) await sleep(PAUSE_MS, undefined, { signal });
    looks.push(await look(doveadm, mailRoot, suspect, { signal, timeoutMs: 60_000 }));
    // One healthy look is enough.
    if (!isDamaged(looks)) return false;
  }
  signal.throwIfAborted();
  await rename(mail, `${mail}.damaged.${Date.now()}`);
  return true;
}

async function look(doveadm: Doveadm, mailRoot: string, { user, uuid }: Suspect, options: CallOptions): Promise<Look> {
  const yes = (): true => true;
  const no = (): false => false;
  const isKnown = (): Promise<boolean> => doveadm.run('user', { userMask: [user] }, options).then(yes, no);
  const before = await isKnown();
  const readable = await inventory(doveadm, user, options).then(yes, no);
  const messages = await countMessages(doveadm, user, options).catch(() => undefined);
  const files = await countFiles(join(homeOf(mailRoot, uuid), 'mail', 'mailboxes'));
  const { bavail, blocks } = await statfs(mailRoot);
  return { known: before && (await isKnown()), readable, messages, files, free: bavail / blocks };
}

/** Files of messages below a folder: sdbox's `u.UID`. */
async function countFiles(folder: string): Promise<number> {
  let count = 0;
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return [];
  });
  for (const entry of entries) {
    if (entry.isDirectory()) count += await countFiles(join(folder, entry.name));
    else if (/^u\.\d+$/.test(entry.name)) count += 1;
  }
  return count;
}

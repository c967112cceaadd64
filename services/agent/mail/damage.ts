/** A replica's copy of a mailbox that Dovecot can't read any more. */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Doveadm } from '../doveadm.js';
import { inventory } from './mailbox.js';
import { homeOf } from './sieve.js';

/**
 * Puts a mailbox that can't be read to its end aside, so that the next full sync makes it anew from the primary's; one that can is
 * left alone. Files stay in the home, under `mail.damaged.TIME`, for a person to look at.
 *
 * Dovecot itself would rebuild its index from the files that are left, and the next sync would take the missing ones for expunged,
 * on the other members too: `mail_alt_path` in dovecot.conf keeps it from that.
 * @returns whether it was put aside.
 */
export async function putAside(doveadm: Doveadm, mailRoot: string, user: string, uuid: string): Promise<boolean> {
  const readable = await inventory(doveadm, user, { timeoutMs: 60_000 }).then(
    () => true,
    () => false,
  );
  if (readable) return false;
  const mail = join(homeOf(mailRoot, uuid), 'mail');
  await rename(mail, `${mail}.damaged.${Date.now()}`);
  return true;
}

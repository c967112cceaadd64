/** What Dovecot writes about changes; see images/dovecot/config/store/push.lua and replicated.conf. */

/** A mailbox has changed. */
export interface Notice {
  readonly uuid: string;
  /** Its main address, when the writer knew it. */
  readonly user: string | undefined;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** Lines `UUID` or `UUID USER`. What is no such line is left out: half a line, at a machine's end. */
export function parseNotices(text: string): Notice[] {
  const notices: Notice[] = [];
  for (const line of text.split('\n')) {
    const [uuid = '', user] = line.split(' ');
    if (UUID.test(uuid)) notices.push({ uuid, user: isAddress(user) ? user : undefined });
  }
  return notices;
}

/** The agents name a mailbox by its UUID when they speak with Dovecot; that is no address. */
function isAddress(user: string | undefined): user is string {
  return user !== undefined && user !== '' && user !== '-' && !user.endsWith('@uuid.invalid');
}

/** Users whose Sieve scripts have changed: tab-separated events with `field:user=…`. */
export function parseSieveEvents(text: string): string[] {
  const users = new Set<string>();
  for (const line of text.split('\n')) {
    for (const field of line.split('\t')) {
      if (field.startsWith('field:user=')) users.add(field.slice('field:user='.length));
    }
  }
  return [...users];
}

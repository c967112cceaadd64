/** What Dovecot writes about changes; see images/dovecot/config/store/push.lua and replicated.conf. */

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** The mailboxes of lines `UUID` or `UUID …`. What is no such line is left out: half a line, at a machine's end. */
export function parseNotices(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.split(' ', 1)[0] ?? '')
    .filter((word) => UUID.test(word));
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

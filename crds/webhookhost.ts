/** Entries of `spec.webhooks.allowHosts` of a MailSystem: where the webhooks of rules in its namespace may go besides the Internet. */

const NAME = '[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*';
const IPV6 = '[0-9a-f:]*:[0-9a-f:.]*:[0-9a-f:.]*';
const PORT = '(?::[1-9][0-9]{0,4})?';

/** What the API server checks: shape only (JavaScript and RE2). */
export const WEBHOOK_HOST_PATTERN = new RegExp(`^(?:${IPV6}|(?:http://)?(?:${NAME}|\\[${IPV6}\\])${PORT})$`);

/** What is wrong when WEBHOOK_HOST_PATTERN does not match. */
export const WEBHOOK_HOST_MESSAGE =
  'must be a host in lower case, with its port unless that is 443, such as bots.svc or [fd00::7]:8443; with http:// in front if it is asked without encryption';

/** Longest entry: http://, a domain name, and a port. */
export const WEBHOOK_HOST_MAX_LENGTH = 266;

/** Whether an entry names scheme, host and port of a URL. An entry without http:// means https; one without a port the scheme's own. */
export function isAllowedHost(url: URL, allowHosts: readonly string[]): boolean {
  const place = placeOf(url);
  return allowHosts.some((entry) => {
    const text = entryUrl(entry);
    return URL.canParse(text) && placeOf(new URL(text)) === place;
  });
}

function entryUrl(entry: string): string {
  if (entry.startsWith('http://')) return entry;
  // An IPv6 address may stand without brackets where no port follows.
  return /:.*:/.test(entry) && !entry.startsWith('[') ? `https://[${entry}]` : `https://${entry}`;
}

/** `https://host:port`. URL has made the host lower case, and 0x7f.1 and 127.0.0.1 the same. */
function placeOf({ protocol, hostname, port }: URL): string {
  return `${protocol}//${hostname.replace(/\.$/, '')}:${port || (protocol === 'http:' ? '80' : '443')}`;
}

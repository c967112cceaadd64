/** Postfix' policy delegation protocol (SMTPD_POLICY_README): text in, requests out. Pure. */

/** Attributes by name: `sender`, `recipient`, `sasl_username`… */
export type PolicyRequest = ReadonlyMap<string, string>;

/** More than Postfix ever sends in one request. */
const REQUEST_LIMIT = 64 * 1024;

/** What Postfix is to do: `DUNNO`, `OK`, or a reply such as `450 4.7.1 text`. */
export type Action = string;

/** Splits a stream into requests; each `push` gives those that are complete. */
export function createRequestReader(): { push(text: string): PolicyRequest[] } {
  let rest = '';
  return {
    push: (text) => {
      rest += text;
      const parts = rest.split('\n\n');
      rest = parts.pop() ?? '';
      if (rest.length > REQUEST_LIMIT) throw new Error('a policy request does not end');
      return parts.map(parseRequest);
    },
  };
}

/** @throws Error when it is no policy request: whoever talks is not Postfix. */
export function parseRequest(text: string): PolicyRequest {
  const request = new Map<string, string>();
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=');
    if (equals < 1) throw new Error('a line of a policy request has no name');
    request.set(line.slice(0, equals), line.slice(equals + 1));
  }
  if (request.get('request') !== 'smtpd_access_policy') throw new Error('this is no policy request');
  return request;
}

/** As it goes over the wire: one line of printable ASCII, so that no address can add a line of its own. */
export function formatAction(action: Action): string {
  return `action=${action.replace(/[^\x20-\x7e]/g, '?').slice(0, 500)}\n\n`;
}

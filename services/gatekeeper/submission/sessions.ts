/**
 * Sessions that outlive what they were opened with. Postfix asks the policy at each greeting (EHLO), so it is known since
 * when a connection could log in; Dovecot asks for each log-in, with the client's address and without its port. A session
 * logged in by one of the log-ins of its login from its address since its greeting; it is over when one of those is older
 * than a revocation. Doubt ends a session: it costs one log-in more.
 */
import ipaddr from 'ipaddr.js';
import { recent } from '../../lib/recent.js';
import type { Known, Moment, Revocations } from '../auth/revocations.js';
import type { Action, PolicyRequest } from '../policy/protocol.js';

export interface Sessions {
  /** Before the log-in: whoever logs in over this connection does so after this. */
  greeted(request: PolicyRequest): void;
  /** A password was right. `moment`: of the answer that it was compared with. */
  loggedIn(username: string, ip: string, moment: Moment): void;
  /** What to say when the session's log-in does not count any more. @throws when nobody can tell. */
  refusal(username: string, request: PolicyRequest): Action | undefined;
}

const MOST = 20_000;
const DAY_MS = 25 * 3_600_000;
/** Per login and address: kinds of log-ins, by what was revoked before. */
const MOST_KINDS = 16;

const OVER: Action = '421 4.7.0 your password or your account has changed since you logged in; log in again';

/** Log-ins that have the same revocations behind them; the last of them was then. */
interface Kind {
  readonly behind: ReadonlySet<number>;
  readonly last: number;
}

export function createSessions(revocations: Revocations): Sessions {
  const greetings = recent<number>(MOST, DAY_MS, revocations.clock);
  const logins = recent<readonly Kind[]>(MOST, DAY_MS, revocations.clock);
  const isOver = (username: string, request: PolicyRequest, known: readonly Known[]): boolean => {
    const since = greetings.get(connectionOf(request));
    // From before this process, or forgotten: older than all that it has been told since it asked for the first time.
    if (since === undefined) return known.some(({ learned }) => learned > (revocations.began() ?? 0));
    const candidates = (logins.get(whoFrom(username, request.get('client_address') ?? '')) ?? []).filter(
      ({ last }) => last >= since,
    );
    if (candidates.length === 0) return known.some(({ learned }) => learned >= since);
    return candidates.some(({ behind }) => known.some(({ at }) => !behind.has(at)));
  };
  return {
    greeted: (request) => {
      // A second greeting after the log-in says nothing about when that was.
      if ((request.get('sasl_username') ?? '') === '') greetings.set(connectionOf(request), revocations.clock());
    },
    loggedIn: (username, ip, { time, behind }) => {
      const key = whoFrom(username, ip);
      logins.set(key, withLogin(logins.get(key) ?? [], { behind, last: time }));
    },
    refusal: (username, request) => {
      revocations.requireFresh();
      const known = revocations.of(username);
      return known.length > 0 && isOver(username, request, known) ? OVER : undefined;
    },
  };
}

const connectionOf = (request: PolicyRequest): string =>
  ['client_address', 'client_port', 'server_port'].map((name) => request.get(name) ?? '').join(' ');

function whoFrom(username: string, ip: string): string {
  return `${username} ${ipaddr.isValid(ip) ? ipaddr.process(ip).toString() : ip}`;
}

/** Of too many kinds the two oldest become one, with what both have behind them: it is over no later than either. */
function withLogin(kinds: readonly Kind[], login: Kind): readonly Kind[] {
  const same = kinds.find(({ behind }) => isSame(behind, login.behind));
  const all = [
    ...kinds.filter((kind) => kind !== same),
    { behind: login.behind, last: Math.max(login.last, same?.last ?? 0) },
  ].sort((a, b) => a.last - b.last);
  const [first, second] = all;
  if (all.length <= MOST_KINDS || !first || !second) return all;
  const both = new Set([...first.behind].filter((at) => second.behind.has(at)));
  return [{ behind: both, last: second.last }, ...all.slice(2)];
}

const isSame = (a: ReadonlySet<number>, b: ReadonlySet<number>): boolean =>
  a.size === b.size && [...a].every((at) => b.has(at));

/**
 * Brute-force limits. Wrong passwords are counted per login and client network, per login over all networks, and per
 * client network; the same wrong password counts once, so that a program with an old password locks nobody out.
 *
 * Networks from which a login has logged in before are known to it. There it is limited by nothing that others try
 * elsewhere, nor by what is tried there for other logins, and by far more wrong passwords of its own: neither a botnet nor
 * a neighbour locks people out where they are at home. What a botnet can do is keep a login out of networks that are new
 * to it, for an hour; else it could guess on.
 */
import { createHash } from 'node:crypto';
import type { Store } from '../memory/store.js';
import { clientNetwork, type NetworkRules } from './networks.js';

interface Limit {
  readonly most: number;
  readonly minutes: number;
}

export interface GuardRules extends NetworkRules {
  /** Different wrong passwords for one login from one network. */
  readonly perLogin: Limit;
  /** The same, from a network that is known to the login. */
  readonly perLoginKnown: Limit;
  /** Different wrong passwords for one login from all networks that are not known to it. */
  readonly perLoginAnywhere: Limit;
  /** Different wrong pairs of login and password from one network. */
  readonly perNetwork: Limit;
  /** For how long a network stays known to a login. */
  readonly knownDays: number;
}

/** Who tries: a login (perhaps of nobody) from an address. */
export interface Attempt {
  readonly login: string;
  readonly ip: string;
}

export interface Guard {
  /** Milliseconds until it may be tried again; 0: now. */
  wait(attempt: Attempt): Promise<number>;
  /** `fingerprint` is the same for the same wrong password, and does not tell it. `exists`: there is such a login. */
  failed(attempt: Attempt, fingerprint: string, exists: boolean): Promise<void>;
  succeeded(attempt: Attempt): Promise<void>;
}

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

interface Counted {
  readonly key: string;
  readonly limit: Limit;
}

export function createGuard(store: Store, rules: GuardRules, clock: () => number = Date.now): Guard {
  const keptMs = Math.max(rules.perLogin.minutes, rules.perLoginKnown.minutes) * MINUTE;
  const placeOf = ({ login, ip }: Attempt) => {
    const network = clientNetwork(ip, rules);
    if (network === undefined) return undefined;
    const name = short(login);
    return {
      pair: `wrong:${network}:${name}`,
      anywhere: `wrong:login:${name}`,
      network: `wrong:${network}`,
      known: `known:${network}:${name}`,
    };
  };
  const isKnown = async (key: string): Promise<boolean> => (await store.get([key]))[0] !== null;
  const waitFor = async ({ key, limit }: Counted, now: number): Promise<number> => {
    const windowMs = limit.minutes * MINUTE;
    const [noted] = await store.noted([key], windowMs, now);
    return noted && noted.count >= limit.most ? noted.oldest + windowMs - now : 0;
  };
  const noteLogin = async (at: { pair: string; anywhere: string; known: string }, fingerprint: string, now: number) => {
    await store.note(at.pair, fingerprint, keptMs, now);
    if (await isKnown(at.known)) return;
    await store.note(at.anywhere, fingerprint, rules.perLoginAnywhere.minutes * MINUTE, now);
  };
  return {
    wait: async (attempt) => {
      const at = placeOf(attempt);
      if (!at) return 0;
      const now = clock();
      const counted: Counted[] = (await isKnown(at.known))
        ? [{ key: at.pair, limit: rules.perLoginKnown }]
        : [
            { key: at.pair, limit: rules.perLogin },
            { key: at.anywhere, limit: rules.perLoginAnywhere },
            { key: at.network, limit: rules.perNetwork },
          ];
      return Math.max(...(await Promise.all(counted.map((each) => waitFor(each, now)))));
    },
    failed: async (attempt, fingerprint, exists) => {
      const at = placeOf(attempt);
      if (!at) return;
      const now = clock();
      await Promise.all([
        // Made-up logins get no key of their own: their number has no bound.
        exists ? noteLogin(at, fingerprint, now) : undefined,
        store.note(at.network, short(`${attempt.login} ${fingerprint}`), rules.perNetwork.minutes * MINUTE, now),
      ]);
    },
    succeeded: async (attempt) => {
      const at = placeOf(attempt);
      if (at) await store.set(at.known, '1', rules.knownDays * DAY);
    },
  };
}

/** Keys and members are many: 48 bits tell them apart well enough for counting. */
function short(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 8);
}

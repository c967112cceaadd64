/**
 * Brute-force limits. Wrong passwords are counted per login and client network, and per client network; the same wrong
 * password counts once, so that a program with an old password locks nobody out. Whoever has logged in from a network
 * before is not limited by what others do there: a botnet cannot lock people out of their own accounts.
 */
import { createHash } from 'node:crypto';
import type { Store } from '../memory/store.js';
import { clientNetwork, type NetworkRules } from './networks.js';

export interface GuardRules extends NetworkRules {
  /** Different wrong passwords for one login from one network. */
  readonly perLogin: { readonly most: number; readonly minutes: number };
  /** Different wrong pairs of login and password from one network. */
  readonly perNetwork: { readonly most: number; readonly minutes: number };
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

export function createGuard(store: Store, rules: GuardRules, clock: () => number = Date.now): Guard {
  const loginWindow = rules.perLogin.minutes * MINUTE;
  const networkWindow = rules.perNetwork.minutes * MINUTE;
  const keys = ({ login, ip }: Attempt) => {
    const network = clientNetwork(ip, rules);
    if (network === undefined) return undefined;
    const name = short(login);
    return { pair: `wrong:${network}:${name}`, network: `wrong:${network}`, known: `known:${network}:${name}` };
  };
  return {
    wait: async (attempt) => {
      const at = keys(attempt);
      if (!at) return 0;
      const now = clock();
      const [[pair], [network], [known]] = await Promise.all([
        store.noted([at.pair], loginWindow, now),
        store.noted([at.network], networkWindow, now),
        store.get([at.known]),
      ]);
      if (pair && pair.count >= rules.perLogin.most) return pair.oldest + loginWindow - now;
      if (known === null && network && network.count >= rules.perNetwork.most) {
        return network.oldest + networkWindow - now;
      }
      return 0;
    },
    failed: async (attempt, fingerprint, exists) => {
      const at = keys(attempt);
      if (!at) return;
      const now = clock();
      await Promise.all([
        // Made-up logins get no key of their own: their number has no bound.
        exists ? store.note(at.pair, fingerprint, loginWindow, now) : undefined,
        store.note(at.network, short(`${attempt.login} ${fingerprint}`), networkWindow, now),
      ]);
    },
    succeeded: async (attempt) => {
      const at = keys(attempt);
      if (at) await store.set(at.known, '1', rules.knownDays * DAY);
    },
  };
}

/** Keys and members are many: 48 bits tell them apart well enough for counting. */
function short(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 8);
}

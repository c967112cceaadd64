/** What the directory says of accounts that send, and of addresses that they send as. */
import { DirectoryUnavailable } from '../../../operator/directory/errors.js';
import type { DirectoryPool } from '../../lib/directory.js';
import { recent } from '../../lib/recent.js';
import type { Ownership } from '../author/judge.js';
import type { Sending } from './account.js';

export interface Accounts {
  /** Undefined: nobody of that name. `fresh`: asked now, else at most a second old. */
  sending(login: string, fresh: boolean): Promise<Sending | undefined>;
  /** Its state has just changed. */
  forget(login: string): void;
  /** Which of the addresses the account may send as, and which of the domains are ours. */
  ownership(username: string, addresses: readonly string[], domains: readonly string[]): Promise<Ownership>;
  /** Recipients of ours that take mail from certain domains only. */
  requirements(recipients: readonly string[]): Promise<Requirement[]>;
  /** What is said of a recipient: `DUNNO` or a reply; null when it is no address. */
  recipientVerdict(address: string): Promise<string | null>;
}

/** What a Mailbox or ForwardRule requires of those who write to it. */
export interface Requirement {
  readonly address: string;
  readonly verdict: string | null;
  readonly require: { readonly from: readonly string[]; readonly otherwise: 'Reject' | 'Tag' } | null;
}

const TTL_MS = 1_000;

/** Every method fails when no member of the directory answers. */
export function createAccounts(directory: DirectoryPool, clock?: () => number): Accounts {
  const known = recent<Sending>(10_000, TTL_MS, clock);
  return {
    sending: async (login, fresh) => {
      const cached = fresh ? undefined : known.get(login);
      if (cached) return cached;
      const [row] = await directory.ask<Sending>({
        doing: 'look up what an account may send',
        sql: 'SELECT * FROM directory_v1.sending($1)',
        values: [login],
      });
      if (row) known.set(login, row);
      else known.delete(login);
      return row;
    },
    forget: (login) => known.delete(login),
    ownership: async (username, addresses, domains) => {
      const [logins, ours] = await Promise.all([senderLogins(directory, addresses), hosted(directory, domains)]);
      const own = logins.filter(({ logins }) => logins?.split(',').includes(username));
      return { own: new Set(own.map(({ address }) => address)), hosted: new Set(ours) };
    },
    requirements: async (recipients) => {
      const rows = await directory.ask<Requirement>({
        doing: 'look up what recipients require',
        sql: `SELECT address, r.verdict, r.policy -> 'require' AS require
              FROM unnest($1::text[]) AS address, directory_v1.recipient(address) AS r
              WHERE directory_v1.hosted_domain(substring(address FROM '[^@]+$')) IS NOT NULL`,
        values: [recipients],
        unsure: (found) => found.some(isUnsure),
      });
      if (rows.some(isUnsure)) throw new DirectoryUnavailable('directory: it cannot tell what recipients require');
      return rows.filter(({ require }) => require !== null);
    },
    recipientVerdict: async (address) => {
      const [row] = await directory.ask<{ verdict: string | null }>({
        doing: 'look up a recipient',
        sql: 'SELECT directory_v1.submission_rcpt_verdict($1) AS verdict',
        values: [address],
        unsure: (found) => found.some(isUnsure),
      });
      return row?.verdict ?? null;
    },
  };
}

const isUnsure = ({ verdict }: { readonly verdict: string | null }): boolean => verdict?.startsWith('4') ?? false;

function senderLogins(directory: DirectoryPool, addresses: readonly string[]) {
  return directory.ask<{ address: string; logins: string | null }>({
    doing: 'look up who may send as an address',
    sql: 'SELECT address, directory_v1.sender_logins(address) AS logins FROM unnest($1::text[]) AS address',
    values: [addresses],
  });
}

async function hosted(directory: DirectoryPool, domains: readonly string[]): Promise<string[]> {
  if (domains.length === 0) return [];
  const rows = await directory.ask<{ domain: string }>({
    doing: 'look up hosted domains',
    sql: 'SELECT domain FROM unnest($1::text[]) AS domain WHERE directory_v1.hosted_domain(domain) IS NOT NULL',
    values: [domains],
  });
  return rows.map(({ domain }) => domain);
}

/** Under which address Dovecot knows a mailbox: the directory says, or Dovecot's own notice a moment ago. */
import type { DirectoryPool } from '../lib/directory.js';

export interface Names {
  /** From a notice: Dovecot has just looked it up. */
  learn(uuid: string, user: string): void;
  /** The address; undefined when the directory knows none. @throws when nobody answers and nothing is remembered. */
  userOf(uuid: string): Promise<string | undefined>;
  /** It may have changed. */
  forget(uuid: string): void;
  uuidOf(user: string): Promise<string | undefined>;
  /** What is remembered, however old. */
  peek(uuid: string): string | undefined;
  /** Whether it is one of `all`, as of a minute ago at most. */
  livesHere(uuid: string): Promise<boolean>;
  /** All mailboxes of the shard. @throws unless the leader answers: a list that lags would leave somebody out. */
  all(): Promise<{ uuid: string; user: string }[]>;
}

/** An address that was right so long ago is asked for again, ms. */
const FRESH_MS = 60_000;

export function createNames(directory: DirectoryPool, shard: string, clock: () => number): Names {
  const known = new Map<string, { user: string; at: number }>();
  const learn = (uuid: string, user: string): void => void known.set(uuid, { user, at: clock() });
  const ask = async (uuid: string): Promise<string | undefined> => {
    const [row] = await directory.ask<{ user: string | null }>({
      doing: 'look up the address of a mailbox',
      sql: 'SELECT directory_v1.address_of($1::uuid) AS "user"',
      values: [uuid],
      unsure: (rows) => rows[0]?.user == null,
    });
    return row?.user ?? undefined;
  };
  let here: { readonly uuids: ReadonlySet<string>; readonly at: number } | undefined;
  const all = async (): Promise<{ uuid: string; user: string }[]> => {
    const [row] = await directory.ask<{ users: [string, string][] | null }>({
      doing: "list the shard's mailboxes",
      // Division by zero where it isn't the leader: no list is better than one that leaves somebody out.
      sql: `SELECT 1 / (NOT pg_is_in_recovery())::int AS leader,
          (SELECT jsonb_agg(jsonb_build_array(uuid, username)) FROM directory_v1.userdb WHERE shard = $1) AS users`,
      values: [shard],
      leader: true,
    });
    const users = (row?.users ?? []).map(([uuid, user]) => ({ uuid, user }));
    here = { uuids: new Set(users.map(({ uuid }) => uuid)), at: clock() };
    return users;
  };
  return {
    all,
    livesHere: async (uuid) => {
      if (here === undefined || clock() - here.at > FRESH_MS) await all();
      return here?.uuids.has(uuid) ?? true;
    },
    learn,
    forget: (uuid) => void known.delete(uuid),
    peek: (uuid) => known.get(uuid)?.user,
    userOf: async (uuid) => {
      const entry = known.get(uuid);
      if (entry !== undefined && clock() - entry.at < FRESH_MS) return entry.user;
      try {
        const user = await ask(uuid);
        if (user === undefined) known.delete(uuid);
        else learn(uuid, user);
        return user;
      } catch (error) {
        if (entry !== undefined) return entry.user;
        throw error;
      }
    },
    uuidOf: async (user) => {
      const [row] = await directory.ask<{ uuid: string | null }>({
        doing: 'look up the mailbox of an address',
        sql: 'SELECT directory_v1.mailbox_of($1) AS uuid',
        values: [user],
        unsure: (rows) => rows[0]?.uuid == null,
      });
      return row?.uuid ?? undefined;
    },
  };
}

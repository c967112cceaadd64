/** What the directory knows of mailboxes. They are named by UUID throughout: an address may be another's a moment later. */
import type { DirectoryPool } from '../lib/directory.js';

export interface Names {
  /** Of an address, for notices that have nothing else; undefined when there is none. */
  uuidOf(user: string): Promise<string | undefined>;
  /** Whether the mailbox is to be found on this shard: lives here, moves to or from here, or was deleted and is kept. */
  livesHere(uuid: string): Promise<boolean>;
  /**
   * All mailboxes that each copy of the shard has to have.
   * @throws unless the leader answers: a list that lags would leave somebody out.
   */
  all(): Promise<string[]>;
}

export function createNames(directory: DirectoryPool, shard: string): Names {
  return {
    uuidOf: async (user) => {
      const [row] = await directory.ask<{ uuid: string | null }>({
        doing: 'look up the mailbox of an address',
        sql: 'SELECT directory_v1.mailbox_of($1) AS uuid',
        values: [user],
        unsure: (rows) => rows[0]?.uuid == null,
      });
      return row?.uuid ?? undefined;
    },
    livesHere: async (uuid) => {
      const [row] = await directory.ask<{ here: boolean }>({
        doing: 'look up whether a mailbox is of this shard',
        sql: 'SELECT directory_v1.lives_here($1::uuid, $2) AS here',
        values: [uuid, shard],
        // Another member may be newer.
        unsure: (rows) => rows[0]?.here !== true,
      });
      return row?.here === true;
    },
    all: async () => {
      const rows = await directory.ask<{ uuid: string }>({
        doing: "list the shard's mailboxes",
        sql: 'SELECT uuid FROM directory_v1.shard_mailboxes($1)',
        values: [shard],
        leader: true,
      });
      return rows.map(({ uuid }) => uuid);
    },
  };
}

/** The name by which Dovecot's userdb knows a mailbox when it is doveadm that asks. */
export function nameOf(uuid: string): string {
  return `${uuid}@uuid.invalid`;
}

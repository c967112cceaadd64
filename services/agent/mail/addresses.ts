/** Mailboxes and their addresses, as the directory has them now. */
import type { DirectoryPool } from '../../lib/directory.js';

export interface Addresses {
  /**
   * The address of a mailbox, when that address leads to this mailbox and no other; undefined otherwise. The leader is asked, and
   * other members only when it doesn't answer: one that lags may know the address's owner of before.
   */
  ownAddressOf(mailbox: string): Promise<string | undefined>;
  /** The address of a mailbox; undefined when no member knows one (any more). Rejects when none can be asked. */
  addressOf(mailbox: string): Promise<string | undefined>;
  mailboxOf(address: string): Promise<string | undefined>;
}

export function addressesIn(directory: DirectoryPool): Addresses {
  const ask = async (name: 'address_of' | 'mailbox_of', value: string): Promise<string | undefined> => {
    const [row] = await directory.ask<{ found: string | null }>({
      doing: name === 'address_of' ? 'look up an address' : 'look up a mailbox',
      sql: `SELECT directory_v1.${name}($1) AS found`,
      values: [value],
      unsure: ([given]) => given?.found == null,
    });
    return row?.found ?? undefined;
  };
  const askLeader = async (mailbox: string): Promise<string | undefined> => {
    const question = {
      doing: 'look up an address',
      sql: `SELECT directory_v1.address_of($1) AS found, directory_v1.mailbox_of(directory_v1.address_of($1)) AS leads_to`,
      values: [mailbox],
    };
    type Found = { found: string | null; leads_to?: string | null };
    const [row] = await directory
      .ask<Found>({ ...question, leader: true })
      .catch(() => directory.ask<Found>({ ...question, unsure: ([given]) => given?.found == null }));
    return row?.leads_to === mailbox ? (row.found ?? undefined) : undefined;
  };
  return {
    ownAddressOf: askLeader,
    addressOf: (mailbox) => ask('address_of', mailbox),
    mailboxOf: (address) => ask('mailbox_of', address.toLowerCase()),
  };
}

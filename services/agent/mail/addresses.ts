/** Mailboxes and their addresses, as the directory has them now. */
import type { DirectoryPool } from '../../lib/directory.js';

export interface Addresses {
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
  return {
    addressOf: (mailbox) => ask('address_of', mailbox),
    mailboxOf: (address) => ask('mailbox_of', address.toLowerCase()),
  };
}

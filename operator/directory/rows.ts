/** What the operator writes into the directory, and what it is told. Addresses and domains are canonical. */

/** The Kubernetes object that something in the directory comes from. */
export interface ObjectRef {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
}

/** A password hash and where it comes from; without a change of `source`, a new hash is not written. */
export interface PasswordRow {
  /** `{SCHEME}hash` as Dovecot reads it; see `preparePassword`. */
  readonly hash: string;
  /** Which version of which Secret: `passwordSource(…)`. */
  readonly source: string;
}

/** A mailbox as declared. */
export interface MailboxRow {
  /** Identity of the data: the object's uid, or the mailbox that it adopts. */
  readonly uuid: string;
  /** Main address. */
  readonly address: string;
  readonly aliases: readonly string[];
  /** Where a mailbox is placed that doesn't exist yet. One that exists stays where it is. */
  readonly shard: string;
  /** Bytes, 1 to 2^53 - 1; null is unlimited. */
  readonly quotaBytes: number | null;
  readonly deletionPolicy: 'Retain' | 'Delete';
  readonly object: ObjectRef;
  /** The object's creationTimestamp (RFC 3339). Of two claims to an address the elder wins, then the lesser uid. */
  readonly createdAt: string;
  /** `spec.adopt` is set: `uuid` has to be a deleted mailbox of the same namespace. */
  readonly adopt: boolean;
  /** null: nobody can log in by a Secret's password. undefined: the password is not touched. */
  readonly password?: PasswordRow | null | undefined;
}

/** An address that a mailbox claims and doesn't have. */
export interface AddressConflict {
  readonly address: string;
  /** Who has it. undefined: nobody, because its domain is not hosted here. */
  readonly owner?: ObjectRef | undefined;
  /** What it is to its owner. */
  readonly kind?: 'mailbox' | 'alias' | 'forward' | 'list' | 'reserved' | undefined;
}

/**
 * Why a mailbox was not written:
 * - AddressConflict: an elder object has the main address
 * - UnknownDomain, UnknownShard: project that first
 * - NotAdoptable: no deleted mailbox of that UUID in this namespace, or its data is being removed
 * - UuidInUse: another object has this mailbox
 * - Invalid: the database doesn't take the row; `message` says what is wrong with it
 */
export type RefusalReason =
  | 'AddressConflict'
  | 'UnknownDomain'
  | 'UnknownShard'
  | 'NotAdoptable'
  | 'UuidInUse'
  | 'Invalid';

/** What became of one MailboxRow. A refused one leaves everything as it was. */
export interface MailboxOutcome {
  readonly uuid: string;
  readonly result: 'written' | 'unchanged' | 'refused';
  readonly reason?: RefusalReason | undefined;
  /** With the reason Invalid. */
  readonly message?: string | undefined;
  /** Where its data is; undefined when refused. */
  readonly shard?: string | undefined;
  /** The main address if that is why it was refused; else aliases that it goes without. */
  readonly conflicts: readonly AddressConflict[];
}

/** A mailbox that the directory has, for comparison with what is declared. */
export interface MailboxInventory {
  readonly uuid: string;
  readonly object: ObjectRef;
  readonly shard: string;
  readonly passwordSource: string | null;
  /** Equal to `contentHash` of the MailboxRow that it was last written from, if that went in whole. */
  readonly contentHash: string;
}

/** A deleted mailbox whose data is still there. */
export interface RetainedMailbox {
  readonly uuid: string;
  readonly deletedAt: Date;
  /** When its data may be removed; null: never. */
  readonly purgeAfter: Date | null;
}

export interface DomainRow {
  /** A-labels, lower case. */
  readonly domain: string;
  readonly object: ObjectRef;
  readonly dkimSelector: string | null;
}

export interface ShardRow {
  readonly name: string;
  /** FQDN of the shard's Service. */
  readonly host: string;
  readonly lmtpPort: number;
  readonly imapPort: number;
  readonly sievePort: number;
}

export interface SettingsRow {
  /** Gets postmaster@ and abuse@ of every hosted domain where nobody claims them; null: they are unknown there. */
  readonly postmaster: string | null;
}

/** A position in the write-ahead log, `X/Y` in hexadecimal. */
export type Lsn = string;

/** A write, and the position that a member has to have replayed to show it. */
export interface Written<T> {
  readonly value: T;
  readonly lsn: Lsn;
}

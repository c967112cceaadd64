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

/**
 * What a mailbox may do; docs/reference/directory.md has the table. In the directory a state ends by itself at
 * `stateUntil`: from then on the mailbox is Active, whatever this says.
 */
export type MailboxState = 'Active' | 'ReceiveOnly' | 'LoginOff' | 'SendBlocked' | 'Suspended';

/** A password for one program of the mailbox's owner. */
export interface AppPasswordRow {
  /** Unique in the mailbox. `credentials()` calls it `app/NAME`, and the mailbox's own password `password`. */
  readonly name: string;
  /** Which version of which Secret: `passwordSource(…)`. */
  readonly source: string;
  /** `{SCHEME}hash`; undefined: there is one of this `source` already, keep it (nothing is made if there is none). */
  readonly hash?: string | undefined;
  /** `imap`, `sieve`, `submission`…; null: all. */
  readonly protocols: readonly string[] | null;
}

/** A mailbox that may use a shared one. */
export interface MemberRow {
  /** Name of a Mailbox in the namespace of the shared one. It need not be there (yet). */
  readonly mailbox: string;
  readonly rights: 'ReadWrite' | 'ReadOnly';
  readonly sendAs: boolean;
}

/** `require`: whose mail is taken at all. Handed through to the filter as it is. */
export interface RequireRow {
  /** From domains that must have a valid aligned DKIM signature. */
  readonly from: readonly string[];
  readonly otherwise: 'Reject' | 'Tag';
}

/** Recipients per time; null: the default of `SettingsRow`. */
export interface SendingRow {
  readonly hour: number | null;
  readonly day: number | null;
}

/** A mailbox as declared. What is optional may be left out for its default, which is another word for the same row. */
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
  /** All of them. undefined: they are not touched. */
  readonly appPasswords?: readonly AppPasswordRow[] | undefined;
  /** User name at the LDAP server. null (default): not authenticated there. */
  readonly ldapUser?: string | null | undefined;
  /** Default Active. */
  readonly state?: MailboxState | undefined;
  /** When the state ends (RFC 3339). null (default): never. */
  readonly stateUntil?: string | null | undefined;
  /** What becomes of mail while the state is Suspended. Default Accept. */
  readonly suspendedMail?: 'Accept' | 'Refuse' | undefined;
  /** The whole declared script, vacation included. null (default): none. */
  readonly sieve?: string | null | undefined;
  /** Messages older than `days` are removed from the folder. Default: none. Each folder once. */
  readonly retention?: readonly { readonly folder: string; readonly days: number }[] | undefined;
  /** Who else may use this mailbox. Default: nobody. Each mailbox once. */
  readonly members?: readonly MemberRow[] | undefined;
  readonly require?: RequireRow | null | undefined;
  readonly sending?: SendingRow | null | undefined;
}

/** A webhook or a command of a forward. One that is refused gets no mail, and keeps its place so that it can be edited there. */
export type CourierTarget = { readonly webhook: object } | { readonly command: object } | { readonly refused: string };

/** A ForwardRule as declared. */
export interface ForwardRow {
  /** Exact, or `*@domain`: every address of the domain that nobody has. */
  readonly address: string;
  /** Addresses inside and outside; inside is what lies in a domain of this directory when it is looked up. */
  readonly to: readonly string[];
  readonly couriers: readonly CourierTarget[];
  /**
   * Name of a Mailbox in the same namespace that gets a copy. `address` may then be an address of that very mailbox: the
   * forward attaches to it.
   */
  readonly keepCopy: string | null;
  /** Name of a Mailbox in the same namespace that may send as `address`. */
  readonly sendAs: string | null;
  readonly require: RequireRow | null;
  readonly object: ObjectRef;
  /** The object's creationTimestamp (RFC 3339). Of two claims to an address the elder wins, then the lesser uid. */
  readonly createdAt: string;
}

/** What became of one ForwardRow. A refused one leaves nothing: a forward that was there before is removed. */
export interface ForwardOutcome {
  /** `ForwardRow.object.uid`. */
  readonly uid: string;
  readonly result: 'written' | 'unchanged' | 'refused';
  readonly reason?: 'AddressConflict' | 'UnknownDomain' | 'Invalid' | undefined;
  /** With the reason Invalid. */
  readonly message?: string | undefined;
  /** With the reason AddressConflict: who has the address. */
  readonly conflicts: readonly AddressConflict[];
}

/** A forward that the directory has, for comparison with what is declared. */
export interface ForwardInventory {
  readonly object: ObjectRef;
  /** Equal to `forwardHash` of the ForwardRow that it was last written from. */
  readonly contentHash: string;
  /** What it does; the address is empty when an elder object has taken it. */
  readonly forward: Omit<ForwardRow, 'object' | 'createdAt'>;
}

/** An address that a mailbox or a forward claims and doesn't have. */
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
  /** `AppPasswordRow.source` by name. */
  readonly appPasswordSources: Readonly<Record<string, string>>;
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
  /** `MailDomain.spec.filter`, handed through to the filter as it is. Default null. */
  readonly filter?: object | null | undefined;
  /** Recipients that all of the domain may write to in an hour. null (default): `SettingsRow.domainHour`. */
  readonly sendingHour?: number | null | undefined;
}

/** A shard as declared. What is optional may be left out. */
export interface ShardRow {
  readonly name: string;
  /** FQDN of the shard's Service: where mail and people go while it has one member. */
  readonly host: string;
  readonly lmtpPort: number;
  readonly imapPort: number;
  readonly sievePort: number;
  /** 1 to 9. Default: the number of `members`, or 1. */
  readonly replicas?: number | undefined;
  /** Does an acknowledged message have to be on two volumes? Default Replicated with more than one replica. */
  readonly durability?: 'Primary' | 'Replicated' | undefined;
  /** What becomes of mail when that can't be had. Default Defer. */
  readonly withoutReplica?: 'Defer' | 'Degrade' | undefined;
  /** All of them; others are removed. undefined: they are not touched. */
  readonly members?: readonly ShardMemberRow[] | undefined;
}

export interface ShardMemberRow {
  /** Ordinal of its pod, 0 to 8. */
  readonly member: number;
  /** FQDN of its pod. */
  readonly host: string;
  /** Of its agent. Default 10028. */
  readonly port?: number | undefined;
}

/** How a shard is, as its members have said. */
export interface ShardState {
  readonly name: string;
  readonly replicas: number;
  readonly durability: 'Primary' | 'Replicated';
  readonly withoutReplica: 'Defer' | 'Degrade';
  /** Deleted ones that are still on it count, too. */
  readonly mailboxes: number;
  /** Who has the lease; null: nobody. It may be dead: then `renewals` stays what it is. */
  readonly primary: number | null;
  /** For whom it was given back. */
  readonly reservedFor: number | null;
  /** Whom the primary is asked to hand over to. */
  readonly wanted: number | null;
  readonly holder: string | null;
  /** 0: there was never a primary. */
  readonly epoch: number;
  readonly renewals: number;
  readonly takenAt: Date | null;
  readonly members: readonly MemberState[];
}

export interface MemberState {
  readonly member: number;
  readonly host: string;
  readonly port: number;
  /** null: it has never registered. */
  readonly volume: string | null;
  /** It may be promoted. */
  readonly seeded: boolean;
  readonly registeredAt: Date | null;
  readonly inSync: boolean;
  readonly lagChanges: number | null;
  readonly lagSeconds: number | null;
  readonly lastCompare: Date | null;
  /** Mailboxes that the last comparison found to differ. */
  readonly divergent: number | null;
  /** What it says of itself. */
  readonly facts: {
    readonly usedBytes?: number;
    readonly totalBytes?: number;
    readonly journalEntries?: number;
    readonly state?: string;
  } | null;
  readonly reportedAt: Date | null;
}

/** A mailbox that shall live on another shard. */
export interface MoveRequest {
  readonly uuid: string;
  readonly toShard: string;
  /** The MailboxMove. */
  readonly objectUid: string;
}

/**
 * Why a move can't begin (yet):
 * - Moving: another one of this mailbox is under way
 * - CopyLeft: what an earlier stay on that shard has left is not removed yet; try again later
 */
export type MoveRefusal = 'Moving' | 'UnknownMailbox' | 'UnknownShard' | 'AlreadyThere' | 'CopyLeft';

/** A move. */
export interface MoveState {
  readonly uuid: string;
  /** Main address; null: it has none now. */
  readonly address: string | null;
  readonly fromShard: string;
  readonly toShard: string;
  readonly objectUid: string;
  /** docs/reference/directory.md#moves */
  readonly phase: 'syncing' | 'switching' | 'settling' | 'done' | 'failed';
  /** What the shard that it leaves says. */
  readonly report: Readonly<Record<string, unknown>> & { readonly message?: string };
  readonly startedAt: Date;
  readonly phaseAt: Date;
  readonly switchedAt: Date | null;
}

export interface SettingsRow {
  /** Gets postmaster@ and abuse@ of every hosted domain where nobody claims them; null: they are unknown there. */
  readonly postmaster: string | null;
  /** FQDN of the forward role's Service. null (default): there is none, mail for forwards waits. */
  readonly forwardHost?: string | null | undefined;
  /** Where SRS addresses lie; need not be a hosted domain. null (default): mail is not forwarded outside. */
  readonly srsDomain?: string | null | undefined;
  /** Recipients that a mailbox, or a domain, may write to unless it says otherwise. null (default): any number. */
  readonly userHour?: number | null | undefined;
  readonly userDay?: number | null | undefined;
  readonly domainHour?: number | null | undefined;
}

/** What the store made of a declared script. */
export interface SieveResult {
  readonly uuid: string;
  /** `sieveHash` of the script that was tried; compare it with the declared one's. */
  readonly hash: string;
  /** What the compiler said. null: it compiled, and is in use. */
  readonly error: string | null;
  readonly at: Date;
}

/** Something that an account did and people should know, such as sending like a spammer. One per mailbox and kind. */
export interface Incident {
  readonly uuid: string;
  readonly kind: string;
  readonly detail: string;
  readonly since: Date;
  /** Until then the mailbox may not send. null: it is only reported. */
  readonly until: Date | null;
  /** How often it was reported. */
  readonly count: number;
}

/** A position in the write-ahead log, `X/Y` in hexadecimal. */
export type Lsn = string;

/** A write, and the position that a member has to have replayed to show it. */
export interface Written<T> {
  readonly value: T;
  readonly lsn: Lsn;
}

import { type Database, type DirectoryConnection, openDatabase } from './connection.js';
import { listForwards, projectForwards, tombstoneForwards } from './forwards.js';
import { adoptable, listDomains, listMailboxes } from './inventory.js';
import { clearIncidents, fullMailboxes, incidents, maintain, sieveResults } from './journal.js';
import { migrate } from './migrate.js';
import { cancelMoves, forgetMoves, listMoves, startMoves } from './moves.js';
import {
  projectDomains,
  projectMailboxes,
  projectSettings,
  removeDomains,
  setPasswords,
  tombstoneMailboxes,
} from './projection.js';
import { currentLsn, type Replay, replayedEverywhere } from './replication.js';
import type {
  DomainRow,
  ForwardInventory,
  ForwardOutcome,
  ForwardRow,
  Incident,
  Lsn,
  MailboxInventory,
  MailboxOutcome,
  MailboxRow,
  MoveRefusal,
  MoveRequest,
  MoveState,
  PasswordRow,
  RetainedMailbox,
  SettingsRow,
  ShardRow,
  ShardState,
  SieveResult,
  Written,
} from './rows.js';
import { acceptVolume, projectShards, shardStates, wantPrimary } from './shards.js';

/**
 * The operator's side of one MailSystem's directory. Everything is idempotent, writes only what differs, and fails
 * with DirectoryUnavailable (try again) or DirectoryRejected (don't).
 */
export interface Directory {
  /** Bring the schema up to date; returns what was applied. */
  migrate(): Promise<string[]>;
  /** Outcomes are in the order of `batch`. A few hundred rows at a time are best; at most 5000. */
  projectMailboxes(batch: readonly MailboxRow[]): Promise<Written<MailboxOutcome[]>>;
  /**
   * The objects are gone: addresses are free at once, the data is kept, or with deletionPolicy Delete may be removed
   * after `graceSeconds` (default 60). Returns the uuids that were alive until now and belonged to that object.
   */
  tombstoneMailboxes(
    gone: readonly { uuid: string; objectUid: string }[],
    graceSeconds?: number,
  ): Promise<Written<string[]>>;
  /** As `projectMailboxes`. Of claims to an address by mailboxes and forwards the elder object's wins. */
  projectForwards(batch: readonly ForwardRow[]): Promise<Written<ForwardOutcome[]>>;
  /** The objects are gone. Returns the uids that were there. */
  tombstoneForwards(gone: readonly { uid: string }[]): Promise<Written<string[]>>;
  /** Returns the uuids whose password changed. null: nobody can log in by a Secret's password. */
  setPasswords(rows: readonly { uuid: string; password: PasswordRow | null }[]): Promise<Written<string[]>>;
  /** Returns the domains that changed. The last writer owns a domain: decide who wins before. */
  projectDomains(rows: readonly DomainRow[]): Promise<Written<string[]>>;
  /** Removes domains that belong to that object. Those that addresses lie in are kept, and returned. */
  removeDomains(gone: readonly { domain: string; objectUid: string }[]): Promise<Written<{ inUse: string[] }>>;
  /**
   * Every shard there should be. Others are removed, except those that mailboxes (deleted ones too) lie on: `inUse`.
   * Members that are no longer declared go, except a primary, which has to hand over first: `membersInUse`.
   */
  projectShards(
    rows: readonly ShardRow[],
  ): Promise<Written<{ inUse: string[]; membersInUse: { shard: string; member: number }[] }>>;
  /** By name. */
  shardStates(): Promise<ShardState[]>;
  /**
   * Asks the primary to hand over to that member; null: no longer. false: it can't (not seeded, nobody has the lease),
   * or is the primary. The wish ends when anybody becomes primary: ask again until `ShardState.primary` is the one.
   */
  wantPrimary(shard: string, member: number | null): Promise<Written<boolean>>;
  /**
   * A member may be promoted with this volume as it is, though nothing has filled it: only if the shard's mail is lost or
   * came back from a backup. false: the member has another volume, or it was accepted before.
   */
  acceptVolume(which: { shard: string; member: number; volume: string }): Promise<Written<boolean>>;
  /** Begins moves; one that has begun goes on. `refused` says why one can't. The primary of the shard does the rest. */
  startMoves(requests: readonly MoveRequest[]): Promise<Written<{ uuid: string; refused: MoveRefusal | null }[]>>;
  /** Those that have not changed the shard yet. Returns the uuids of those that were. */
  cancelMoves(moves: readonly { uuid: string; why: string }[]): Promise<Written<string[]>>;
  /** All, or those of these MailboxMoves, the oldest first. */
  listMoves(objectUids?: readonly string[]): Promise<MoveState[]>;
  /** Removes what is known of moves that are over; returns the uuids that there were. */
  forgetMoves(uuids: readonly string[]): Promise<Written<string[]>>;
  /** Returns whether anything changed. */
  projectSettings(row: SettingsRow): Promise<Written<boolean>>;
  /** Live mailboxes in pages of at most `pageSize` (default 1000), in the order of uuid. */
  listMailboxes(pageSize?: number): AsyncIterable<MailboxInventory[]>;
  listDomains(): Promise<DomainRow[]>;
  /** Forwards in pages of at most `pageSize` (default 1000), in the order of uid. */
  listForwards(pageSize?: number): AsyncIterable<ForwardInventory[]>;
  /** What became of the scripts that are declared now, where a store has said so; of all mailboxes, or of these. */
  sieveResults(uuids?: readonly string[]): Promise<SieveResult[]>;
  /** Those that are open, or were reported in the last 24 hours, the oldest first. */
  incidents(): Promise<Incident[]>;
  /** Uuids of those that a store has found full: mail for them is refused. */
  fullMailboxes(): Promise<string[]>;
  /** Ends what incidents forbid. Returns how many there were. */
  clearIncidents(settled: readonly { uuid: string; kind: string }[]): Promise<Written<number>>;
  /** Once an hour, and after a migration: a new SRS key when the newest is older than that, and journals are pruned. */
  maintain(options: { srsRotateDays: number }): Promise<Written<{ srsRotated: boolean }>>;
  /** Deleted mailboxes that had this main address and that an object in this namespace may adopt, newest first. */
  adoptable(address: string, namespace: string): Promise<RetainedMailbox[]>;
  currentLsn(): Promise<Lsn>;
  /** Have all members that may be asked replayed this position? */
  replayedEverywhere(lsn: Lsn): Promise<Replay>;
  close(): Promise<void>;
}

/** Nothing is connected before the first call. */
export function openDirectory(connection: DirectoryConnection): Directory {
  return directoryOn(openDatabase(connection));
}

function directoryOn(database: Database): Directory {
  return {
    migrate: () => migrate(database),
    projectMailboxes: (batch) => projectMailboxes(database, batch),
    tombstoneMailboxes: (gone, graceSeconds) => tombstoneMailboxes(database, gone, graceSeconds),
    projectForwards: (batch) => projectForwards(database, batch),
    tombstoneForwards: (gone) => tombstoneForwards(database, gone),
    setPasswords: (rows) => setPasswords(database, rows),
    projectDomains: (rows) => projectDomains(database, rows),
    removeDomains: (gone) => removeDomains(database, gone),
    projectShards: (rows) => projectShards(database, rows),
    shardStates: () => shardStates(database),
    wantPrimary: (shard, member) => wantPrimary(database, shard, member),
    acceptVolume: (which) => acceptVolume(database, which),
    startMoves: (requests) => startMoves(database, requests),
    cancelMoves: (moves) => cancelMoves(database, moves),
    listMoves: (objectUids) => listMoves(database, objectUids),
    forgetMoves: (uuids) => forgetMoves(database, uuids),
    projectSettings: (row) => projectSettings(database, row),
    listMailboxes: (pageSize) => listMailboxes(database, pageSize),
    listDomains: () => listDomains(database),
    listForwards: (pageSize) => listForwards(database, pageSize),
    sieveResults: (uuids) => sieveResults(database, uuids),
    incidents: () => incidents(database),
    fullMailboxes: () => fullMailboxes(database),
    clearIncidents: (settled) => clearIncidents(database, settled),
    maintain: (options) => maintain(database, options),
    adoptable: (address, namespace) => adoptable(database, address, namespace),
    currentLsn: () => currentLsn(database),
    replayedEverywhere: (lsn) => replayedEverywhere(database, lsn),
    close: () => database.close(),
  };
}

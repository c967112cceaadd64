/**
 * The seam inside the agent. One side, the core, holds the lease, owns Dovecot and its volume; the other, mail, talks with
 * peers and with the mail that the volume holds. Each sees of the other what is here, and no more.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import type { Log } from '../../operator/runtime/log.js';
import type { DirectoryPool, TlsMaterial } from '../lib/directory.js';

/**
 * What Dovecot does. `replica`: only its doveadm socket, so that it can be what a sync writes to. `opening`: doveadm, and LMTP
 * on loopback for the journal; before a promotion is complete, and at the end of a planned handover. `primary`: all.
 */
export type Role = 'stopped' | 'replica' | 'opening' | 'primary';

/** Another member of the shard, as the directory last told it. */
export interface Peer {
  readonly member: number;
  readonly host: string;
  /** Of its peer API. */
  readonly port: number;
  /** UUID of its volume; empty when it has never come up. */
  readonly volume: string;
  /** It has had everything once, and may be promoted. */
  readonly seeded: boolean;
  /** It has everything that is older than a few seconds. */
  readonly inSync: boolean;
}

/** `GET /v1/state` on both APIs. */
export interface AgentState {
  readonly shard: string;
  readonly member: number;
  readonly role: Role;
  /** Of the lease while `opening` or `primary`; otherwise the highest that is known here. */
  readonly epoch: number;
  /** Wall clock, ms, since when it is primary; 0 when it isn't. */
  readonly openedAt: number;
  readonly volume: string;
  readonly seeded: boolean;
  readonly replicas: number;
  readonly peers: readonly Peer[];
  readonly durability: 'Primary' | 'Replicated';
  readonly withoutReplica: 'Defer' | 'Degrade';
  /** Dovecot's LMTP port. */
  readonly lmtp: number;
  /** Mailboxes that are on their way to other shards. */
  readonly moves: number;
  /** How this member became primary: nothing can be missing after a planned switch, nor at a sole member's restart. */
  readonly promotion: 'none' | 'planned' | 'restart' | 'failover';
}

/** The primary of `epoch` asks not to be followed for `ttl` ms from the answer on. */
export interface PromiseRequest {
  readonly shard: string;
  readonly epoch: number;
  readonly holder: string;
  /** Of the member that is asked, as the asker knows it: nobody promises in another's name. */
  readonly volume: string;
  readonly ttl: number;
}

/** What the core gives to mail. */
export interface Core {
  readonly log: Log;
  readonly registry: Registry;
  /** As role posthorn_store. The leader is asked with `leader: true`. */
  readonly directory: DirectoryPool;
  /** Of /tls; `onTls` is called with each new certificate. */
  tls(): TlsMaterial;
  onTls(listener: (material: TlsMaterial) => void): void;
  state(): AgentState;
  /** Called after each change of role, epoch or peers. */
  onState(listener: (state: AgentState) => void): void;
  /** The highest epoch that this member has heard of, from the directory, its volume or a peer. */
  knownEpoch(): number;
  /** A peer has shown an epoch. A primary that hears of a higher one closes at once; lower ones do nothing. */
  sawEpoch(epoch: number): void;
  /**
   * `POST /v1/promise` of the peer API: true is 200, false 409. Decided at once and never waited for: call it when the request
   * has arrived completely, answer directly.
   */
  promise(request: PromiseRequest): boolean;
  /**
   * Every mailbox has had what a failover to `epoch` asks for (its gap). Until then a restart counts as a failover, and no planned
   * switch is made.
   */
  settled(epoch: number): void;
  /** `POST /v1/released` of the peer API: the primary has just let go in this member's favour; the core looks at once. */
  released(): void;
  /** Key of Dovecot's doveadm HTTP API (127.0.0.1:24245), the same for the life of this process. */
  readonly doveadmKey: string;
  /** Dovecot's `doveadm-server` socket: where an incoming dsync goes. */
  readonly doveadmSocket: string;
  /** `/srv/mail`. */
  readonly mailRoot: string;
  /** Aborts when Dovecot is killed, the mode changes or the role is lost: whatever mail is doing to this epoch's mail ends. */
  modeSignal(): AbortSignal;
}

/** Answers one request of an HTTP API. */
export type Handler = (request: IncomingMessage, response: ServerResponse, path: string) => Promise<void>;

/** What mail gives to the core. */
export interface Mail {
  /**
   * Asks a peer for a promise. Resolves to true (200), false (409: a no) or undefined (no answer within `timeoutMs`, or anything
   * else). Never rejects. The request must not be repeated by itself.
   */
  askPromise(peer: Peer, request: PromiseRequest, timeoutMs: number): Promise<boolean | undefined>;
  /** `POST /v1/released` at a peer; best effort, within 500 ms, never rejects. */
  tellReleased(peer: Peer): Promise<void>;
  /**
   * Called when Dovecot is up in mode `opening` of a new epoch: replays this member's journal and those of peers that can be
   * reached. Bounded by `signal` and its own limits (a peer that is away must not keep the shard closed); rejects only when
   * this volume's own journal could not be replayed, whereupon the core tries again.
   */
  replay(epoch: number, signal: AbortSignal): Promise<void>;
  /** Planned handover: the last syncs of these users to this peer. Resolves to the users that are not surely synced. */
  finalSync(users: readonly string[], peer: Peer, signal: AbortSignal): Promise<readonly string[]>;
  /**
   * Verbs of the local API that are about mail: `/v1/sync`, `/v1/inventory`, `/v1/search`, `/v1/peers/M/…`, `/v1/sieve`,
   * `/v1/gap`, `/v1/dedupe`, `/v1/kick`. False when the path is none of them.
   */
  local(request: IncomingMessage, response: ServerResponse, path: string): Promise<boolean>;
  /** Stops the peer API; requests under way end. */
  close(): Promise<void>;
}

/** `services/agent/mail/mail.ts` exports `openMail` of this type. It starts the peer API at once. */
export type OpenMail = (core: Core, options: MailOptions) => Promise<Mail>;

export interface MailOptions {
  /** Of the peer API: port 10028; host `::` or `0.0.0.0`. */
  readonly peerPort: number;
  readonly peerHost: string;
  /** Dovecot's doveadm HTTP API on loopback. */
  readonly doveadmPort: number;
  readonly lmtpPort: number;
  /** Where sockets for outgoing syncs are made; Dovecot must see it by the same name. Default `/run/agent`. */
  readonly socketFolder?: string;
}

/** What the lease's state machine knows. All times are CLOCK_MONOTONIC, ms. */

/** Times of the protocol, ms. */
export interface LeaseTimes {
  /** How long a renewal holds, counted by the holder from before it asked. */
  readonly ttl: number;
  /**
   * What a follower waits beyond the TTL: for the watchdog to look (50 ms), for the processes to die, and for clocks that
   * don't run alike.
   */
  readonly margin: number;
  readonly renewEvery: number;
  readonly readEvery: number;
  /** No answer by then is none: the next question may be asked. */
  readonly requestTimeout: number;
  /** Without a renewal for so long the holder asks its peers for promises. Together with a round trip less than the TTL. */
  readonly askAfter: number;
  readonly askEvery: number;
  /** A member to which the directory has spoken within this time gives no promise: it is able to follow. */
  readonly quiet: number;
  /** Each place behind the most advanced waits so much longer. */
  readonly stagger: number;
  /** Between a planned handover that failed and the next. */
  readonly handoverPause: number;
}

/** A member as the directory lists it. */
export interface LeaseMember {
  readonly member: number;
  readonly host: string;
  readonly port: number;
  readonly volume: string;
  readonly seeded: boolean;
  readonly inSync: boolean;
  readonly lagChanges: number;
  readonly lagSeconds: number;
}

/** The directory's answer to `lease()` and `renew_lease()`. */
export interface LeaseRow {
  readonly epoch: number;
  /** Changes with each write of the row, by a random step, so that no value ever comes again. */
  readonly renewals: number;
  readonly primary: number | null;
  /** Null: let go in order. Nobody accepts writes under this epoch any more. */
  readonly holder: string | null;
  readonly reservedFor: number | null;
  /** Whom the operator wants to be primary. */
  readonly wanted: number | null;
  readonly replicas: number;
  readonly members: readonly LeaseMember[];
}

/** How a member came to hold the lease. */
export type Promotion = 'planned' | 'restart' | 'failover';

/**
 * `adopting`: the directory says that the lease is ours, but there is no deadline yet. `opening`: the journal is replayed.
 * `leaving`: the last syncs of a planned handover. `closing`: Dovecot is being killed. `releasing`: it is dead, and the
 * directory is being told.
 */
export type Phase = 'adopting' | 'opening' | 'primary' | 'leaving' | 'closing' | 'releasing';

/** Holding the lease, or (`leased` false) being the only member of a shard whose directory is away. */
export interface Term {
  readonly holder: string;
  readonly epoch: number;
  readonly leased: boolean;
  readonly phase: Phase;
  readonly promotion: Promotion;
  /** When Dovecot must be dead. */
  readonly deadline: number;
  readonly nextRenew: number;
  /** Promises that are being asked for: when that began, and whose are missing. */
  readonly round?: { readonly sentAt: number; readonly missing: readonly number[] } | undefined;
  readonly nextAsk: number;
  /** To whom it is handed over. */
  readonly to?: number | undefined;
  /** Not again before: a handover has just failed. */
  readonly handoverAfter: number;
}

/**
 * The row has been as it is since at least `since`: counted from an answer, not from its question. Who was not admitted before
 * begins anew: nobody has asked it for promises until then.
 */
export interface Watch {
  readonly epoch: number;
  readonly renewals: number;
  readonly admitted: boolean;
  readonly since: number;
}

/** A question whether we may have the lease, whose outcome isn't known yet. */
export interface Take {
  readonly sentAt: number;
  readonly epoch: number;
  readonly renewals: number;
  /** The directory has not answered and may still do it. */
  readonly waiting: boolean;
  readonly promotion: Promotion;
}

export interface Lease {
  readonly me: number;
  readonly volume: string;
  /** This process; with the number of its terms it makes the holder's UUID. */
  readonly process: string;
  readonly terms: number;
  /** Holders of this pod whose Dovecot is surely dead. */
  readonly dead: readonly string[];
  /** A holder of this process whose Dovecot is being killed. */
  readonly dying?: string | undefined;
  /** Highest epoch heard of. */
  readonly known: number;
  /** The volume's record says that nobody else has ever had this shard's mail. */
  readonly sole: boolean;
  readonly row?: LeaseRow | undefined;
  readonly watch?: Watch | undefined;
  /** When the question for the row that is under way was asked. */
  readonly read?: number | undefined;
  readonly nextRead: number;
  /** When the directory last answered. */
  readonly lastRead?: number | undefined;
  readonly take?: Take | undefined;
  /** Until then somebody else counts on us. */
  readonly promised?: number | undefined;
  readonly term?: Term | undefined;
  /** Members that may be promoted and must be asked for promises: all that have been seeded in this term. */
  readonly askers: readonly Asker[];
  readonly stopping: boolean;
  /** Not a candidate before: Dovecot or the volume doesn't work here. */
  readonly unfitUntil: number;
}

export interface Asker {
  readonly member: number;
  readonly volume: string;
}

/** What happens to the machine. `sentAt` is the time of the question that is answered, which tells questions apart. */
export type LeaseEvent =
  | { readonly type: 'tick' }
  | { readonly type: 'read'; readonly sentAt: number; readonly row: LeaseRow }
  | { readonly type: 'readFailed'; readonly sentAt: number }
  | { readonly type: 'renewed'; readonly sentAt: number; readonly holder: string; readonly row: LeaseRow | null }
  | { readonly type: 'renewFailed'; readonly sentAt: number; readonly holder: string }
  | { readonly type: 'took'; readonly sentAt: number; readonly holder: string; readonly epoch: number | null }
  | { readonly type: 'takeFailed'; readonly sentAt: number; readonly holder: string }
  /** A member's answer; from `me`: whether the volume still belongs to this process, asked after the round began. */
  | {
      readonly type: 'promised';
      readonly round: number;
      readonly holder: string;
      readonly member: number;
      readonly yes: boolean;
    }
  /** The journal is replayed. */
  | { readonly type: 'opened'; readonly epoch: number }
  /** The last syncs are done; `complete`: all of them went well. */
  | { readonly type: 'flushed'; readonly complete: boolean }
  /** No process of a Dovecot that could accept mail is left. */
  | { readonly type: 'down' }
  /** The directory has been told, or could not be: either way it is over. */
  | { readonly type: 'released'; readonly holder: string }
  | { readonly type: 'handover'; readonly to?: number | undefined }
  /** `planned`: a successor has nothing to do but open, when the last syncs go well. */
  | { readonly type: 'stop'; readonly planned: boolean }
  | { readonly type: 'unfit'; readonly until: number }
  | { readonly type: 'sawEpoch'; readonly epoch: number }
  /** A member is about to be declared seeded. The volume's record has to lose `sole` before the directory is told. */
  | { readonly type: 'seeding'; readonly member: number; readonly volume: string };

/** What the shell has to do. Modes and deadlines of Dovecot aren't here: `wanted()` says them after every step. */
export type LeaseCommand =
  | { readonly type: 'read'; readonly sentAt: number }
  | { readonly type: 'renew'; readonly sentAt: number; readonly holder: string; readonly epoch: number }
  | {
      readonly type: 'take';
      readonly sentAt: number;
      readonly holder: string;
      readonly epoch: number;
      readonly renewals: number;
    }
  /** Ask these members for promises, and the volume whether it is still ours. */
  | {
      readonly type: 'ask';
      readonly round: number;
      readonly holder: string;
      readonly epoch: number;
      readonly askers: readonly Asker[];
    }
  | {
      readonly type: 'release';
      readonly holder: string;
      readonly epoch: number;
      readonly reservedFor: number | null;
    }
  | { readonly type: 'flush'; readonly to: number }
  /** The directory knows a lower epoch than the volume, or another volume: tell it ours. */
  | { readonly type: 'register' };

export interface Step {
  readonly lease: Lease;
  readonly commands: readonly LeaseCommand[];
}

/** What Dovecot has to be. */
export interface Wanted {
  readonly mode: 'stopped' | 'replica' | 'opening' | 'primary';
  readonly epoch: number;
  /** For `opening` and `primary`. */
  readonly deadline: number;
}

/** Which passwords count for a log-in. Pure. */

/** A row of directory_v1.credentials(). */
export interface Credentials {
  readonly username: string;
  readonly mailbox: string;
  readonly state: string;
  readonly may_login: boolean;
  readonly may_send: boolean;
  /** The shard's primary; '' at submission while there is none. */
  readonly host: string;
  /** Of the shard's lease: a bigint, as text. */
  readonly epoch: string;
  readonly imap_port: number;
  readonly sieve_port: number;
  readonly credentials: readonly {
    readonly id: string;
    readonly hash: string;
    /** Null, or none: all. */
    readonly protocols: readonly string[] | null;
  }[];
  /** What LDAP knows it as; null: LDAP is not asked. */
  readonly ldap: string | null;
}

/** One hash to compare a password with. */
export interface Candidate {
  readonly id: string;
  readonly hash: string;
}

/**
 * States say what may be logged in to. Who only receives gets no further than the log-in at submission; whose sending
 * is blocked is let in, to be told why at MAIL.
 */
export function mayLogin({ may_login, state }: Credentials, protocol: string): boolean {
  return may_login && !(protocol === 'submission' && state === 'ReceiveOnly');
}

/** Those that are good for the protocol. */
export function candidatesFor({ credentials }: Credentials, protocol: string): Candidate[] {
  const good = credentials.filter(({ protocols }) => !protocols?.length || protocols.includes(protocol));
  return good.map(({ id, hash }) => ({ id, hash }));
}

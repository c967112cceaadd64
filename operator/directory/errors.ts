import pg from 'pg';

/**
 * The directory cannot be written (or asked) now: no connection, failover under way, read-only member, time-out.
 * What was asked may have happened all the same. Everything here is idempotent: try again later.
 */
export class DirectoryUnavailable extends Error {
  override readonly name = 'DirectoryUnavailable';
}

/** The directory understood and refused. Trying the same again will not help. */
export class DirectoryRejected extends Error {
  override readonly name = 'DirectoryRejected';
  /** SQLSTATE, PostgreSQL manual appendix A. */
  readonly code: string;

  constructor(message: string, code: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * SQLSTATE classes and codes that pass by themselves: connection (08, also everything pgbouncer says),
 * authentication while roles are being made (28), transaction rolled back (40), resources (53), operator
 * intervention and shutdown (57), system error (58), read-only (25006), lock not available (55P03), database
 * does not exist yet (3D000).
 */
const PASSING = /^(08|28|40|53|57|58|25006|55P03|3D000)/;

/** Tell a passing failure from a refusal. `doing` says what was being done, to what. */
export function directoryError(doing: string, cause: unknown): DirectoryUnavailable | DirectoryRejected {
  if (cause instanceof DirectoryUnavailable || cause instanceof DirectoryRejected) {
    return cause;
  }
  const message = `directory: ${doing}: ${cause instanceof Error ? cause.message : String(cause)}`;
  if (cause instanceof pg.DatabaseError && cause.code !== undefined && !PASSING.test(cause.code)) {
    return new DirectoryRejected(message, cause.code, { cause });
  }
  return new DirectoryUnavailable(message, { cause });
}

/**
 * Questions to the directory from a service: several members, each behind its own pooler, any of which may answer.
 *
 * A member that cannot be asked, or that raises an error for which another may know better (it is catching up), is
 * followed by the next. One that does not answer is left alone for a while and asked again only when no other is left.
 */
import pg from 'pg';
import { type DirectoryRejected, DirectoryUnavailable, directoryError } from '../../operator/directory/errors.js';
import { type Circuit, circuitOrder, failed, newCircuit, succeeded } from './circuit.js';

/** Texts in PEM, as a role's Secret holds them. */
export interface TlsMaterial {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** How to reach the directory. */
export interface DirectoryOptions {
  /** Members that may answer questions; names are checked against their certificates. */
  readonly hosts: readonly string[];
  /** The leader's name, for what writes (`report_incident`). */
  readonly leader?: string | undefined;
  /** The poolers' port. A host may have one of its own: `name:port`. */
  readonly port: number;
  /** Default `posthorn`. */
  readonly database?: string | undefined;
  /** The role, which is the certificate's common name. */
  readonly user: string;
  /** Without it connections are in the clear (tests only). */
  readonly tls?: TlsMaterial | undefined;
  /** Most connections to each member. Default 4. */
  readonly connections?: number | undefined;
  /** For making one connection. Default 2000 ms. */
  readonly connectTimeoutMs?: number | undefined;
  /** For one statement on one member. Default 3000 ms. */
  readonly queryTimeoutMs?: number | undefined;
  /** For all members together. Default 8000 ms: below the time that Postfix and rspamd wait. */
  readonly totalTimeoutMs?: number | undefined;
  /** Shown in `pg_stat_activity`. */
  readonly application: string;
  readonly onQuery?: ((result: QueryResult) => void) | undefined;
}

/** For metrics: one attempt at one member. */
export interface QueryResult {
  readonly host: string;
  readonly outcome: 'answered' | 'passed-on' | 'unreachable' | 'refused';
  readonly seconds: number;
}

export interface Question<Row> {
  /** What is being asked, for errors: "look up the recipient". Never holds a secret. */
  readonly doing: string;
  readonly sql: string;
  readonly values?: readonly unknown[];
  /** Ask the leader: for functions that write. */
  readonly leader?: boolean;
  /** An answer that the next member, if there is one, may know better: "catching up". The last such answer counts. */
  readonly unsure?: (rows: Row[]) => boolean;
}

/** A pool of connections to all members. */
export interface DirectoryPool {
  /**
   * Rows of the first member that answers.
   * @throws DirectoryUnavailable when no member did: the caller answers with a temporary failure.
   * @throws DirectoryRejected for what no member will do (no right, no such function).
   */
  ask<Row extends object>(question: Question<Row>): Promise<Row[]>;
  /** Use another certificate from now on. Statements under way finish on their old connections. */
  setTls(tls: TlsMaterial): void;
  /** At least one member has not just failed. */
  isReachable(): boolean;
  close(): Promise<void>;
}

interface Member {
  readonly host: string;
  readonly port: number;
  pool: pg.Pool;
  circuit: Circuit;
}

/** Open a pool. No connection is made before the first question. */
export function openDirectoryPool(options: DirectoryOptions): DirectoryPool {
  let tls = options.tls;
  const open = (host: string): Member => {
    const { name, port } = splitHost(host, options.port);
    return { host: name, port, pool: openPool(options, name, port, tls), circuit: newCircuit() };
  };
  const members = options.hosts.map(open);
  const leaders = options.leader === undefined ? members : [open(options.leader)];
  const everyone = new Set([...members, ...leaders]);
  return {
    ask: (question) => ask(question.leader ? leaders : members, question, options),
    setTls: (next) => {
      tls = next;
      for (const member of everyone) {
        const old = member.pool;
        member.pool = openPool(options, member.host, member.port, tls);
        void old.end();
      }
    },
    isReachable: () => members.some(({ circuit }) => circuit.failures === 0),
    close: async () => {
      await Promise.all([...everyone].map(({ pool }) => (pool.ending ? undefined : pool.end())));
    },
  };
}

function splitHost(host: string, port: number): { name: string; port: number } {
  const match = /^([^:]+):(\d+)$/.exec(host);
  return match ? { name: match[1] as string, port: Number(match[2]) } : { name: host, port };
}

function openPool(options: DirectoryOptions, host: string, port: number, tls: TlsMaterial | undefined): pg.Pool {
  const pool = new pg.Pool({
    host,
    port,
    database: options.database ?? 'posthorn',
    user: options.user,
    ...(tls === undefined ? {} : { ssl: { ...tls, host, minVersion: 'TLSv1.2' } }),
    max: options.connections ?? 4,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 2_000,
    query_timeout: options.queryTimeoutMs ?? 3_000,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    allowExitOnIdle: true,
    application_name: options.application,
  });
  // An idle connection that breaks is dropped by the pool; without a listener it would end the process.
  pool.on('error', ignore);
  return pool;
}

async function ask<Row extends object>(
  members: readonly Member[],
  question: Question<Row>,
  options: DirectoryOptions,
): Promise<Row[]> {
  const deadline = performance.now() + (options.totalTimeoutMs ?? 8_000);
  let last: Attempt<Row> = {};
  for (const member of circuitOrder(members, Date.now())) {
    if (performance.now() > deadline) break;
    const attempt = await askMember<Row>(member, question, options);
    if (attempt.rejected) throw attempt.rejected;
    if (isSure(attempt, question)) return attempt.rows;
    last = { ...last, ...attempt };
  }
  if (last.rows) return last.rows;
  throw last.error ?? new DirectoryUnavailable(`directory: ${question.doing}: no member answered in time`);
}

function isSure<Row>(attempt: Attempt<Row>, { unsure }: Question<Row>): attempt is Attempt<Row> & { rows: Row[] } {
  return attempt.rows !== undefined && unsure?.(attempt.rows) !== true;
}

interface Attempt<Row> {
  readonly rows?: Row[];
  readonly error?: Error;
  readonly rejected?: DirectoryRejected;
}

async function askMember<Row extends object>(
  member: Member,
  question: Question<Row>,
  options: DirectoryOptions,
): Promise<Attempt<Row>> {
  const started = performance.now();
  const report = (outcome: QueryResult['outcome']) =>
    options.onQuery?.({ host: member.host, outcome, seconds: (performance.now() - started) / 1000 });
  try {
    const rows = await run<Row>(member.pool, question);
    member.circuit = succeeded();
    report('answered');
    return { rows };
  } catch (cause) {
    const error = directoryError(question.doing, cause);
    if (!reachedServer(cause)) {
      member.circuit = failed(member.circuit, Date.now());
      report('unreachable');
      return { error };
    }
    if (error.name === 'DirectoryRejected' && !anotherMayKnow((error as DirectoryRejected).code)) {
      report('refused');
      return { rejected: error as DirectoryRejected };
    }
    report('passed-on');
    return { error: new DirectoryUnavailable(error.message, { cause: error }) };
  }
}

/** The connection is kept after an error that the server itself has told, and given up after any other. */
async function run<Row extends object>(pool: pg.Pool, question: Question<Row>): Promise<Row[]> {
  const client = await pool.connect();
  // A connection that breaks tells the query and raises an event too, which would end the process if nobody listened.
  client.on('error', ignore);
  try {
    const { rows } = await client.query<Row>(question.sql, [...(question.values ?? [])]);
    client.release();
    return rows;
  } catch (error) {
    client.release(!reachedServer(error));
    throw error;
  } finally {
    client.off('error', ignore);
  }
}

const ignore = (): void => undefined;

/** SQLSTATE classes that say that the server, or the pooler before it, cannot work now. */
const DOWN = /^(08|28|3D|53|57P)/;

function reachedServer(cause: unknown): boolean {
  return cause instanceof pg.DatabaseError && cause.code !== undefined && !DOWN.test(cause.code);
}

/** Functions raise 55000 ("catching up") when their member's view is too old; P0001 is a plain RAISE. */
function anotherMayKnow(code: string): boolean {
  return code.startsWith('55') || code === 'P0001' || code === '25006';
}

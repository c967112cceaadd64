/**
 * Whose sessions have to end, as the directory tells it: by login, the times at which a password, an app password, an
 * address, a state … was taken away. A revocation is known by its time, as the directory wrote it; no clock is compared
 * with another.
 */
import type { Log } from '../../../operator/runtime/log.js';
import type { DirectoryPool, Question } from '../../lib/directory.js';
import { recent } from '../../lib/recent.js';

export interface Revocation {
  readonly username: string;
  /** Microseconds since the epoch, by the directory's clock. */
  readonly at: number;
}

/** A revocation of a login, and when this process learned of it (by its own clock). */
export interface Known {
  readonly at: number;
  readonly learned: number;
}

export interface Revocations {
  /** Of the last day, the last ones. */
  of(username: string): readonly Known[];
  /** Takes an answer of the directory; returns logins that were revoked within the last seconds, new or not. */
  learn(rows: readonly Revocation[]): ReadonlySet<string>;
  /** The greatest time that is known; 0: none. */
  latest(): number;
  /** When the directory told for the first time; undefined: not yet. */
  began(): number | undefined;
  /** @throws when the directory has not told for so long that sessions may be open that should not. */
  requireFresh(): void;
  readonly clock: () => number;
}

const MOST_LOGINS = 50_000;
const MOST_PER_LOGIN = 32;
/** The directory keeps them for a day. */
const KEPT_MS = 25 * 3_600_000;
/** For so long a login counts as just revoked: the directory's members may differ by less. */
const NEWS_MS = 10_000;
/** What credentials() and sending() say is at most so old. */
const STALE_MS = 60_000;

export function createRevocations(clock: () => number = () => performance.now()): Revocations {
  const known = recent<readonly Known[]>(MOST_LOGINS, KEPT_MS, clock);
  let latest = 0;
  let began: number | undefined;
  let told = clock();
  const of = (username: string): readonly Known[] => known.get(username) ?? [];
  return {
    of,
    learn: (rows) => {
      const now = clock();
      for (const { username, at } of rows) {
        latest = Math.max(latest, at);
        const before = of(username);
        if (before.some((each) => each.at === at)) continue;
        known.set(username, [...before.slice(-(MOST_PER_LOGIN - 1)), { at, learned: now }]);
      }
      began ??= now;
      told = now;
      const names = rows.map(({ username }) => username);
      return new Set(names.filter((username) => of(username).some(({ learned }) => learned > now - NEWS_MS)));
    },
    latest: () => latest,
    began: () => began,
    requireFresh: () => {
      if (clock() - told > STALE_MS) throw new Error('the directory has not told for a minute whose sessions are over');
    },
    clock,
  };
}

const AT = '(extract(epoch FROM at) * 1000000)::float8';

/**
 * Asks every second what has been revoked. `onNews`: of whom, again for some seconds. Returns what stops it.
 */
export function followRevocations(
  directory: DirectoryPool,
  revocations: Revocations,
  { log, onNews }: { readonly log: Log; readonly onNews?: (username: string) => void },
): () => void {
  let stopped = false;
  let failing = false;
  const look = async (): Promise<void> => {
    try {
      const rows = await directory.ask<Revocation>({
        doing: 'look up revocations',
        sql: `SELECT username, ${AT} AS at FROM directory_v1.revoked(to_timestamp($1::float8 / 1000000))`,
        values: [revocations.latest()],
      });
      for (const username of revocations.learn(rows)) onNews?.(username);
      failing = false;
    } catch (error) {
      if (!failing && !stopped) log.warn({ err: error }, 'the directory does not tell whose sessions are over');
      failing = true;
    }
  };
  const loop = async (): Promise<void> => {
    while (!stopped) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, 1_000).unref());
    }
  };
  void loop();
  return () => {
    stopped = true;
  };
}

/** A moment in the life of a login: which of its revocations lie behind it. Whatever else is revoked came later. */
export interface Moment {
  /** By this process' clock; not later than the moment. */
  readonly time: number;
  readonly behind: ReadonlySet<number>;
}

/**
 * Asks about one login, and in the same snapshot which of its revocations that answer has taken in: a row is visible or
 * not, whatever clocks say. A member that lags does not tell revocations; then only those count as taken in that are
 * known for longer than an answer may be old. `$1` is the login; rows hold its `username`.
 */
export async function askWithMoment<Row extends { readonly username: string }>(
  directory: DirectoryPool,
  revocations: Revocations,
  login: string,
  question: Question<Row>,
): Promise<{ row: Row | undefined; moment: Moment }> {
  const time = revocations.clock();
  const known = revocations.of(login);
  const settled = known.filter(({ learned }) => learned <= time - STALE_MS).map(({ at }) => at);
  const recentOnes = known.filter(({ learned }) => learned > time - STALE_MS).map(({ at }) => at);
  const since = Math.min(revocations.latest(), ...recentOnes);
  const moment = (visible: readonly number[]): Moment => ({ time, behind: new Set([...settled, ...visible]) });
  try {
    const [found] = await directory.ask<Row & { readonly behind: readonly number[] }>({
      ...question,
      sql: `SELECT asked.*, ARRAY(SELECT ${AT} FROM directory_v1.revoked(to_timestamp($2::float8 / 1000000)) AS r
                                  WHERE r.username = asked.username) AS behind
            FROM (${question.sql}) AS asked`,
      values: [login, since],
    });
    return { row: found, moment: moment(found?.behind ?? []) };
  } catch {
    const [row] = await directory.ask<Row>({ ...question, values: [login] });
    return { row, moment: moment([]) };
  }
}

/** A recipient looked up at RCPT, as the mx does it, in a directory of 100,000 addresses; reference: one of 100. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Directory } from '../../operator/directory/directory.js';
import { openDirectory } from '../../operator/directory/directory.js';
import { startPostgres, type TestPostgres } from '../../operator/directory/testing/postgres.js';
import { type BenchOptions, type BenchResult, mean, percentile } from './result.js';

const SIZES = { few: 100, many: 100_000 } as const;
const DOMAINS = 10;
const BATCH = 1_000;
const WARM_UP = 2_000;
const MAX_RATIO = 1.3;

/** Of ten addresses six are mailboxes, three their aliases, one is a forward. */
const MAILBOXES = 0.6;
const ALIASES = 0.3;
const FORWARDS = 0.1;

/** What one delivery asks. `recipient` is the look-up at RCPT; the others come when the message is taken in. */
const LOOKUPS: Record<string, string> = {
  recipient: 'SELECT verdict, kind, canonical, policy_key, policy FROM directory_v1.recipient($1)',
  alias: 'SELECT directory_v1.alias($1) AS answer',
  route: 'SELECT directory_v1.route($1) AS answer',
};

/**
 * Two PostgreSQL servers of their own, filled by the operator's projection, asked in turn over one connection each, so
 * that whatever else the machine does falls on both.
 * @param n look-ups of each kind in each of the two
 */
export async function lookup({ n, log }: BenchOptions): Promise<BenchResult> {
  const started: Site[] = [];
  try {
    for (const size of [SIZES.few, SIZES.many]) {
      log(`a directory of ${size} addresses`);
      started.push(await startSite(size));
    }
    const [few, many] = started as [Site, Site];
    const times: Record<string, [number[], number[]]> = {};
    for (const [name, sql] of Object.entries(LOOKUPS)) {
      log(`${name}: ${n} times in each, in turn`);
      times[name] = await inTurn(few, many, sql, n);
    }
    return resultOf(times);
  } finally {
    await Promise.all(started.map((site) => site.stop()));
  }
}

interface Site {
  /** An address to ask for: nine of ten are there, some of them with +detail. */
  address(i: number): string;
  ask(sql: string, address: string): Promise<void>;
  stop(): Promise<void>;
}

async function startSite(size: number): Promise<Site> {
  const server = await startPostgres({ settings: ["shared_buffers = '256MB'"] });
  try {
    const directory = openDirectory({ host: '127.0.0.1', port: server.port });
    await fill(directory, size).finally(() => directory.close());
    // As autovacuum does in the minute after.
    await server.query('postgres', 'VACUUM ANALYZE');
    return await openSite(server, size);
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function openSite(server: TestPostgres, size: number): Promise<Site> {
  const client = new pg.Client(server.as('posthorn_mx'));
  const heart = new pg.Client(server.as('posthorn_heartbeat'));
  await Promise.all([client.connect(), heart.connect()]);
  const beat = () => void heart.query('SELECT directory_v1.heartbeat()').catch(() => undefined);
  beat();
  const beating = setInterval(beat, 1_000);
  return {
    address: (i) => wanted(size, i),
    ask: async (sql, address) => {
      await client.query(sql, [address]);
    },
    stop: async () => {
      clearInterval(beating);
      await Promise.all([client.end(), heart.end()]);
      await server.stop();
    },
  };
}

async function fill(directory: Directory, size: number): Promise<void> {
  await directory.migrate();
  await directory.projectShards([{ name: 'a', host: 'store', lmtpPort: 10024, imapPort: 10143, sievePort: 14190 }]);
  const domains = Array.from({ length: DOMAINS }, (_, i) => domainOf(i));
  const object = (name: string) => ({ uid: randomUUID(), namespace: 'bench', name });
  await directory.projectDomains(
    domains.map((domain) => ({ domain, object: object(domain), dkimSelector: null, filter: { rejectAbove: 15 } })),
  );
  const createdAt = new Date().toISOString();
  for (let first = 0; first < size * MAILBOXES; first += BATCH) {
    const rows = range(first, Math.min(first + BATCH, size * MAILBOXES)).map((i) => {
      const ref = object(`m${i}`);
      const aliases = i < size * ALIASES ? [addressOf('a', i)] : [];
      const base = { uuid: ref.uid, object: ref, address: addressOf('m', i), aliases, shard: 'a', createdAt };
      return { ...base, quotaBytes: null, deletionPolicy: 'Retain', adopt: false } as const;
    });
    const { value } = await directory.projectMailboxes(rows);
    check(value);
  }
  for (let first = 0; first < size * FORWARDS; first += BATCH) {
    const rows = range(first, Math.min(first + BATCH, size * FORWARDS)).map((i) => ({
      address: addressOf('f', i),
      to: [addressOf('m', i), `f${i}@outside.test`],
      ...{ couriers: [], keepCopy: null, sendAs: null, require: null, object: object(`f${i}`), createdAt },
    }));
    const { value } = await directory.projectForwards(rows);
    check(value);
  }
}

function check(outcomes: readonly { result: string }[]): void {
  const refused = outcomes.filter(({ result }) => result !== 'written').length;
  if (refused > 0) throw new Error(`${refused} of ${outcomes.length} rows were not written`);
}

/** Pseudo-random, and the same in each run: a prime step goes through all of them. */
function wanted(size: number, i: number): string {
  const at = (i * 7_919) % size;
  if (i % 10 === 9) return `nobody${at}@${domainOf(at)}`;
  if (at < size * MAILBOXES) return addressOf('m', at).replace('@', i % 5 === 0 ? '+list@' : '@');
  if (at < size * (MAILBOXES + ALIASES)) return addressOf('a', Math.floor(at - size * MAILBOXES));
  return addressOf('f', Math.floor(at - size * (MAILBOXES + ALIASES)));
}

const domainOf = (i: number) => `domain${i % DOMAINS}.example`;
const addressOf = (kind: string, i: number) => `${kind}${i}@${domainOf(i)}`;
const range = (from: number, to: number) => Array.from({ length: Math.ceil(to) - from }, (_, i) => from + i);

/** Milliseconds of each look-up in the one and in the other. */
async function inTurn(few: Site, many: Site, sql: string, n: number): Promise<[number[], number[]]> {
  const sides = [
    { site: few, times: [] as number[] },
    { site: many, times: [] as number[] },
  ] as const;
  for (let i = 0; i < n + WARM_UP; i += 1) {
    // Neither is always the first: what the one has cleared from the processor's cache, the other lacks.
    for (const { site, times } of i % 2 === 0 ? sides : [sides[1], sides[0]]) {
      const address = site.address(i);
      const start = performance.now();
      await site.ask(sql, address);
      if (i >= WARM_UP) times.push(performance.now() - start);
    }
  }
  return [sides[0].times, sides[1].times];
}

function resultOf(times: Record<string, [number[], number[]]>): BenchResult {
  const [few, many] = times.recipient ?? [[], []];
  const [reference, value] = [percentile(few, 99), percentile(many, 99)];
  const details = Object.entries(times).flatMap(([name, [hundred, thousands]]) => [
    [`${name}100`, microseconds(hundred)],
    [`${name}100000`, microseconds(thousands)],
  ]);
  const bounds = [
    { what: `RCPT look-up at 100,000 addresses ≤ ${MAX_RATIO} × at 100 (p99)`, met: value <= MAX_RATIO * reference },
  ];
  return { name: 'lookup', value, unit: 'ms', reference, bounds, details: Object.fromEntries(details) };
}

function microseconds(ms: readonly number[]) {
  const us = (value: number) => Math.round(value * 1000);
  const at = (p: number) => us(percentile(ms, p));
  return { n: ms.length, meanUs: us(mean(ms)), p50Us: at(50), p90Us: at(90), p99Us: at(99), maxUs: at(100) };
}

/** Planned moves of the primary: what people who log in at that time see, and what becomes of mail. */
import { setTimeout as sleep } from 'node:timers/promises';
import { account, startLoad } from '../e2e/lib/campaign.js';
import { addressOf, type FailoverSystem, password, shard } from '../e2e/lib/failover-system.js';
import { handOver, primaryOf, waitUntilWhole } from '../e2e/lib/shard.js';
import { logIn } from './imap-login.js';
import { ensureReplicated } from './replicated.js';
import { type BenchOptions, type BenchResult, percentile, summary } from './result.js';

const PEOPLE = ['ann', 'bob', 'cleo', 'dan'];
const BOUND_MS = 1_000;
/** A log-in begins so often. */
const EVERY_MS = 150;
const BEFORE_MS = 1_000;
const AFTER_MS = 4_000;

interface LogIn {
  ms: number;
  /** Attempts that were refused or cut off. */
  refused: number;
}

export async function rotation({ n, log }: BenchOptions): Promise<BenchResult> {
  const system = await ensureReplicated(log, PEOPLE);
  await waitUntilWhole(shard);
  const load = await startLoad(system, PEOPLE.slice(0, 2), 1, { deliveriesPerSecond: 5, readerMs: 1_000 });
  await sleep(3_000);
  const reference = await logInsDuring(system, async () => sleep(BEFORE_MS));
  const moves: { handOverMs: number; logIns: LogIn[] }[] = [];
  for (let move = 1; move <= n; move += 1) {
    await waitUntilWhole(shard);
    const { member } = await primaryOf(shard);
    let handOverMs = 0;
    const logIns = await logInsDuring(system, async () => {
      const started = performance.now();
      await handOver(shard, (member + 1) % shard.replicas);
      handOverMs = performance.now() - started;
    });
    moves.push({ handOverMs, logIns });
    log(`move ${move} of ${n}: ${Math.round(handOverMs)} ms, slowest log-in ${Math.round(worst(logIns))} ms`);
  }
  const reconnects = await load.stop();
  const verdict = await account(system, load);
  const failed = [...verdict.lost, ...verdict.doubled, ...verdict.refused];
  return resultOf(reference, moves, failed, reconnects);
}

/** People who log in, one after the other and side by side, before, during and after `work`. Who is refused tries again at once. */
async function logInsDuring({ imap }: FailoverSystem, work: () => Promise<void>): Promise<LogIn[]> {
  const results: Promise<LogIn>[] = [];
  let number = 0;
  const timer = setInterval(() => {
    number += 1;
    results.push(logInAtLast(imap, addressOf(PEOPLE[number % PEOPLE.length] as string)));
  }, EVERY_MS);
  try {
    await sleep(BEFORE_MS);
    await work();
    await sleep(AFTER_MS);
  } finally {
    clearInterval(timer);
  }
  return Promise.all(results);
}

async function logInAtLast(imap: FailoverSystem['imap'], user: string): Promise<LogIn> {
  const started = performance.now();
  for (let refused = 0; ; refused += 1) {
    if (await logIn(imap, user, password)) return { ms: performance.now() - started, refused };
    if (performance.now() - started > 60_000) throw new Error(`${user} could not log in for a minute`);
  }
}

const times = (logIns: readonly LogIn[]): number[] => logIns.map(({ ms }) => ms);
const worst = (logIns: readonly LogIn[]): number => Math.max(...times(logIns));

function resultOf(
  reference: readonly LogIn[],
  moves: readonly { handOverMs: number; logIns: LogIn[] }[],
  failed: readonly string[],
  reconnects: readonly number[],
): BenchResult {
  const all = moves.flatMap(({ logIns }) => logIns);
  const value = percentile(times(all), 99);
  const bar = percentile(times(reference), 99);
  return {
    name: 'rotation',
    value,
    unit: 'ms',
    reference: bar,
    bounds: [
      { what: `a log-in takes ≤ ${BOUND_MS} ms, p99 (${Math.round(value)} ms)`, met: value <= BOUND_MS },
      { what: `no delivery fails (${failed.length})`, met: failed.length === 0 },
    ],
    details: {
      logIns: summary(times(all)),
      slowestOfEachMove: summary(moves.map(({ logIns }) => worst(logIns))),
      refusedAttempts: all.reduce((sum, { refused }) => sum + refused, 0),
      handOver: summary(moves.map(({ handOverMs }) => handOverMs)),
      withoutAMove: summary(times(reference)),
      reconnectsOfReaders: reconnects,
      failedDeliveries: failed,
    },
  };
}

/** Load on the mail system while things break, and the account of it afterwards. */
import { setTimeout as sleep } from 'node:timers/promises';
import { folders, logIn, select } from '../../ledger/imap.js';
import { ALWAYS, counts, judge, type Loss, type Verdict } from '../../ledger/judge.js';
import { type Copy, createLedger, type Ledger } from '../../ledger/ledger.js';
import { createPulse, type Pulse } from '../../ledger/pulse.js';
import { type Random, random } from '../../ledger/random.js';
import { copiesOf, read } from '../../ledger/reader.js';
import { deliver } from '../../ledger/sender.js';
import { addressOf, type FailoverSystem, password, place, shard, waitForEmptyQueues } from './failover-system.js';
import type { Fault } from './faults.js';
import { keepLogs } from './kept-logs.js';
import { waitFor } from './kube.js';
import { leaseOf, podOf, primaryOf, waitUntilWhole } from './shard.js';

export interface Load {
  accounts: readonly string[];
  ledger: Ledger;
  deliveries: Pulse;
  readers: readonly Pulse[];
  losses: Loss[];
  /** Messages from before, which are none of its business. */
  earlier: ReadonlySet<string>;
  chance: Random;
  /** Ends it and waits for its last commands. @returns how often each reader had to connect again */
  stop(): Promise<number[]>;
}

export interface Rates {
  deliveriesPerSecond: number;
  /** Between two commands of a reader. */
  readerMs: number;
}

const RATES: Rates = { deliveriesPerSecond: 4, readerMs: 400 };

/**
 * What a primary alone may have had when its volume was lost: changes by mail programs are copied within seconds. A removal,
 * a flag or an append that is older than this must be there all the same.
 */
export const LAG_MS = 12_000;

export const log = (text: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);

/** Starts deliveries to all accounts, and a reader on each. */
export async function startLoad(
  system: FailoverSystem,
  accounts: readonly string[],
  seed: number,
  rates = RATES,
): Promise<Load> {
  const { smtp, imap } = system;
  const earlier = new Set((await collect(system, accounts)).map(({ id }) => id));
  const run = `${Date.now().toString(36)}-${seed}`;
  const ledger = createLedger();
  const over = new AbortController();
  const { signal } = over;
  const logs = keepLogs(place.namespace, podOf(shard, 0).replace(/0$/, ''));
  const chance = random(seed);
  const deliveries = createPulse();
  const recipients = accounts.map((account) => ({ account, address: addressOf(account) }));
  const perSecond = rates.deliveriesPerSecond;
  const sending = deliver({
    target: smtp,
    recipients,
    perSecond,
    connections: 4,
    run,
    ledger,
    pulse: deliveries,
    signal,
  });
  const readers = accounts.map(() => createPulse());
  const reading = accounts.map((account, index) =>
    read({
      ...{ target: imap, account, user: addressOf(account), pass: password, run, ledger, signal },
      everyMs: rates.readerMs,
      pulse: readers[index] as Pulse,
      chance: chance.fork(account),
    }),
  );
  const stop = async (): Promise<number[]> => {
    over.abort();
    logs.stop();
    const [sent, read] = await Promise.all([sending, Promise.all(reading)]);
    const done = read.reduce((sum, { done }) => sum + done, 0);
    const reconnects = read.map(({ reconnects }) => reconnects);
    log(
      `deliveries ${JSON.stringify({ ...sent, replies: Object.fromEntries(sent.replies) })}; ${done} commands acknowledged, reconnects ${reconnects.join(', ')}`,
    );
    log(`logs of the copies: ${logs.folder}`);
    return reconnects;
  };
  return { accounts, ledger, deliveries, readers, losses: [], earlier, chance: chance.fork('faults'), stop };
}

export interface Round {
  /** Longest pause that one of the mail programs saw, ms. */
  pauseMs: number;
  /** Until all copies were in sync again, from the fault on, ms. */
  wholeMs: number;
  epochs: number;
}

/** One fault on the primary, from a whole shard to a whole shard. */
export async function strike(load: Load, fault: Fault, wholeWithinMs = 180_000): Promise<Round> {
  await sleep(load.chance.whole(500, 4_000));
  const before = await primaryOf(shard);
  const at = Date.now();
  const struck = await fault.strike(shard, before.member, load.chance);
  if (struck.destroyed) load.losses.push({ from: at - LAG_MS, to: Date.now() });
  try {
    await sleep(struck.lastsMs);
  } finally {
    await struck.undo();
  }
  const lasted = Date.now() - at;
  const after = await waitUntilWhole(shard, wholeWithinMs);
  const round = {
    pauseMs: Math.max(...load.readers.map((pulse) => pulse.longestGapMs(at, Date.now()))),
    wholeMs: Date.now() - at,
    epochs: after.epoch - before.epoch,
  };
  log(
    `${fault.name} (${struck.detail}; ${seconds(lasted)}): primary ${before.member} → ${after.member}, epoch ${before.epoch} → ` +
      `${after.epoch}, longest pause of a reader ${seconds(round.pauseMs)}, whole after ${seconds(round.wholeMs)}`,
  );
  return round;
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** Everything that a person sees, in all folders of all accounts. */
export async function collect({ imap }: FailoverSystem, accounts: readonly string[]): Promise<Copy[]> {
  const copies: Copy[] = [];
  for (const account of accounts) {
    const session = await waitFor(`${account} to log in`, () => logIn(imap, addressOf(account), password), 60_000);
    try {
      for (const folder of await folders(session)) copies.push(...copiesOf(account, await select(session, folder)));
    } finally {
      session.close();
    }
  }
  return copies;
}

/** Judges when nothing waits any more. What must hold always is given some time to become true: the last syncs may still run. */
export async function account(system: FailoverSystem, load: Load, settleMs = 60_000): Promise<Verdict> {
  await waitUntilWhole(shard, 240_000);
  await waitForEmptyQueues();
  const deadline = Date.now() + settleMs;
  for (;;) {
    const copies = (await collect(system, load.accounts)).filter(({ id }) => !load.earlier.has(id));
    for (const copy of copies) load.ledger.seen(copy);
    const verdict = judge(load.ledger, copies, load.losses);
    if (ALWAYS.every((kind) => verdict[kind].length === 0) || Date.now() > deadline) {
      const { epoch, primary } = await leaseOf(shard);
      log(
        `member ${primary} of epoch ${epoch}: ${load.ledger.entries.size} messages, ${JSON.stringify(counts(verdict))}`,
      );
      return verdict;
    }
    await sleep(5_000);
  }
}

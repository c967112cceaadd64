/** The primary's node is killed → a delivery and a log-in succeed again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { addressOf, type FailoverSystem, password, shard } from '../e2e/lib/failover-system.js';
import { cluster, nodeOf, podOf, primaryOf, waitUntilWhole } from '../e2e/lib/shard.js';
import { directoryLeader } from '../e2e/lib/sql.js';
import { logIn, select } from '../ledger/imap.js';
import { createLedger } from '../ledger/ledger.js';
import { createPulse } from '../ledger/pulse.js';
import { deliver } from '../ledger/sender.js';
import { firstLogIn } from './imap-login.js';
import { clear, ensureReplicated, until } from './replicated.js';
import { type BenchOptions, type BenchResult, percentile, summary } from './result.js';

const PERSON = 'ann';
const BOUND_MS = 10_000;
/** What the protocol needs at least: the lease's time (3 s) and its margin (1 s), if it was renewed just before. */
const FLOOR_MS = 4_000;
const TIMEOUT_MS = 120_000;

interface Round {
  logInMs: number;
  deliveryMs: number;
  /** The leader of the database was on the same node: then a new one must be found first. */
  withLeader: boolean;
}

export async function failover({ n, log }: BenchOptions): Promise<BenchResult> {
  const system = await ensureReplicated(log, [PERSON]);
  const rounds: Round[] = [];
  for (let round = 1; round <= n; round += 1) {
    await waitUntilWhole(shard, 240_000);
    await clear(system, PERSON);
    await sleep(3_000);
    const result = await killOnce(system);
    rounds.push(result);
    log(`round ${round} of ${n}: ${JSON.stringify(result)}`);
  }
  return resultOf(rounds);
}

async function killOnce(system: FailoverSystem): Promise<Round> {
  const pod = podOf(shard, (await primaryOf(shard)).member);
  const node = await nodeOf(shard.namespace, pod);
  const withLeader = (await nodeOf(shard.namespace, await directoryLeader(shard.namespace))) === node;
  const over = new AbortController();
  const killed = performance.now();
  const killing = cluster('node', 'kill', String(node));
  try {
    const [logInAt, deliveredAt] = await Promise.all([
      firstLogIn(system.imap, addressOf(PERSON), password, killing, {
        intervalMs: 100,
        most: 12,
        timeoutMs: TIMEOUT_MS,
      }),
      firstDelivery(system, over.signal),
    ]);
    return { logInMs: logInAt - killed, deliveryMs: deliveredAt - killed, withLeader };
  } finally {
    over.abort();
    await killing;
    await cluster('node', 'start', String(node));
  }
}

/** When a message that was sent from now on is first seen in the mailbox. */
async function firstDelivery({ smtp, imap }: FailoverSystem, signal: AbortSignal): Promise<number> {
  const run = `failover-${Date.now().toString(36)}`;
  const recipients = [{ account: PERSON, address: addressOf(PERSON) }];
  const load = { run, ledger: createLedger(), pulse: createPulse(), signal };
  void deliver({ target: smtp, recipients, perSecond: 5, connections: 4, ...load });
  const seen = async (): Promise<boolean> => {
    const session = await logIn(imap, addressOf(PERSON), password);
    try {
      for (;;) {
        const { messages } = await select(session, 'INBOX');
        if (messages.some(({ id }) => id.startsWith(`<${run}.`))) return true;
        await sleep(50);
      }
    } finally {
      session.close();
    }
  };
  // A session with the old primary must not be what is waited for: it would hang for its whole time-out.
  return Promise.any([0, 1_500, 3_000, 4_500].map((after) => sleep(after).then(() => until(seen, 200, TIMEOUT_MS))));
}

function resultOf(rounds: readonly Round[]): BenchResult {
  const both = rounds.map(({ logInMs, deliveryMs }) => Math.max(logInMs, deliveryMs));
  const p99 = percentile(both, 99);
  const part = (withLeader: boolean): object | undefined => {
    const some = both.filter((_, index) => rounds[index]?.withLeader === withLeader);
    return some.length === 0 ? undefined : summary(some);
  };
  return {
    name: 'failover',
    value: p99 / 1000,
    unit: 's',
    reference: FLOOR_MS / 1000,
    bounds: [{ what: `p99 ≤ ${BOUND_MS / 1000} s (${(p99 / 1000).toFixed(1)} s)`, met: p99 <= BOUND_MS }],
    details: {
      both: summary(both),
      logIn: summary(rounds.map(({ logInMs }) => logInMs)),
      delivery: summary(rounds.map(({ deliveryMs }) => deliveryMs)),
      databaseLeaderOnTheNode: part(true),
      databaseLeaderElsewhere: part(false),
    },
  };
}

/** A delivery is on the primary's volume → it is on each replica's; at 20 deliveries a second. */
import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeObject } from '../../operator/runtime/object.js';
import { mailboxType } from '../../operator/types.js';
import { addressOf, place, shard } from '../e2e/lib/failover-system.js';
import { kube } from '../e2e/lib/kube.js';
import { membersOf, podOf, primaryOf, volumeOf, waitUntilWhole } from '../e2e/lib/shard.js';
import { createLedger } from '../ledger/ledger.js';
import { createPulse } from '../ledger/pulse.js';
import { deliver } from '../ledger/sender.js';
import { processorSeconds } from './pod-cost.js';
import { ensureReplicated } from './replicated.js';
import { type BenchOptions, type BenchResult, percentile, summary } from './result.js';

const PEOPLE = Array.from({ length: 20 }, (_, i) => `lag${i}`);
const PER_SECOND = 20;
/** The reference: so slow that nothing waits for anything else. */
const SLOWLY = 1;
const BOUND_MS = 1_000;
/** After the last delivery, for what is on its way. */
const SETTLE_MS = 15_000;

interface Run {
  lagsMs: number[];
  deliveries: number;
  /** Processor milliseconds a delivery, by member's part and container. */
  costMs: Record<string, number>;
}

export async function replicationLag({ n, log }: BenchOptions): Promise<BenchResult> {
  const system = await ensureReplicated(log, PEOPLE);
  await waitUntilWhole(shard);
  log('warming up: a message for everybody');
  await run(system.smtp, 5, PEOPLE.length / 5);
  const slow = await run(system.smtp, SLOWLY, 40);
  log(`${SLOWLY} a second: ${JSON.stringify(summary(slow.lagsMs))}`);
  const fast = await run(system.smtp, PER_SECOND, n / PER_SECOND);
  log(`${PER_SECOND} a second: ${JSON.stringify(summary(fast.lagsMs))}`);
  const p99 = percentile(fast.lagsMs, 99);
  return {
    name: 'replication-lag',
    value: p99,
    unit: 'ms',
    reference: percentile(slow.lagsMs, 99),
    bounds: [{ what: `p99 ≤ ${BOUND_MS} ms (${Math.round(p99)} ms)`, met: p99 <= BOUND_MS }],
    details: {
      lag: summary(fast.lagsMs),
      slowly: summary(slow.lagsMs),
      deliveries: fast.deliveries,
      processorMsPerDelivery: fast.costMs,
      processorMsPerDeliverySlowly: slow.costMs,
    },
  };
}

async function run(smtp: { host: string; port: number }, perSecond: number, seconds: number): Promise<Run> {
  const primary = await primaryOf(shard);
  const watched = await Promise.all(membersOf(shard).map((member) => watchMember(member)));
  const before = await costs(primary.member);
  const over = new AbortController();
  const recipients = PEOPLE.map((account) => ({ account, address: addressOf(account) }));
  const load = { run: `lag-${Date.now().toString(36)}`, ledger: createLedger(), pulse: createPulse() };
  const sending = deliver({ target: smtp, recipients, perSecond, connections: 10, ...load, signal: over.signal });
  await sleep(seconds * 1_000);
  over.abort();
  const { taken } = await sending;
  await sleep(SETTLE_MS);
  const after = await costs(primary.member);
  for (const { stop } of watched) stop();
  const first = watched[primary.member] as Watched;
  const lagsMs = watched.filter((other) => other !== first).flatMap(({ seen }) => lags(first.seen, seen));
  if (lagsMs.length < taken) throw new Error(`${taken} messages were taken, ${lagsMs.length} came to two replicas`);
  const costMs = Object.fromEntries(
    [...after].map(([part, sum]) => [part, ((sum - (before.get(part) ?? 0)) / taken) * 1_000]),
  );
  return { lagsMs, deliveries: taken, costMs };
}

interface Watched {
  /** File of a message → when it was there, by `performance.now()`. */
  seen: ReadonlyMap<string, number>;
  stop(): unknown;
}

/** Sees every message that comes to a member's volume, in the moment when its file gets its name. */
async function watchMember(member: number): Promise<Watched> {
  const volume = await volumeOf(shard, member);
  const seen = new Map<string, number>();
  const watchers: FSWatcher[] = [];
  for (const name of PEOPLE) {
    const folder = await inboxOf(volume, name);
    const watcher = watch(folder, (_, file) => {
      const key = `${name}/${file}`;
      if (file !== null && /^u\.\d+$/.test(file) && !seen.has(key)) seen.set(key, performance.now());
    });
    watchers.push(watcher);
  }
  return { seen, stop: () => watchers.map((watcher) => watcher.close()) };
}

async function inboxOf(volume: string, name: string): Promise<string> {
  const { status } = await kube().get<KubeObject & { status?: { uuid?: string } }>(mailboxType, {
    namespace: place.namespace,
    name,
  });
  const uuid = status?.uuid;
  if (uuid === undefined) throw new Error(`Mailbox ${name} has no uuid in its status`);
  return join(volume, 'mailboxes', uuid.slice(0, 2), uuid, 'mail/mailboxes/INBOX/dbox-Mails');
}

function lags(primary: ReadonlyMap<string, number>, replica: ReadonlyMap<string, number>): number[] {
  return [...primary].flatMap(([file, at]) => {
    const there = replica.get(file);
    return there === undefined ? [] : [Math.max(0, there - at)];
  });
}

/** Processor seconds so far, by part and container. */
async function costs(primary: number): Promise<Map<string, number>> {
  const sums = new Map<string, number>();
  for (const member of membersOf(shard)) {
    for (const [container, spent] of await processorSeconds(shard.namespace, podOf(shard, member))) {
      const key = `${member === primary ? 'primary' : 'replicas'} ${container}`;
      sums.set(key, (sums.get(key) ?? 0) + spent);
    }
  }
  return sums;
}

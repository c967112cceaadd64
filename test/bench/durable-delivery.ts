/** Messages over SMTP to the mx → all in mailboxes, with a second copy of each before it is acknowledged, and without. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureFailoverSystem, place, shard } from '../e2e/lib/failover-system.js';
import { waitFor } from '../e2e/lib/kube.js';
import { ensureOutside, type Outside } from '../e2e/lib/outside.js';
import { podOf, primaryNow, waitUntilWhole } from '../e2e/lib/shard.js';
import { followDeliveries } from './deliveries.js';
import { ensureReplicated } from './replicated.js';
import { type BenchOptions, type BenchResult, mean } from './result.js';
import { sendAll } from './smtp-sender.js';

const PEOPLE = Array.from({ length: 50 }, (_, i) => `deep${i}`);
const CONNECTIONS = 20;
const ROUNDS = 2;
/** Between two runs: the replicas get all, and are no part of the next one. */
const PAUSE_MS = 5_000;

type Durability = 'Primary' | 'Replicated';

export async function durableDelivery({ n, log }: BenchOptions): Promise<BenchResult> {
  const { smtp } = await ensureReplicated(log, PEOPLE);
  const outside = await ensureOutside();
  const recipients = PEOPLE.map((name) => `${name}@${place.domain}`);
  const seconds: Record<Durability, number[]> = { Primary: [], Replicated: [] };
  const timeRun = async (durability: Durability, messages: number): Promise<number> => {
    await declare(outside, durability);
    await sleep(PAUSE_MS);
    const { member } = await waitUntilWhole(shard, 300_000);
    const run = `deep-${Date.now().toString(36)}`;
    const deliveries = await followDeliveries(`pod/${podOf(shard, member)}`, run, place.namespace);
    try {
      const started = performance.now();
      await sendAll({ target: smtp, recipients, messages, connections: CONNECTIONS, run });
      const took = ((await deliveries.complete(messages)) - started) / 1_000;
      log(`${durability}: ${messages} messages in ${took.toFixed(1)} s`);
      return took;
    } finally {
      deliveries.stop();
    }
  };
  await timeRun('Primary', Math.ceil(n / 5));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const durability of ['Primary', 'Replicated'] as const) seconds[durability].push(await timeRun(durability, n));
  }
  return resultOf(n, seconds);
}

/** Says it in the MailSystem, and waits until the primary works by it. */
async function declare(outside: Outside, durability: Durability): Promise<void> {
  await ensureFailoverSystem(outside, { durability });
  await waitFor(`durability ${durability}`, async () =>
    (await primaryNow(shard))?.durability === durability ? true : undefined,
  );
}

function resultOf(n: number, seconds: Record<Durability, number[]>): BenchResult {
  const rate = (durability: Durability): number => mean(seconds[durability].map((took) => n / took));
  return {
    name: 'durable-delivery',
    value: rate('Replicated'),
    unit: '/s',
    reference: rate('Primary'),
    bounds: [],
    details: { runsSeconds: seconds, storedPerSecond: { Primary: rate('Primary'), Replicated: rate('Replicated') } },
  };
}

/** Messages over SMTP to the mx → all in mailboxes; reference: the same images with flat files in one pod. */
import { setTimeout as sleep } from 'node:timers/promises';
import { mailboxType } from '../../operator/types.js';
import { clientRecords } from '../e2e/lib/environment.js';
import { apply, waitForCondition } from '../e2e/lib/kube.js';
import { setRecords } from '../e2e/lib/outside.js';
import { followDeliveries } from './deliveries.js';
import { startReference } from './reference/pod.js';
import { type BenchOptions, type BenchResult, mean } from './result.js';
import { sendAll } from './smtp-sender.js';
import { deleteAll, domain, ensureBenchSystem, inParallel, mailbox, namespace, podOf, sharedSecret } from './system.js';

const PEOPLE = 100;
const CONNECTIONS = 20;
const ROUNDS = 2;
const BOUND = 0.8;
const PAUSE_MS = 5_000;

interface Way {
  name: string;
  target: { host: string; port: number };
  /** The pod whose container `dovecot` stores the mail. */
  store: string;
}

interface Run {
  accepted: number;
  stored: number;
}

export async function mailThroughput({ n, log }: BenchOptions): Promise<BenchResult> {
  const { smtp } = await ensureBenchSystem(log);
  const people = Array.from({ length: PEOPLE }, (_, i) => `m${i}`);
  log(`${PEOPLE} Mailboxes`);
  await inParallel(people, 8, (name) => apply(mailbox(namespace, name, sharedSecret)));
  for (const name of people) await waitForCondition(mailboxType, { namespace, name }, {});
  log('reference pod');
  const reference = await startReference(people);
  try {
    const ways: Way[] = [
      { name: 'ours', target: smtp, store: await podOf('store') },
      { name: 'reference', target: reference.smtp, store: reference.pod },
    ];
    for (const { target } of ways) await setRecords(await clientRecords(target));
    const runs: Record<string, Run[]> = { ours: [], reference: [] };
    for (const way of ways) await timeRun(way, people, Math.ceil(n / 5), `${way.name}, warming up`, log);
    for (let round = 1; round <= ROUNDS; round++) {
      for (const way of ways) runs[way.name]?.push(await timeRun(way, people, n, `${way.name}, round ${round}`, log));
    }
    return resultOf(n, runs.ours ?? [], runs.reference ?? []);
  } finally {
    await reference.remove();
    await deleteAll(mailboxType, namespace);
  }
}

function resultOf(n: number, ours: Run[], reference: Run[]): BenchResult {
  const rate = (runs: Run[], what: keyof Run) => mean(runs.map((run) => n / run[what]));
  const value = rate(ours, 'stored');
  const bar = rate(reference, 'stored');
  return {
    name: 'mail-throughput',
    value,
    unit: '/s',
    reference: bar,
    bounds: [{ what: `rate ≥ ${BOUND} × reference (${(value / bar).toFixed(2)})`, met: value >= BOUND * bar }],
    details: {
      runsSeconds: { ours, reference },
      acceptedPerSecond: { ours: rate(ours, 'accepted'), reference: rate(reference, 'accepted') },
      storedPerSecond: { ours: value, reference: bar },
    },
  };
}

let runs = 0;

async function timeRun(
  way: Way,
  people: readonly string[],
  messages: number,
  what: string,
  log: BenchOptions['log'],
): Promise<Run> {
  await sleep(PAUSE_MS);
  runs += 1;
  const run = `bench-${Date.now().toString(36)}-${runs}`;
  const deliveries = await followDeliveries(way.store, run);
  try {
    const started = performance.now();
    const recipients = people.map((name) => `${name}@${domain}`);
    await sendAll({ target: way.target, recipients, messages, connections: CONNECTIONS, run });
    const accepted = (performance.now() - started) / 1_000;
    const stored = ((await deliveries.complete(messages)) - started) / 1_000;
    const rates = `accepted ${Math.round(messages / accepted)}/s, stored ${Math.round(messages / stored)}/s`;
    log(`${what}: ${messages} messages in ${stored.toFixed(1)} s, ${rates}`);
    return { accepted, stored };
  } finally {
    deliveries.stop();
  }
}

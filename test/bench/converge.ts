/** Mailboxes that exist when the operator starts → all Ready; reference: as many bare status writes. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Mailbox } from '../../crds/mailbox.js';
import type { KubeObject } from '../../operator/runtime/object.js';
import { mailboxType } from '../../operator/types.js';
import { apply, kube } from '../e2e/lib/kube.js';
import {
  leadingSince,
  type OperatorProcess,
  peakMemory,
  readMetrics,
  type Samples,
  startOperator,
  stopOperator,
  sum,
  writes,
} from './operator-process.js';
import { type BenchOptions, type BenchResult, mean } from './result.js';
import { CONCURRENCY, writeStatuses } from './status-writer.js';
import { deleteMailboxes, ensureBenchSystem, inParallel, mailbox, namespace, sharedSecret } from './system.js';

const POLL_MS = 100;
const LIMIT_MS = 600_000;
/** How long a restarted operator must have had nothing to do. */
const QUIET_MS = 15_000;
const MEMORY_BOUND_MIB = 300;

type Live = Mailbox & KubeObject;

export async function converge({ n, log }: BenchOptions): Promise<BenchResult> {
  await ensureBenchSystem(log);
  const template = await sampleStatus();
  await stopOperator();
  try {
    const before = await timeReference(n, template, log);
    await createMailboxes(n, log);
    const ours = await timeOperator(n, log);
    const restart = await timeRestart(n, log);
    await stopOperator();
    await deleteMailboxes(namespace);
    const after = await timeReference(n, template, log);
    return resultOf(n, ours, restart, [before, after]);
  } finally {
    await startOperator();
    await deleteMailboxes(namespace);
  }
}

function resultOf(
  n: number,
  ours: Awaited<ReturnType<typeof timeOperator>>,
  restart: Awaited<ReturnType<typeof timeRestart>>,
  references: Awaited<ReturnType<typeof writeStatuses>>[],
): BenchResult {
  const reference = mean(references.map(({ seconds }) => seconds));
  const peak = Math.max(ours.peakMemoryMiB, restart.peakMemoryMiB);
  return {
    name: 'converge',
    value: ours.seconds,
    unit: 's',
    reference,
    bounds: [
      {
        what: `time ≤ 1.3 × reference (${(ours.seconds / reference).toFixed(2)})`,
        met: ours.seconds <= 1.3 * reference,
      },
      { what: `peak memory ≤ ${MEMORY_BOUND_MIB} MiB (${peak.toFixed(0)})`, met: peak <= MEMORY_BOUND_MIB },
      { what: 'one status write per Mailbox', met: ours.writes['replaceStatus mailboxes'] === n },
      { what: 'a restart writes nothing', met: Object.keys(restart.writes).length === 0 },
    ],
    details: { operator: ours, restart, references },
  };
}

/** The status of a Mailbox that the running operator has made Ready: what a status write looks like. */
async function sampleStatus(): Promise<object> {
  const name = 'sample';
  await apply(mailbox(namespace, name, sharedSecret));
  const ready = await pollReady(name);
  await deleteMailboxes(namespace);
  return ready.status ?? {};
}

async function pollReady(name: string): Promise<Live> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(200)) {
    const object = await kube().get<Live>(mailboxType, { namespace, name });
    if (isReady(object)) return object;
  }
  throw new Error(`Mailbox ${namespace}/${name} was not Ready within 60 s`);
}

function isReady({ metadata, status }: Live): boolean {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.status === 'True' && status?.observedGeneration === metadata.generation;
}

const nameOf = (i: number): string => `c${String(i).padStart(6, '0')}`;

async function createMailboxes(n: number, log: BenchOptions['log']): Promise<string[]> {
  log(`creating ${n} Mailboxes`);
  const names = Array.from({ length: n }, (_, i) => nameOf(i));
  await inParallel(names, CONCURRENCY, (name) =>
    kube().create(mailboxType, mailbox(namespace, name, sharedSecret), { fieldManager: 'bench' }),
  );
  await sleep(3_000);
  return names;
}

async function timeReference(n: number, template: object, log: BenchOptions['log']) {
  const names = await createMailboxes(n, log);
  log(`reference: ${n} status writes`);
  const result = await writeStatuses(namespace, names, (name) => ({ ...template, address: `${name}@bench.example` }));
  log(`reference: ${result.seconds.toFixed(1)} s; deleting`);
  await deleteMailboxes(namespace);
  return result;
}

async function timeOperator(n: number, log: BenchOptions['log']) {
  log('starting the operator');
  const operator = await startOperator();
  const { finished, samples } = await waitForWrites(operator, n);
  const started = await leadingSince(operator);
  const unready = await countUnready();
  if (unready > 0) throw new Error(`${unready} of ${n} Mailboxes are not Ready after as many status writes`);
  const seconds = (finished - started) / 1_000;
  log(`all Ready in ${seconds.toFixed(1)} s`);
  return {
    seconds,
    cpuSeconds: sum(samples, 'process_cpu_seconds_total'),
    peakMemoryMiB: await peakMemory(operator),
    writes: writes(await readMetrics(operator)),
    requests: sum(samples, 'posthorn_api_requests_total'),
  };
}

/** Waits for the last of n status writes; the operator's own count is cheaper to ask than the API server. */
async function waitForWrites(operator: OperatorProcess, n: number): Promise<{ finished: number; samples: Samples }> {
  for (const deadline = Date.now() + LIMIT_MS; Date.now() < deadline; await sleep(POLL_MS)) {
    const samples = await readMetrics(operator);
    const done = sum(
      samples,
      'posthorn_api_requests_total',
      'verb="replaceStatus"',
      'resource="mailboxes"',
      'code="200"',
    );
    if (done >= n && sum(samples, 'posthorn_queue_depth', 'queue="mailbox"') === 0)
      return { finished: Date.now(), samples };
  }
  throw new Error(
    `not all of ${n} Mailboxes had a status within ${LIMIT_MS / 1_000} s; ${await countUnready()} are not Ready`,
  );
}

async function countUnready(): Promise<number> {
  let unready = 0;
  for await (const { items } of kube().pages<Live>(mailboxType, { namespace })) {
    unready += items.filter((object) => !isReady(object)).length;
  }
  return unready;
}

/** A new process with nothing to change: looks at everything, writes nothing. */
async function timeRestart(n: number, log: BenchOptions['log']) {
  log('restarting the operator');
  await stopOperator();
  const operator = await startOperator();
  let idleSince = Number.POSITIVE_INFINITY;
  let looked = 0;
  for (const deadline = Date.now() + LIMIT_MS; Date.now() - idleSince < QUIET_MS; await sleep(1_000)) {
    if (Date.now() > deadline) throw new Error('the restarted operator was not idle in time');
    const samples = await readMetrics(operator);
    const now = sum(samples, 'posthorn_reconciles_total', 'controller="mailbox"', 'result="success"');
    const busy = now < n || now !== looked || sum(samples, 'posthorn_queue_depth') > 0;
    looked = now;
    if (busy) idleSince = Number.POSITIVE_INFINITY;
    else idleSince = Math.min(idleSince, Date.now());
  }
  const samples = await readMetrics(operator);
  return {
    reconciled: looked,
    cpuSeconds: sum(samples, 'process_cpu_seconds_total'),
    peakMemoryMiB: await peakMemory(operator),
    writes: writes(samples),
  };
}

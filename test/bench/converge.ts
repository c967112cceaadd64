/** Objects that exist when the operator starts → all Ready; reference: as many bare status writes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type KubeObject, keyOf, type ResourceType } from '../../operator/runtime/object.js';
import { forwardRuleType, mailboxType } from '../../operator/types.js';
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
import {
  deleteAll,
  domain,
  ensureBenchSystem,
  forwardRule,
  inParallel,
  mailbox,
  namespace,
  sharedSecret,
} from './system.js';

const POLL_MS = 500;
const LIMIT_MS = 600_000;
/** How long a restarted operator must have had nothing to do. */
const QUIET_MS = 15_000;
const MEMORY_BOUND_MIB = 300;

interface Live extends KubeObject {
  status?: { observedGeneration?: number; conditions?: { type: string; status: string }[] };
}

/** Objects of one kind. */
interface Group {
  type: ResourceType;
  count: number;
  make: (name: string) => KubeObject;
}

/** n Mailboxes. */
export async function converge(options: BenchOptions): Promise<BenchResult> {
  return run('converge', options, [
    { type: mailboxType, count: options.n, make: (name) => mailbox(namespace, name, sharedSecret) },
  ]);
}

/** n Mailboxes with an alias each, and a fifth as many ForwardRules. */
export async function convergeAddresses(options: BenchOptions): Promise<BenchResult> {
  const alias = (name: string) => ({ aliases: [`alias-${name}@${domain}`] });
  return run('converge-addresses', options, [
    { type: mailboxType, count: options.n, make: (name) => mailbox(namespace, name, sharedSecret, alias(name)) },
    { type: forwardRuleType, count: Math.ceil(options.n / 5), make: (name) => forwardRule(namespace, name) },
  ]);
}

async function run(name: string, { log }: BenchOptions, groups: readonly Group[]): Promise<BenchResult> {
  await ensureBenchSystem(log);
  const templates = await sampleStatuses(groups);
  await stopOperator();
  try {
    const before = await timeReference(groups, templates, log);
    await createAll(groups, log);
    const ours = await timeOperator(groups, log);
    const restart = await timeRestart(groups, log);
    await stopOperator();
    await removeAll(groups);
    const after = await timeReference(groups, templates, log);
    return resultOf(name, groups, ours, restart, [before, after]);
  } finally {
    await startOperator();
    await removeAll(groups);
  }
}

function resultOf(
  name: string,
  groups: readonly Group[],
  ours: Awaited<ReturnType<typeof timeOperator>>,
  restart: Awaited<ReturnType<typeof timeRestart>>,
  references: Awaited<ReturnType<typeof writeStatuses>>[],
): BenchResult {
  const reference = mean(references.map(({ seconds }) => seconds));
  const peak = Math.max(ours.peakMemoryMiB, restart.peakMemoryMiB);
  return {
    name,
    value: ours.seconds,
    unit: 's',
    reference,
    bounds: [
      {
        what: `time ≤ 1.3 × reference (${(ours.seconds / reference).toFixed(2)})`,
        met: ours.seconds <= 1.3 * reference,
      },
      { what: `peak memory ≤ ${MEMORY_BOUND_MIB} MiB (${peak.toFixed(0)})`, met: peak <= MEMORY_BOUND_MIB },
      {
        what: 'one status write per object',
        met: groups.every(({ type, count }) => ours.writes[`replaceStatus ${type.plural}`] === count),
      },
      { what: 'a restart writes nothing', met: Object.keys(restart.writes).length === 0 },
    ],
    details: { operator: ours, restart, references },
  };
}

/** Per kind, the status of one that the running operator has made Ready: what a status write looks like. */
async function sampleStatuses(groups: readonly Group[]): Promise<object[]> {
  const samples = await Promise.all(
    groups.map(async ({ type, make }, i) => {
      const name = `sample-${i}`;
      await apply(make(name));
      return (await pollReady(type, name)).status ?? {};
    }),
  );
  await removeAll(groups);
  return samples;
}

async function pollReady(type: ResourceType, name: string): Promise<Live> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(200)) {
    const object = await kube().get<Live>(type, { namespace, name });
    if (isReady(object)) return object;
  }
  throw new Error(`${type.kind} ${namespace}/${name} was not Ready within 60 s`);
}

function isReady({ metadata, status }: Live): boolean {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return ready?.status === 'True' && status?.observedGeneration === metadata.generation;
}

/** Names are unique over kinds: the addresses are made of them. */
const namesOf = ({ type, count }: Group): string[] =>
  Array.from({ length: count }, (_, i) => `${type.plural.charAt(0)}${String(i).padStart(6, '0')}`);

const totalOf = (groups: readonly Group[]): number => groups.reduce((n, { count }) => n + count, 0);

async function createAll(groups: readonly Group[], log: BenchOptions['log']): Promise<void> {
  for (const { type, make, ...group } of groups) {
    log(`creating ${group.count} ${type.plural}`);
    await inParallel(namesOf({ type, make, ...group }), CONCURRENCY, (name) =>
      kube().create(type, make(name), { fieldManager: 'bench' }),
    );
  }
  await sleep(3_000);
}

async function removeAll(groups: readonly Group[]): Promise<void> {
  for (const { type } of groups) await deleteAll(type, namespace);
}

async function timeReference(groups: readonly Group[], templates: readonly object[], log: BenchOptions['log']) {
  await createAll(groups, log);
  log(`reference: ${totalOf(groups)} status writes`);
  const result = await writeStatuses(
    namespace,
    groups.flatMap((group, i) =>
      namesOf(group).map((name) => ({
        plural: group.type.plural,
        name,
        status: { ...templates[i], address: `${name}@${domain}` },
      })),
    ),
  );
  log(`reference: ${result.seconds.toFixed(1)} s; deleting`);
  await removeAll(groups);
  return result;
}

async function timeOperator(groups: readonly Group[], log: BenchOptions['log']) {
  log('starting the operator');
  const operator = await startOperator();
  const { finished, samples } = await waitForWrites(operator, groups);
  const started = await leadingSince(operator);
  const unready = await findUnready(groups);
  if (unready.length > 0)
    throw new Error(`${unready.length} objects are not Ready after as many status writes as there are: ${unready[0]}`);
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

/** Waits for the last status write; the operator's own count is cheaper to ask than the API server. */
async function waitForWrites(
  operator: OperatorProcess,
  groups: readonly Group[],
): Promise<{ finished: number; samples: Samples }> {
  const isDone = (samples: Samples): boolean =>
    groups.every(({ type, count }) => {
      const labels = ['verb="replaceStatus"', `resource="${type.plural}"`, 'code="200"'];
      return sum(samples, 'posthorn_api_requests_total', ...labels) >= count;
    });
  for (const deadline = Date.now() + LIMIT_MS; Date.now() < deadline; await sleep(POLL_MS)) {
    const samples = await readMetrics(operator);
    const queued = groups.map(({ type }) => sum(samples, 'posthorn_queue_depth', `queue="${type.kind.toLowerCase()}"`));
    if (isDone(samples) && queued.every((depth) => depth === 0)) return { finished: Date.now(), samples };
  }
  const unready = await findUnready(groups);
  throw new Error(`not all had a status within ${LIMIT_MS / 1_000} s; ${unready.length} are not Ready: ${unready[0]}`);
}

async function findUnready(groups: readonly Group[]): Promise<string[]> {
  const unready: string[] = [];
  for (const { type } of groups) {
    for await (const { items } of kube().pages<Live>(type, { namespace })) {
      unready.push(...items.filter((object) => !isReady(object)).map((object) => `${type.kind} ${keyOf(object)}`));
    }
  }
  return unready;
}

function successes(samples: Samples, { kind }: ResourceType): number {
  return sum(samples, 'posthorn_reconciles_total', `controller="${kind.toLowerCase()}"`, 'result="success"');
}

/** A new process with nothing to change: looks at everything, writes nothing. */
async function timeRestart(groups: readonly Group[], log: BenchOptions['log']) {
  log('restarting the operator');
  await stopOperator();
  const operator = await startOperator();
  let idleSince = Number.POSITIVE_INFINITY;
  let looked = 0;
  for (const deadline = Date.now() + LIMIT_MS; Date.now() - idleSince < QUIET_MS; await sleep(1_000)) {
    if (Date.now() > deadline) throw new Error('the restarted operator was not idle in time');
    const samples = await readMetrics(operator);
    const now = groups.reduce((n, { type }) => n + successes(samples, type), 0);
    const busy = now < totalOf(groups) || now !== looked || sum(samples, 'posthorn_queue_depth') > 0;
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

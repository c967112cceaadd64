/** The operator's pod: started, stopped and looked at from outside. */
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { operatorNamespace } from '../e2e/lib/environment.js';
import { kube, kubectlOk, waitFor } from '../e2e/lib/kube.js';

const DEPLOYMENT = { namespace: operatorNamespace, name: 'posthorn' };
const SELECTOR = 'app.kubernetes.io/name=posthorn,app.kubernetes.io/component=operator';

interface Pod extends KubeObject {
  status?: { podIP?: string };
}

interface Lease extends KubeObject {
  spec?: { holderIdentity?: string; acquireTime?: string };
}

export interface OperatorProcess {
  pod: string;
  /** Where it answers, reachable from here. */
  address: string;
}

export async function stopOperator(): Promise<void> {
  await scale(0);
  await waitFor('the operator to stop', async () => ((await pods()).length === 0 ? true : undefined), 60_000);
}

/** Starts one and waits until its metrics can be read, which is before it leads. */
export async function startOperator(): Promise<OperatorProcess> {
  await scale(1);
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
    const pod = (await pods()).find(({ metadata, status }) => !metadata.deletionTimestamp && status?.podIP);
    const found = pod && { pod: pod.metadata.name, address: pod.status?.podIP as string };
    if (found && (await readMetrics(found).catch(() => undefined))) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the operator did not start within 60 s');
}

async function scale(replicas: number): Promise<void> {
  await kube().patchMerge(builtin.deployment, DEPLOYMENT, { spec: { replicas } }, { fieldManager: 'bench' });
}

async function pods(): Promise<Pod[]> {
  const { items } = await kube().list<Pod>(builtin.pod, { namespace: operatorNamespace, labelSelector: SELECTOR });
  return items;
}

const leaseType = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', namespaced: true };

/** When this process became the leader, in milliseconds since 1970. */
export async function leadingSince({ pod }: OperatorProcess): Promise<number> {
  const lease = await kube().get<Lease>(leaseType, DEPLOYMENT);
  const { holderIdentity = '', acquireTime = '' } = lease.spec ?? {};
  if (!holderIdentity.startsWith(pod)) throw new Error(`the lease is held by ${holderIdentity}, not by ${pod}`);
  return Date.parse(acquireTime);
}

/** A metric and its labels → value. */
export type Samples = ReadonlyMap<string, number>;

export async function readMetrics({ address }: OperatorProcess): Promise<Samples> {
  const response = await fetch(`http://${address}:8080/metrics`, { signal: AbortSignal.timeout(10_000) });
  const samples = new Map<string, number>();
  for (const line of (await response.text()).split('\n')) {
    const match = /^([a-z_]+(?:\{.*\})?) (\S+)$/.exec(line);
    if (match) samples.set(match[1] as string, Number(match[2]));
  }
  return samples;
}

/** Sum of the samples of a metric whose labels say all of this. */
export function sum(samples: Samples, metric: string, ...labels: string[]): number {
  let total = 0;
  for (const [name, value] of samples) {
    if ((name === metric || name.startsWith(`${metric}{`)) && labels.every((label) => name.includes(label)))
      total += value;
  }
  return total;
}

const WRITES = ['apply', 'create', 'patch', 'patchStatus', 'replaceStatus', 'update', 'delete'];

/** Writes to the API by verb and resource, those to the leader's lease left out. */
export function writes(samples: Samples): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [name, value] of samples) {
    const match = /^posthorn_api_requests_total\{verb="(\w+)",resource="([\w.-]*)"/.exec(name);
    if (match === null || match[2] === 'leases' || !WRITES.includes(match[1] as string)) continue;
    const key = `${match[1]} ${match[2]}`;
    counts[key] = (counts[key] ?? 0) + value;
  }
  return counts;
}

/** Most memory that the process has ever had in RAM, in MiB (the kernel's VmHWM). */
export async function peakMemory({ pod }: OperatorProcess): Promise<number> {
  const script = 'for f in /proc/[0-9]*/status; do if grep -q "^Name:.*node" $f; then grep VmHWM $f; fi; done';
  const out = await kubectlOk(['exec', '-n', operatorNamespace, pod, '--', 'sh', '-c', script]);
  const sizes = [...out.matchAll(/VmHWM:\s+(\d+) kB/g)].map((match) => Number(match[1]));
  if (sizes.length === 0) throw new Error(`no node process in ${pod}: ${out}`);
  return Math.max(...sizes) / 1024;
}

/** What pods of the local cluster have cost, by the kernel's count. */
import { readFile } from 'node:fs/promises';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { kube } from '../e2e/lib/kube.js';

type Pod = KubeObject & {
  spec?: { nodeName?: string };
  status?: { containerStatuses?: { name: string; containerID?: string }[] };
};

/** Processor seconds of each container of a pod since it started. */
export async function processorSeconds(namespace: string, name: string): Promise<Map<string, number>> {
  const { spec, status } = await kube().get<Pod>(builtin.pod, { namespace, name });
  const machine = `posthorn-${process.env.POSTHORN_CLUSTER_NAME ?? 'default'}-${spec?.nodeName}`;
  const seconds = new Map<string, number>();
  for (const container of status?.containerStatuses ?? []) {
    const id = container.containerID?.replace(/^containerd:\/\//, '') ?? '';
    seconds.set(container.name, await usageOf(machine, id));
  }
  return seconds;
}

async function usageOf(machine: string, id: string): Promise<number> {
  const first = `/sys/fs/cgroup/cpuacct/${machine}/k8s.io/${id}/cpuacct.usage`;
  const second = `/sys/fs/cgroup/${machine}/k8s.io/${id}/cpu.stat`;
  const nanoseconds = await readFile(first, 'utf8').catch(() => undefined);
  if (nanoseconds !== undefined) return Number(nanoseconds) / 1e9;
  return Number(/^usage_usec (\d+)/m.exec(await readFile(second, 'utf8'))?.[1]) / 1e6;
}

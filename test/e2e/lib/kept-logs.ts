/** Logs of pods outlive them here: what a pod wrote before it was deleted is what one wants to read. */
import { dirname } from 'node:path';
import { exec, kubeconfigPath } from './kube.js';

const EVERY_MS = 3_000;

/** Hard links to the logs of all pods of a namespace whose name begins so, in the local cluster's folder, until `stop`. */
export function keepLogs(namespace: string, pods: string): { folder: string; stop(): void } {
  const state = dirname(kubeconfigPath());
  const folder = `${state}/kept-logs`;
  // A file that has been linked grows in both places.
  const script = `mkdir -p "$1" && for d in "$2"/nodes/*/kubelet/pod-logs/"$3"_"$4"*; do [ -d "$d" ] && cp -al --no-clobber "$d" "$1"/; done; true`;
  let running = false;
  const link = async (): Promise<void> => {
    if (running) return;
    running = true;
    await exec('sh', ['-c', script, 'sh', folder, state, namespace, pods]).catch(() => undefined);
    running = false;
  };
  void link();
  const timer = setInterval(link, EVERY_MS);
  return { folder, stop: () => clearInterval(timer) };
}

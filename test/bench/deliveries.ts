/** What a store has put into mailboxes, as its log tells it. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { exec, kubeconfigPath } from '../e2e/lib/kube.js';
import { namespace } from './system.js';

export interface Deliveries {
  /**
   * Waits until so many different messages of the run are stored.
   * @returns when the last one was seen, by `performance.now()`
   * @throws Error when that takes longer than five minutes, or one is stored twice
   */
  complete(messages: number): Promise<number>;
  stop(): void;
}

const LIMIT_MS = 300_000;

/** Follows the log of the container `dovecot`. A run's messages are known by their Message-ID, `<RUN.NUMBER@…>`. */
export async function followDeliveries(pod: string, run: string, inNamespace = namespace): Promise<Deliveries> {
  const kubectl = (await exec('./hack/tool', ['kubectl'])).stdout.trim();
  const args = ['logs', '-n', inNamespace, pod, '-c', 'dovecot', '--follow', '--since=1s'];
  const child = spawn(kubectl, args, {
    env: { ...process.env, KUBECONFIG: kubeconfigPath() },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stored = new Set<string>();
  const twice: string[] = [];
  let last = 0;
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const id of storedIds(lines, run)) {
      if (stored.has(id)) twice.push(id);
      stored.add(id);
      last = performance.now();
    }
  });
  return {
    complete: async (messages) => {
      for (const deadline = Date.now() + LIMIT_MS; stored.size < messages; await sleep(20)) {
        if (child.exitCode !== null) throw new Error(`kubectl logs of ${pod} ended with ${child.exitCode}`);
        if (Date.now() > deadline) throw new Error(`${stored.size} of ${messages} messages are stored in ${pod}`);
      }
      if (twice.length > 0) throw new Error(`${twice.length} messages were stored twice, ${twice[0]} for one`);
      return last;
    },
    stop: () => child.kill(),
  };
}

/** Message-IDs of the run in log lines that tell of a delivery. */
function storedIds(lines: readonly string[], run: string): string[] {
  return lines.flatMap((line) => {
    const id = line.includes('stored mail into') ? /msgid=<([^>]+)>/.exec(line)?.[1] : undefined;
    return id?.startsWith(`${run}.`) ? [id] : [];
  });
}

import { readdirSync, readFileSync } from 'node:fs';

/** SIGSTOP, and wait until every thread of the process has stopped: a busy machine takes a moment. */
export async function freeze(pid: number | undefined): Promise<void> {
  if (pid === undefined) throw new Error('there is no process to stop');
  process.kill(pid, 'SIGSTOP');
  while (!isStopped(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
}

function isStopped(pid: number): boolean {
  const states = readdirSync(`/proc/${pid}/task`).map((task) => {
    const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2)[0];
  });
  return states.every((state) => state === 'T');
}

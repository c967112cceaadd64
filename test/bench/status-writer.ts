/** The reference of `converge`: nothing but status writes, by Node's own https client. */
import https from 'node:https';
import { loadConnection } from '../../operator/runtime/kubeconfig.js';
import { inParallel } from './system.js';

/** As many as the operator has in flight. */
export const CONCURRENCY = 32;

export interface StatusWrite {
  /** Plural of the kind. */
  plural: string;
  name: string;
  status: object;
}

/**
 * Gives each object its status by a merge patch, all over kept-alive connections.
 *
 * @returns seconds of wall time, and of CPU in this process
 */
export async function writeStatuses(
  namespace: string,
  writes: readonly StatusWrite[],
): Promise<{ seconds: number; cpuSeconds: number }> {
  const connection = loadConnection();
  const agent = new https.Agent({ keepAlive: true, maxSockets: CONCURRENCY, ...tlsOf(connection.tls()) });
  const headers = { ...(await connection.headers()), 'content-type': 'application/merge-patch+json' };
  const patch = ({ plural, name, status }: StatusWrite): Promise<void> => {
    const body = JSON.stringify({ status });
    const path = `/apis/posthorn.dev/v1alpha1/namespaces/${namespace}/${plural}/${name}/status?fieldManager=bench`;
    return new Promise((resolve, reject) => {
      const request = https.request(
        new URL(path, connection.server),
        { method: 'PATCH', agent, headers: { ...headers, 'content-length': Buffer.byteLength(body) } },
        (response) => {
          response.resume();
          response.once('error', reject).once('end', () => {
            if (response.statusCode === 200) resolve();
            else reject(new Error(`PATCH ${path}: ${response.statusCode}`));
          });
        },
      );
      request.once('error', reject).end(body);
    });
  };
  const started = performance.now();
  const cpu = process.cpuUsage();
  await inParallel(writes, CONCURRENCY, patch);
  const { user, system } = process.cpuUsage(cpu);
  agent.destroy();
  return { seconds: (performance.now() - started) / 1_000, cpuSeconds: (user + system) / 1e6 };
}

function tlsOf(material: ReturnType<ReturnType<typeof loadConnection>['tls']>): https.AgentOptions {
  return Object.fromEntries(Object.entries(material).filter(([, value]) => value !== undefined));
}

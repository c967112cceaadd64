import { readConfig } from './config.js';
import { type Controllers, startControllers } from './controllers.js';
import { createClient } from './runtime/client.js';
import { createEventRecorder } from './runtime/events.js';
import { loadConnection } from './runtime/kubeconfig.js';
import { runLeaderElection } from './runtime/leader.js';
import { createLog } from './runtime/log.js';
import { createMetrics } from './runtime/metrics.js';
import { startServer } from './runtime/server.js';
import { createStop, installProcessGuards } from './runtime/stop.js';

/** Below the pod's termination grace of 30 s. */
const GRACE_MS = 20_000;

/** The operator's process: waits for leadership, runs the controllers, and ends when it is told to or deposed. */
async function main(): Promise<void> {
  const config = readConfig(process.env);
  const log = createLog({ name: 'posthorn', level: config.logLevel });
  const metrics = createMetrics();
  const stop = createStop({ log, graceMs: GRACE_MS });
  installProcessGuards({ log, metrics, stop });
  const client = createClient(loadConnection(), { metrics, log, userAgent: 'posthorn-operator' });

  const running: Controllers[] = [];
  let leading = false;
  const ready = {
    synced: () => !leading || (running.length > 0 && running.every((controllers) => controllers.hasSynced())),
  };
  const server = await startServer({ port: config.metricsPort, metrics, ready });
  stop.onStop('server', server.close);

  const leader = runLeaderElection({
    client,
    namespace: config.podNamespace,
    name: 'posthorn',
    identity: config.podName,
    log,
    metrics,
    onLost: () => process.exit(1),
  });
  stop.onStop('leader', leader.stop);
  await Promise.race([leader.acquired, stop.stopped]);
  if (stop.signal.aborted) return;
  leading = true;
  client.setFence(leader.isLeader);
  log.info({ namespaces: config.watchNamespaces }, 'leading');

  const events = createEventRecorder({ client, component: 'posthorn', log, metrics });
  const namespaces = config.watchNamespaces.length === 0 ? [undefined] : config.watchNamespaces;
  for (const namespace of namespaces) {
    const controllers = await startControllers({ namespace, client, config, events, log, metrics });
    running.push(controllers);
    stop.onStop(`controllers of ${namespace ?? 'all namespaces'}`, controllers.stop);
  }
  await stop.stopped;
}

await main();

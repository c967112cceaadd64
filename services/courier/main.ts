import { createClient } from '../../operator/runtime/client.js';
import { createEventRecorder } from '../../operator/runtime/events.js';
import { loadConnection } from '../../operator/runtime/kubeconfig.js';
import { createLog } from '../../operator/runtime/log.js';
import { createStop, installProcessGuards } from '../../operator/runtime/stop.js';
import { readConfig } from '../lib/config.js';
import { type DirectoryPool, openDirectoryPool } from '../lib/directory.js';
import { startHttp } from '../lib/http.js';
import { watchTls } from '../lib/tls.js';
import { createAttempts } from './attempts.js';
import { type CourierConfig, courierConfigSchema } from './config.js';
import { ownNetworks } from './destination.js';
import { createDispatcher, type DispatchOptions } from './dispatch.js';
import { createHourlyLimit } from './limit.js';
import { startLmtp } from './lmtp.js';
import { createCourierMetrics } from './metrics.js';
import { createPerform, kindOf } from './perform.js';
import { createRooms } from './room.js';
import { createSecretReader } from './secrets.js';
import { parseTarget, type Target } from './target.js';

const CONFIG = '/config/courier.yaml';
const TLS_FOLDER = '/tls';
/** Where images/posthorn/bin/healthcheck asks. */
const HTTP_PORT = 10_041;
/** Jobs of one rule. Each is a pod, and objects in the Kubernetes API: who has more mail for a program gives it a webhook. */
const JOBS_AN_HOUR = 120;
/** Below the pod's termination grace of 90 s. */
const GRACE_MS = 80_000;

/** The courier's process: LMTP in, webhooks and Jobs out. */
async function main(): Promise<void> {
  const config = readConfig(process.env.POSTHORN_CONFIG ?? CONFIG, courierConfigSchema);
  const log = createLog({ name: 'courier', level: process.env.POSTHORN_LOG_LEVEL ?? 'info' });
  const stop = createStop({ log, graceMs: GRACE_MS });
  installProcessGuards({ log, stop });
  const metrics = createCourierMetrics();
  const client = createClient(loadConnection(), { log, attempts: 2, timeoutMs: 10_000, userAgent: 'posthorn-courier' });
  const events = createEventRecorder({ client, component: 'posthorn-courier', log });
  const tls = await watchTls(TLS_FOLDER, {
    log,
    onChange: (material) => {
      directory.setTls(material);
      lmtp.setTls(material);
    },
  });
  const { hosts, port, user } = config.directory;
  const directory = openDirectoryPool({ hosts, port, user, tls: tls.current(), application: 'posthorn-courier' });

  const perform = createPerform({
    jobs: { system: config.system, namespace: config.namespace, ...config.jobs },
    rules: destinationRules(config),
    client,
    secrets: createSecretReader(client, config.namespace),
    events,
    metrics,
    admit: createHourlyLimit(JOBS_AN_HOUR),
    signal: stop.signal,
  });
  const onEnd: DispatchOptions['onEnd'] = (delivery, target, outcome, attempt) => {
    metrics.ended(kindOf(target) ?? 'none', outcome.result);
    log[outcome.result === 'delivered' ? 'info' : 'warn'](
      { delivery: delivery.id, rule: nameOf(target), attempt, ...outcome },
      outcome.result,
    );
  };
  const find = (token: string) => findTarget(directory, token);
  const dispatcher = createDispatcher({ find, perform, attempts: createAttempts(), room: createRooms(), onEnd });
  metrics.running(dispatcher.running);

  const lmtp = await startLmtp({
    ...config.lmtp,
    name: process.env.POD_NAME ?? 'courier',
    tls: tls.current(),
    deliver: dispatcher.dispatch,
    log,
  });
  const http = await startHttp({ host: '0.0.0.0', port: HTTP_PORT, registry: metrics.registry, log });
  log.info({ port: lmtp.port }, 'taking mail');

  stop.onStop('certificates', tls.stop);
  stop.onStop('directory', directory.close);
  stop.onStop('http', http.close);
  stop.onStop('events', events.flush);
  stop.onStop('deliveries', dispatcher.idle);
  stop.onStop('lmtp', lmtp.close);
  await stop.stopped;
}

function destinationRules({ webhooks, clusterDomain }: CourierConfig) {
  const refusedNetworks = [...webhooks.refusedNetworks, ...ownNetworks()];
  return { allowHosts: webhooks.allowHosts, refusedNetworks, clusterDomain };
}

/** The target of a token, or undefined when a member that is up to date knows none. */
async function findTarget(directory: DirectoryPool, token: string): Promise<Target | undefined> {
  const [row] = await directory.ask<{ target: unknown }>({
    doing: 'look up the target',
    sql: 'SELECT directory_v1.courier_target($1) AS target',
    values: [token],
  });
  return row?.target == null ? undefined : parseTarget(row.target);
}

function nameOf(target: Target | undefined): string | undefined {
  return target === undefined ? undefined : `${target.rule.namespace}/${target.rule.name}`;
}

await main();

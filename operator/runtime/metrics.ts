import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** What the runtime counts. All names start with `posthorn_`; times are in seconds. */
export interface Metrics {
  registry: Registry;
  apiRequest(verb: string, resource: string, code: string, seconds: number): void;
  watchRestart(resource: string, cause: 'ended' | 'stalled' | 'failed' | 'expired'): void;
  cacheSize(resource: string, size: () => number): void;
  queueDepth(queue: string, depth: () => number): void;
  queueAdd(queue: string): void;
  queueRetry(queue: string): void;
  /** From when a key became ready to when a worker took it. */
  queueWait(queue: string, seconds: number): void;
  reconcile(controller: string, result: 'success' | 'error' | 'conflict', seconds: number, keys?: number): void;
  reconcilesRunning(controller: string, running: () => number): void;
  write(what: 'apply' | 'prune' | 'status' | 'event', kind: string): void;
  leader(isLeader: boolean): void;
  unhandled(): void;
}

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** @param registry One of your own, so that mail metrics stand beside the runtime's; default a new one with Node's process metrics. */
export function createMetrics(registry: Registry = withProcessMetrics()): Metrics {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Counter<L>({ name: `posthorn_${name}`, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Histogram<L>({ name: `posthorn_${name}`, help, labelNames, buckets: seconds, registers });
  const gauge = <L extends string>(name: string, help: string, label: L) =>
    createPulledGauge(`posthorn_${name}`, help, label, registry);

  const requests = counter('api_requests_total', 'Requests to the Kubernetes API.', ['verb', 'resource', 'code']);
  const requestSeconds = histogram('api_request_seconds', 'Duration of requests to the Kubernetes API.', ['verb']);
  const restarts = counter('watch_restarts_total', 'Watches started again, by cause.', ['resource', 'cause']);
  const sizes = gauge('cache_objects', 'Objects in a cache.', 'resource');
  const depths = gauge('queue_depth', 'Keys that wait for a worker.', 'queue');
  const adds = counter('queue_adds_total', 'Keys added, duplicates left out.', ['queue']);
  const retries = counter('queue_retries_total', 'Keys added again after a failure.', ['queue']);
  const waits = histogram('queue_wait_seconds', 'From when a key was ready to when a worker took it.', ['queue']);
  const reconciles = counter('reconciles_total', 'Keys reconciled, by result.', ['controller', 'result']);
  const reconcileSeconds = histogram('reconcile_seconds', 'Duration of a reconciliation, or of a batch.', [
    'controller',
  ]);
  const running = gauge('reconciles_running', 'Reconciliations that are under way.', 'controller');
  const writes = counter('writes_total', 'Objects written to the Kubernetes API, by purpose.', ['what', 'kind']);
  const leading = new Gauge({ name: 'posthorn_leader', help: '1 if this process is the leader.', registers });
  const unhandled = counter('unhandled_errors_total', 'Promise rejections that nobody handled: bugs.', []);

  return {
    registry,
    apiRequest: (verb, resource, code, duration) => {
      requests.inc({ verb, resource, code });
      if (verb !== 'watch') requestSeconds.observe({ verb }, duration);
    },
    watchRestart: (resource, cause) => restarts.inc({ resource, cause }),
    cacheSize: sizes,
    queueDepth: depths,
    queueAdd: (queue) => adds.inc({ queue }),
    queueRetry: (queue) => retries.inc({ queue }),
    queueWait: (queue, duration) => waits.observe({ queue }, duration),
    reconcile: (controller, result, duration, keys = 1) => {
      reconciles.inc({ controller, result }, keys);
      reconcileSeconds.observe({ controller }, duration);
    },
    reconcilesRunning: running,
    write: (what, kind) => writes.inc({ what, kind }),
    leader: (isLeader) => leading.set(isLeader ? 1 : 0),
    unhandled: () => unhandled.inc(),
  };
}

function withProcessMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** A gauge whose values are asked for when it is scraped; several readers of one label value (one per namespace) are added up. */
function createPulledGauge(
  name: string,
  help: string,
  label: string,
  registry: Registry,
): (value: string, read: () => number) => void {
  const readers = new Map<string, (() => number)[]>();
  new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      for (const [value, reads] of readers) {
        const total = reads.reduce((sum, read) => sum + read(), 0);
        this.set({ [label]: value }, total);
      }
    },
  });
  return (value, read) => void readers.set(value, [...(readers.get(value) ?? []), read]);
}

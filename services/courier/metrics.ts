import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** What the courier counts. */
export interface CourierMetrics {
  registry: Registry;
  ended(kind: 'webhook' | 'command' | 'none', result: string): void;
  took(kind: 'webhook' | 'command', seconds: number): void;
  running(read: () => number): void;
}

export function createCourierMetrics(registry = new Registry()): CourierMetrics {
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const deliveries = new Counter({
    name: 'posthorn_courier_deliveries_total',
    help: 'Attempts to hand a message to a webhook or a command, by how they ended.',
    labelNames: ['kind', 'result'] as const,
    registers,
  });
  const duration = new Histogram({
    name: 'posthorn_courier_delivery_seconds',
    help: 'Duration of such attempts.',
    labelNames: ['kind'] as const,
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers,
  });
  return {
    registry,
    ended: (kind, result) => deliveries.inc({ kind, result }),
    took: (kind, seconds) => duration.observe({ kind }, seconds),
    running: (read) => {
      new Gauge({
        name: 'posthorn_courier_running',
        help: 'Deliveries under way.',
        registers,
        collect() {
          this.set(read());
        },
      });
    },
  };
}

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Result } from './deposit.js';

/** What the deposit counts. */
export interface DepositMetrics {
  readonly registry: Registry;
  answered(result: Result): void;
  took(seconds: number): void;
  put(result: 'kept' | 'refused' | 'failed', seconds: number): void;
  watch(read: { remembered(): number; held(): number; primary(): boolean }): void;
}

const BUCKETS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 50];

export function createDepositMetrics(registry = new Registry()): DepositMetrics {
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const recipients = new Counter({
    name: 'posthorn_deposit_recipients_total',
    help: 'Recipients by answer: replicated (two copies), primary-only (as declared), degraded (one copy, for want of a replica), refused, deferred.',
    labelNames: ['result'] as const,
    registers,
  });
  const duration = new Histogram({
    name: 'posthorn_deposit_seconds',
    help: 'From the end of a message to its answers.',
    buckets: BUCKETS,
    registers,
  });
  const puts = new Histogram({
    name: 'posthorn_deposit_journal_seconds',
    help: "Giving a message to a peer's journal.",
    labelNames: ['result'] as const,
    buckets: BUCKETS,
    registers,
  });
  return {
    registry,
    answered: (result) => recipients.inc({ result }),
    took: (seconds) => duration.observe(seconds),
    put: (result, seconds) => puts.observe({ result }, seconds),
    watch: ({ remembered, held, primary }) => {
      gauge(registry, 'posthorn_deposit_remembered', 'Deliveries that are remembered.', remembered);
      gauge(registry, 'posthorn_deposit_held_bytes', 'Octets of messages held now.', held);
      gauge(registry, 'posthorn_deposit_open', '1 when mail is taken here.', () => Number(primary()));
    },
  };
}

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { PeerFacts } from './report.js';

/** What the replicator counts. Peers are labelled by their member's number. */
export interface ReplicatorMetrics {
  readonly registry: Registry;
  synced(member: number, outcome: string, seconds: number): void;
  compared(member: number, result: string): void;
  /** Read when asked for. */
  peers(read: () => readonly PeerFacts[]): void;
}

export function createReplicatorMetrics(registry = new Registry()): ReplicatorMetrics {
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const labelNames = ['member'] as const;
  const syncs = new Counter({
    name: 'posthorn_replicator_syncs_total',
    help: 'Syncs of one mailbox to one peer, by how they ended.',
    labelNames: ['member', 'outcome'] as const,
    registers,
  });
  const duration = new Histogram({
    name: 'posthorn_replicator_sync_seconds',
    help: 'Duration of such syncs.',
    labelNames,
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600],
    registers,
  });
  const comparisons = new Counter({
    name: 'posthorn_replicator_comparisons_total',
    help: 'Mailboxes compared with a peer: equal, repaired, or divergent (still different after repairs).',
    labelNames: ['member', 'result'] as const,
    registers,
  });
  return {
    registry,
    synced: (member, outcome, seconds) => {
      syncs.inc({ member, outcome });
      duration.observe({ member }, seconds);
    },
    compared: (member, result) => comparisons.inc({ member, result }),
    peers: (read) => {
      const gauge = (name: string, help: string, value: (facts: PeerFacts) => number): void => {
        new Gauge({
          name: `posthorn_replicator_${name}`,
          help,
          labelNames,
          registers,
          collect() {
            this.reset();
            for (const facts of read()) this.set({ member: facts.member }, value(facts));
          },
        });
      };
      gauge('lag_seconds', 'Age of the oldest change that the peer lacks.', ({ lagMs }) => lagMs / 1000);
      gauge('lag_mailboxes', 'Mailboxes with changes that the peer lacks.', ({ lagUsers }) => lagUsers);
      gauge('reachable', 'Syncs to the peer work.', ({ reachable }) => Number(reachable));
      gauge('seeded', 'The peer has had everything once.', ({ seeded }) => Number(seeded));
      gauge(
        'divergent_mailboxes',
        'Mailboxes that differed after repairs, at the last comparison.',
        (f) => f.divergent,
      );
      gauge('stuck_mailboxes', 'Mailboxes whose syncs fail again and again.', ({ stuck }) => stuck);
      gauge(
        'compare_remaining',
        'Mailboxes still to compare, of a comparison under way.',
        ({ remaining }) => remaining,
      );
      gauge('last_compare_timestamp_seconds', 'When all mailboxes were last compared.', (f) => f.lastCompare / 1000);
    },
  };
}

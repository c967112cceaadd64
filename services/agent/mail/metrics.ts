import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Replayed } from './replay.js';
import type { SyncResult } from './sync.js';

export interface MailMetrics {
  synced(result: SyncResult, seconds: number): void;
  replayed(result: Replayed): void;
  journal(read: () => Promise<{ entries: number; oldest: number }>): void;
}

export function createMailMetrics(registry: Registry): MailMetrics {
  const registers = [registry];
  const syncs = new Histogram({
    name: 'posthorn_agent_sync_seconds',
    help: 'Syncs with other members, by doveadm’s exit code.',
    labelNames: ['code'] as const,
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600],
    registers,
  });
  const replays = new Counter({
    name: 'posthorn_agent_replayed_total',
    help: 'Entries of journals that were given to mailboxes after a promotion.',
    labelNames: ['result'] as const,
    registers,
  });
  return {
    synced: ({ code }, seconds) => syncs.observe({ code: String(code) }, seconds),
    replayed: (result) => replays.inc({ result }),
    journal: (read) => {
      new Gauge({
        name: 'posthorn_agent_journal_entries',
        help: "Messages in this member's journal.",
        registers,
        async collect() {
          this.set((await read()).entries);
        },
      });
    },
  };
}

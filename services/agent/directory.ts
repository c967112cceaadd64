/** The lease functions of the directory (docs/reference/directory.md#leases), asked at its leader. */
import { z } from 'zod';
import type { DirectoryPool } from '../lib/directory.js';

const uuid = z.string();
/** A member that hasn't been looked at yet is behind everybody. */
const lag = z
  .number()
  .nullish()
  .transform((value) => value ?? Number.MAX_SAFE_INTEGER);

const memberSchema = z.object({
  member: z.number().int(),
  host: z.string(),
  port: z.number().int(),
  volume: uuid.nullish().transform((value) => value ?? ''),
  seeded: z.boolean().nullish().transform(Boolean),
  inSync: z.boolean().nullish().transform(Boolean),
  lagChanges: lag,
  lagSeconds: lag,
});

const viewSchema = z.object({
  epoch: z.number().int(),
  renewals: z.number().int(),
  primary: z.number().int().nullable(),
  holder: uuid.nullable(),
  reservedFor: z.number().int().nullable(),
  wanted: z.number().int().nullable(),
  replicas: z.number().int(),
  durability: z.enum(['Primary', 'Replicated']),
  withoutReplica: z.enum(['Defer', 'Degrade']),
  moves: z.number().int(),
  members: z.array(memberSchema),
});

/** A LeaseRow, and what else the shard's pods want to know. */
export type LeaseView = z.output<typeof viewSchema>;

/** Who asks: a member of a shard with its volume. */
export interface Identity {
  readonly shard: string;
  readonly member: number;
  readonly volume: string;
}

/** What a holder proves itself with. */
export interface Holding {
  readonly holder: string;
  readonly epoch: number;
}

export interface LeaseDirectory {
  lease(): Promise<LeaseView>;
  /** Null: it isn't this holder's any more. */
  renew(holding: Holding): Promise<LeaseView | null>;
  /** The new epoch, or null. */
  take(holder: string, epoch: number, renewals: number): Promise<number | null>;
  release(holding: Holding, reservedFor: number | null): Promise<boolean>;
  /** `epoch`: the highest that the volume has seen. */
  register(epoch: number): Promise<void>;
  report(facts: object): Promise<boolean>;
  seeded(holding: Holding, member: number, volume: string, seeded: boolean): Promise<boolean>;
  reportReplication(holding: Holding, report: object): Promise<boolean>;
  moves(): Promise<readonly object[]>;
  moveStep(holding: Holding, mailbox: string, from: string, to: string, report: object | null): Promise<boolean>;
}

/** Everything is one statement, and fails with DirectoryUnavailable or DirectoryRejected: it may have been done all the same. */
export function leaseDirectory(pool: DirectoryPool, { shard, member, volume }: Identity): LeaseDirectory {
  const call = async (doing: string, name: string, values: readonly unknown[]): Promise<unknown> => {
    const places = values.map((_, index) => `$${index + 1}`).join(', ');
    const sql = `SELECT directory_v1.${name}(${places}) AS answer`;
    const [row] = await pool.ask<{ answer: unknown }>({
      doing: `${doing} of shard ${shard}`,
      sql,
      values,
      leader: true,
    });
    return row?.answer ?? null;
  };
  return {
    lease: async () => viewSchema.parse(await call('read the lease', 'lease', [shard])),
    renew: async ({ holder, epoch }) =>
      viewSchema.nullable().parse(await call('renew the lease', 'renew_lease', [shard, member, holder, epoch])),
    take: async (holder, epoch, renewals) => {
      const values = [shard, member, holder, volume, epoch, renewals];
      const answer = await call('take the lease', 'take_lease', values);
      return answer === null ? null : z.coerce.number().int().parse(answer);
    },
    release: async ({ holder, epoch }, reservedFor) =>
      (await call('release the lease', 'release_lease', [shard, member, holder, epoch, reservedFor])) === true,
    register: async (epoch) => {
      await call('register a volume', 'register_member', [shard, member, volume, epoch]);
    },
    report: async (facts) =>
      (await call('report on a member', 'report_member', [shard, member, volume, JSON.stringify(facts)])) === true,
    seeded: async ({ holder, epoch }, other, otherVolume, seeded) => {
      const values = [shard, holder, epoch, other, otherVolume, seeded];
      return (await call('declare a member seeded', 'member_seeded', values)) === true;
    },
    reportReplication: async ({ holder, epoch }, report) => {
      const values = [shard, holder, epoch, JSON.stringify(report)];
      return (await call('report on the replicas', 'report_replication', values)) === true;
    },
    moves: async () => {
      const rows = await pool.ask<Record<string, unknown>>({
        doing: `list the moves of shard ${shard}`,
        sql: 'SELECT * FROM directory_v1.moves($1)',
        values: [shard],
        leader: true,
      });
      return rows.map(camelCase);
    },
    moveStep: async ({ holder, epoch }, mailbox, from, to, report) => {
      const values = [mailbox, shard, holder, epoch, from, to, report === null ? null : JSON.stringify(report)];
      return (await call(`move mailbox ${mailbox}`, 'move_step', values)) === true;
    },
  };
}

function camelCase(row: Record<string, unknown>): object {
  const entries = Object.entries(row).map(([name, value]) => [
    name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    name === 'to_epoch' && value !== null ? Number(value) : value,
  ]);
  return Object.fromEntries(entries);
}

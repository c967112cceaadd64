import { z } from 'zod';

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);
const port = z.number().int().min(0).max(65_535);
const seconds = z.number().positive();

/** `images/posthorn/config/replicator/replicator.yaml`, which explains the fields. */
export const replicatorConfigSchema = z.strictObject({
  shard: z.string().min(1),
  agent: z.strictObject({ port }),
  http: z.strictObject({ port }),
  directory: z.strictObject({
    hosts: list.pipe(z.array(z.string()).min(1)),
    leader: z.string().min(1),
    port,
    user: z.string().min(1),
  }),
  volume: z.string().startsWith('/'),
  sync: z.strictObject({
    workers: z.number().int().min(1).max(64),
    quickSeconds: seconds,
    slowSeconds: seconds,
  }),
  compare: z.strictObject({
    workers: z.number().int().min(1).max(16),
    fillWorkers: z.number().int().min(1).max(16),
    everyHours: z.number().positive(),
  }),
});

export type ReplicatorConfig = z.output<typeof replicatorConfigSchema>;

import { z } from 'zod';

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);
const port = z.number().int().min(0).max(65_535);
const size = z.number().int().positive();

/** `images/posthorn/config/deposit/deposit.yaml`, which explains the fields. */
export const depositConfigSchema = z.strictObject({
  shard: z.string().min(1),
  lmtp: z.strictObject({ port, messageSizeLimit: size, memoryLimit: size }),
  primary: z.strictObject({ port, connections: size }),
  agent: z.strictObject({ port }),
  http: z.strictObject({ port }),
  remember: size,
  directory: z.strictObject({ hosts: list.pipe(z.array(z.string()).min(1)), port, user: z.string().min(1) }),
});

export type DepositConfig = z.output<typeof depositConfigSchema>;

import { z } from 'zod';

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);
const port = z.number().int().min(0).max(65_535);

/** `images/posthorn/config/courier/courier.yaml`, which explains the fields. */
export const courierConfigSchema = z.strictObject({
  system: z.string().min(1),
  namespace: z.string().min(1),
  clusterDomain: z.string().min(1),
  lmtp: z.strictObject({ port, client: z.string().min(1), messageSizeLimit: z.number().int().positive() }),
  directory: z.strictObject({ hosts: list.pipe(z.array(z.string()).min(1)), port, user: z.string().min(1) }),
  webhooks: z.strictObject({ allowHosts: list, refusedNetworks: list }),
  jobs: z.strictObject({ image: z.string().min(1), imagePullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']) }),
});

export type CourierConfig = z.output<typeof courierConfigSchema>;

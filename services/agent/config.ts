import { z } from 'zod';

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);
const port = z.number().int().min(0).max(65_535);
const ms = z.number().int().positive();

const timesSchema = z
  .strictObject({
    ttl: ms,
    margin: ms,
    renewEvery: ms,
    readEvery: ms,
    requestTimeout: ms,
    askAfter: ms,
    askEvery: ms,
    quiet: ms,
    stagger: z.number().int().min(0),
    handoverPause: ms,
  })
  .refine(({ ttl, askAfter, askEvery }) => askAfter + 2 * askEvery <= ttl, 'there is no time to ask for promises twice')
  .refine(({ ttl, renewEvery }) => 3 * renewEvery <= ttl, 'two renewals that are lost must not cost the lease')
  .refine(({ margin }) => margin >= 500, 'the watchdog and the kernel need their time to kill');

/** `images/dovecot/config/store/agent.yaml`, which explains the fields. */
export const agentConfigSchema = z.strictObject({
  shard: z.string().min(1),
  directory: z.strictObject({
    leader: z.string().min(1),
    hosts: list.pipe(z.array(z.string()).min(1)),
    port,
    user: z.string().min(1),
  }),
  times: timesSchema,
  ports: z.strictObject({ local: port, peer: port, lmtp: port, imap: port, doveadm: port, replicator: port }),
  peerHost: z.string().min(1),
  handover: z.strictObject({ before: ms, last: ms, total: ms }),
  paths: z.strictObject({ mail: z.string(), run: z.string(), dovecot: z.string(), tls: z.string() }),
  dovecot: z.strictObject({
    command: z.array(z.string()).min(1),
    watchdog: z.array(z.string()).min(1),
    programs: z.array(z.string().min(2)).min(1),
  }),
});

export type AgentConfig = z.output<typeof agentConfigSchema>;

/** The ordinal of a StatefulSet's pod. */
export function memberOf(podName: string | undefined): number {
  const ordinal = /-(\d+)$/.exec(podName ?? '')?.[1];
  if (ordinal === undefined) throw new Error(`POD_NAME is '${podName}': a StatefulSet's pod has a number at its end`);
  return Number(ordinal);
}

import { z } from 'zod';

const webhook = z.object({
  url: z.string(),
  secretRef: z.object({ name: z.string(), key: z.string().default('key') }).nullish(),
  timeoutSeconds: z.number().default(30),
});

const command = z.object({
  image: z.string(),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  secretRef: z.object({ name: z.string() }).nullish(),
  timeoutSeconds: z.number().default(300),
});

const target = z.object({
  rule: z.object({ namespace: z.string(), name: z.string(), uid: z.string() }),
  address: z.string(),
  target: z.object({ webhook: webhook.nullish(), command: command.nullish() }),
});

export type WebhookTarget = z.output<typeof webhook>;
export type CommandTarget = z.output<typeof command>;

/** What `directory_v1.courier_target` says of a token. */
export interface Target {
  readonly rule: { readonly namespace: string; readonly name: string; readonly uid: string };
  /** The rule's address: what the message was sent to. */
  readonly address: string;
  readonly webhook?: WebhookTarget | undefined;
  readonly command?: CommandTarget | undefined;
}

/** Reads the directory's answer. Throws when it has another shape: a directory of another version. */
export function parseTarget(json: unknown): Target {
  const { rule, address, target: kind } = target.parse(json);
  return { rule, address, webhook: kind.webhook ?? undefined, command: kind.command ?? undefined };
}

const TOKEN = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(?:[0-9a-f]{16}|\d{1,3}))@courier\.invalid$/;

/** `RULEUID.KEY`, the local part of an address that the courier takes; queues of the release before have `RULEUID.N`. */
export function parseToken(address: string): string | undefined {
  return TOKEN.exec(address.toLowerCase())?.[1];
}

import { z } from 'zod';
import { parseHostedAddress } from './address.js';
import { conditionsSchema, detailSchema, observedGenerationSchema } from './condition.js';
import { hostedAddress, immutable, objectName, rules, size, text } from './fields.js';
import type { ObjectOf } from './object.js';
import { parseObject } from './object.js';
import { parseQuantity } from './quantity.js';

const MAX_ALIASES = 64;

const aliases = z
  .array(hostedAddress())
  .max(MAX_ALIASES)
  .default([])
  .meta({
    description:
      `Further addresses of this mailbox, at most ${MAX_ALIASES}, in this or other domains of the MailSystem. ` +
      'Their mail arrives in the mailbox, and it may send as them. Only the main address can be used to log in.',
    'x-kubernetes-list-type': 'set',
  });

const passwordSecretRef = z
  .object({
    name: objectName().describe('Name of the Secret.'),
    key: text(/^[-._a-zA-Z0-9]+$/, 'must be a key of a Secret: letters, digits, "-", "_" and "."', 253)
      .default('password')
      .describe('Key in the Secret whose value is the password in plain text.'),
  })
  .optional()
  .describe(
    "Secret in the same namespace that holds the password. A change takes effect within seconds. Without it nobody can log in until a password is set in the system's own directory; mail arrives all the same.",
  );

export const mailboxSpecSchema = z
  .object({
    address: hostedAddress().describe(
      'Main address, and the name to log in with. Its domain must be a MailDomain in this namespace. ' +
        'May be changed: mail, password and settings stay with the mailbox. ' +
        'When several objects claim an address, the one created first has it.',
    ),
    aliases,
    quota: size('1Mi', '1Pi')
      .optional()
      .describe(
        'Most that the mailbox may hold, for example 10Gi. When it is full, mail is refused. Default: no limit.',
      ),
    passwordSecretRef,
    deletionPolicy: z
      .enum(['Retain', 'Delete'])
      .default('Retain')
      .describe(
        'What becomes of the mail when this object is deleted. Retain: it stays on the volume, and a new Mailbox with the UUID in adopt has it again. Delete: it is removed after a time of grace.',
      ),
    adopt: text(
      /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/,
      'must be a UUID in lower case, as in status.uuid of the Mailbox that had the mail',
      36,
    )
      .optional()
      .describe(
        'UUID of a mailbox whose data was retained (status.uuid of the deleted Mailbox): this one takes over its mail. Can be given only at creation. Default: a new, empty mailbox.',
      ),
  })
  .meta({
    description: 'The mailbox as it should be.',
    ...rules(
      immutable(
        'adopt',
        "is fixed at creation: to take over another mailbox's data, delete this Mailbox (deletionPolicy: Retain keeps its mail) and create it again with adopt",
      ),
      {
        rule: '!has(self.aliases) || !self.aliases.exists(a, a.lowerAscii() == self.address.lowerAscii())',
        message: 'must not contain the main address: remove it from aliases',
        fieldPath: '.aliases',
      },
    ),
  });

export const mailboxStatusSchema = z
  .object({
    observedGeneration: observedGenerationSchema,
    conditions: conditionsSchema,
    address: z.string().max(254).optional().describe('Main address in canonical form: lower case, domain in A-labels.'),
    uuid: z
      .string()
      .max(36)
      .optional()
      .describe('Identity of the stored mail. It outlives changes of the address, and this object.'),
    shard: z.string().max(63).optional().describe('Store shard that holds the mail.'),
    detail: detailSchema,
  })
  .describe('The mailbox as it is. Written by the operator.');

/** `spec` as a person writes it. */
export type MailboxSpec = z.input<typeof mailboxSpecSchema>;
export type MailboxStatus = z.output<typeof mailboxStatusSchema>;
export type Mailbox = ObjectOf<'Mailbox', MailboxSpec, MailboxStatus>;

/** `spec` with defaults filled in and addresses in canonical form. */
export type MailboxResolved = Omit<z.output<typeof mailboxSpecSchema>, 'quota'> & {
  /** Bytes, 2^20 to 2^50; `undefined`: no limit. */
  readonly quotaBytes: number | undefined;
};

/**
 * Fills in defaults; addresses become canonical (`parseHostedAddress`), and aliases that are then equal to each other
 * or to the address are dropped.
 *
 * @throws Error naming each bad field, for objects that were stored under older rules or whose domain is no valid IDNA
 */
export function resolveMailbox(spec: MailboxSpec): MailboxResolved {
  const { quota, ...rest } = parseObject('Mailbox', mailboxSpecSchema, spec, 'spec');
  const address = parseHostedAddress(rest.address);
  const others = new Set(rest.aliases.map(parseHostedAddress));
  others.delete(address);
  return {
    ...rest,
    address,
    aliases: [...others],
    quotaBytes: quota === undefined ? undefined : parseQuantity(quota),
  };
}

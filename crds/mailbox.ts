import { z } from 'zod';
import { parseHostedAddress } from './address.js';
import { conditionsSchema, detailSchema, observedGenerationSchema } from './condition.js';
import { parseDomain } from './domain.js';
import { count, hostedAddress, immutable, objectName, rules, size, text, valueOr } from './fields.js';
import type { ObjectOf } from './object.js';
import { parseObject } from './object.js';
import { parseQuantity } from './quantity.js';
import { requirement } from './require.js';
import { day, timestamp } from './time.js';

const MAX_ALIASES = 64;

/** Neither the database nor Sieve can hold it. */
const isClean = (value: string): boolean => !value.includes('\0');
const NOT_CLEAN = 'must not contain a NUL character';

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

const secretKey = () =>
  text(/^[-._a-zA-Z0-9]+$/, 'must be a key of a Secret: letters, digits, "-", "_" and "."', 253).default('password');

const passwordSecretRef = z
  .object({
    name: objectName().describe('Name of the Secret.'),
    key: secretKey().describe('Key in the Secret whose value is the password, in plain text or as a hash.'),
  })
  .optional()
  .describe(
    'Secret in the same namespace that holds the password, in plain text or hashed: `{SCHEME}…` as from `doveadm pw`, ' +
      'or a bare hash as from `htpasswd -B` or `mkpasswd` ($2y$…, $6$…, $argon2id$…). A change takes effect within seconds. ' +
      'Without it the LDAP server of the MailSystem is asked, if it has one; otherwise nobody can log in until a password ' +
      "is set in the system's own directory; mail arrives all the same.",
  );

export const MAILBOX_STATES = ['Active', 'ReceiveOnly', 'SendBlocked', 'LoginOff', 'Suspended'] as const;
export type MailboxState = (typeof MAILBOX_STATES)[number];

const PROTOCOLS = ['imap', 'submission', 'sieve'] as const;

const appPassword = z
  .object({
    name: text(
      /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
      'must be lower-case letters, digits and inner hyphens, at most 63',
      63,
    )
      .refine((name) => name !== 'password', 'must not be "password", which is the name of the main one')
      .meta(rules({ rule: "self != 'password'", message: 'must not be "password", which is the name of the main one' }))
      .describe('Name of the app password, as it is called in logs.'),
    secretRef: z
      .object({
        name: objectName().describe('Name of the Secret.'),
        key: secretKey().describe('Key in the Secret whose value is the app password, in plain text or as a hash.'),
      })
      .describe('Secret in the same namespace that holds the app password. To revoke it, remove the entry.'),
    protocols: z.array(z.enum(PROTOCOLS)).max(PROTOCOLS.length).default([]).meta({
      description: 'What it can be used for. Default: everything that the password can be used for.',
      'x-kubernetes-list-type': 'set',
    }),
  })
  .describe('A further password, for one program or device.');

const member = z
  .object({
    mailbox: objectName().describe('Name of the Mailbox, in the same namespace, of the person who gets access.'),
    rights: z
      .enum(['ReadWrite', 'ReadOnly'])
      .default('ReadWrite')
      .describe(
        'ReadWrite: read, flag, file, delete and add mail. ReadOnly: read only, and what one has seen is not seen for others.',
      ),
    sendAs: z.boolean().default(false).describe('Whether the member may send with the addresses of this mailbox.'),
  })
  .describe('A member of a shared mailbox.');

const vacation = z
  .object({
    subject: text(/^[^\r\n]+$/, 'must be one line', 200)
      .refine(isClean, NOT_CLEAN)
      .optional()
      .describe('Subject of the answer. Default: "Auto: " and the subject of the message that is answered.'),
    message: z.string().min(1).max(10_000).refine(isClean, NOT_CLEAN).describe('Text of the answer.'),
    from: day().optional().describe('First day on which messages are answered (UTC). Default: at once.'),
    until: day().optional().describe('Last day on which messages are answered (UTC). Default: until it is removed.'),
    everyDays: count(1, 365).default(7).describe('A sender gets one answer in so many days.'),
  })
  .optional()
  .meta({
    description:
      'Answer to messages while the person is away. Not sent to lists, other automatic answers, or suspected spam. Default: none.',
    ...rules({
      rule: `${valueOr('self', 'from', '""')} <= ${valueOr('self', 'until', '"9999"')}`,
      message: 'must not be before from',
      fieldPath: '.until',
    }),
  });

const retention = z
  .array(
    z
      .object({
        folder: text(
          /^[^%*\\\r\n\t]+$/,
          'must be the name of a folder, such as Trash or Lists/announce, without % * and backslashes',
          200,
        )
          .refine(isClean, NOT_CLEAN)
          .meta(
            rules({
              rule: '!self.lowerAscii().startsWith("shared/")',
              message: "must not be in Shared/: those are other mailboxes' folders; declare it there",
            }),
          )
          .describe('Name of the folder, as clients show it. Folders below it count too.'),
        days: count(1, 36_500).describe('Days after which a message that was put there is removed.'),
      })
      .describe('How long messages stay in a folder.'),
  )
  .max(32)
  .default([])
  .meta({
    description: 'Folders that are cleared of old messages. Default: none.',
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['folder'],
  });

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
    appPasswords: z
      .array(appPassword)
      .max(32)
      .default([])
      .meta({
        description:
          'Further passwords, each for one program or device, so that one can be revoked alone. Default: none.',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
      }),
    state: z
      .enum(MAILBOX_STATES)
      .default('Active')
      .describe(
        'What the mailbox may be used for; a change cuts open sessions within seconds. Active: everything. ' +
          'ReceiveOnly: mail arrives and can be read, not sent. SendBlocked: the same, as a sanction: senders are told why. ' +
          'LoginOff: mail arrives, nobody can log in. ' +
          'Suspended: nobody can log in or send as it; mail is taken or refused by suspended.mail.',
      ),
    stateUntil: timestamp()
      .optional()
      .describe('Time at which state ends and the mailbox is Active again. Default: state stays until it is changed.'),
    suspended: z
      .object({
        mail: z
          .enum(['Accept', 'Refuse'])
          .default('Accept')
          .describe('What becomes of mail that arrives while state is Suspended.'),
      })
      .prefault({})
      .describe('What Suspended means.'),
    members: z
      .array(member)
      .max(256)
      .default([])
      .meta({
        description:
          'People who use this mailbox too, each with a Mailbox of their own: a shared mailbox. Default: none.',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['mailbox'],
      }),
    sieve: z
      .string()
      .max(65_536)
      .refine(isClean, NOT_CLEAN)
      .optional()
      .describe(
        'Sieve script that runs before the one that the person keeps by ManageSieve. One that does not compile changes nothing: ' +
          'the last good one stays in effect, and the condition SieveReady quotes the compiler.',
      ),
    vacation,
    retention,
    require: requirement(),
    sending: z
      .object({
        hour: count(0, 1_000_000).optional().describe('Recipients in an hour. Default: limits.sending.userHour.'),
        day: count(0, 1_000_000).optional().describe('Recipients in 24 hours. Default: limits.sending.userDay.'),
      })
      .prefault({})
      .describe('How much it may send, instead of what limits.sending of the MailSystem says.'),
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
      {
        rule: `!has(self.stateUntil) || ${valueOr('self', 'state', '"Active"')} != "Active"`,
        message:
          'needs a state other than Active: it is the time at which that state ends. Set state, or remove stateUntil',
        fieldPath: '.stateUntil',
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
    state: z
      .enum(MAILBOX_STATES)
      .optional()
      .describe('State in effect: spec.state, or Active when spec.stateUntil has passed.'),
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
  const { quota, require, ...rest } = parseObject('Mailbox', mailboxSpecSchema, spec, 'spec');
  const address = parseHostedAddress(rest.address);
  const others = new Set(rest.aliases.map(parseHostedAddress));
  others.delete(address);
  return {
    ...rest,
    address,
    aliases: [...others],
    quotaBytes: quota === undefined ? undefined : parseQuantity(quota),
    ...(require === undefined
      ? {}
      : { require: { ...require, dkimAlignedFrom: [...new Set(require.dkimAlignedFrom.map(parseDomain))] } }),
  };
}

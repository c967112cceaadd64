import { z } from 'zod';
import { conditionsSchema, detailSchema, observedGenerationSchema } from './condition.js';
import { count, immutable, objectName, rules, text } from './fields.js';
import { type ObjectOf, parseObject } from './object.js';

const shardName = () =>
  text(
    /^[a-z](?:[a-z0-9-]{0,14}[a-z0-9])?$/,
    'must be the name of a shard: at most 16 lower-case letters, digits and inner hyphens, a letter first',
    16,
  );

const MAX_MAILBOXES = 1_000;
/** Failed mailboxes that the status names. */
export const MAX_FAILURES = 20;

export const mailboxMoveSpecSchema = z
  .object({
    system: objectName()
      .optional()
      .describe('MailSystem whose mailboxes move, in this namespace. Default: the only one there is.'),
    mailboxes: z
      .array(
        text(
          /^(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\/)?[a-z0-9](?:[-.a-z0-9]*[a-z0-9])?$/,
          'must be the name of a Mailbox, or NAMESPACE/NAME',
          317,
        ),
      )
      .min(1)
      .max(MAX_MAILBOXES)
      .optional()
      .meta({
        description:
          'Mailboxes to move: the name of one in this namespace, or NAMESPACE/NAME for that of a tenant. Either this or from.',
        'x-kubernetes-list-type': 'set',
      }),
    from: shardName()
      .optional()
      .describe(
        'Shard to be emptied: all its mailboxes move, and new ones are placed elsewhere as long as this object exists. Either this or mailboxes.',
      ),
    to: shardName().describe('Shard that they move to.'),
    concurrency: count(1, 16).default(2).describe('How many move at a time. The only field that can be changed.'),
  })
  .meta({
    description: 'What moves, and where to.',
    ...rules(
      {
        rule: 'has(self.mailboxes) != has(self.from)',
        message: 'exactly one of mailboxes and from must be given',
      },
      {
        rule: '!has(self.from) || self.from != self.to',
        message: 'must be another shard than from',
        fieldPath: '.to',
      },
      {
        rule: 'has(self.mailboxes) == has(oldSelf.mailboxes) && (!has(self.mailboxes) || self.mailboxes == oldSelf.mailboxes)',
        message: "can't be changed: create another MailboxMove",
        fieldPath: '.mailboxes',
      },
      ...['system', 'from', 'to'].map((field) => immutable(field, "can't be changed: create another MailboxMove")),
    ),
  });

export const MOVE_PHASES = [
  'Pending',
  'PreSync',
  'Draining',
  'Switching',
  'Verifying',
  'Moving',
  'Done',
  'RolledBack',
] as const;
export type MovePhase = (typeof MOVE_PHASES)[number];

const failure = z
  .object({
    mailbox: z.string().max(317).describe('Name of the Mailbox, or NAMESPACE/NAME.'),
    message: z.string().max(512).describe('Why it did not move. It is where it was.'),
  })
  .describe('A mailbox that did not move.');

export const mailboxMoveStatusSchema = z
  .object({
    observedGeneration: observedGenerationSchema,
    conditions: conditionsSchema,
    phase: z
      .enum(MOVE_PHASES)
      .optional()
      .describe(
        'Of one mailbox: Pending, PreSync (it is copied while it is used), Draining (sessions are ended, mail waits), Switching (the last changes follow, both copies are compared), ' +
          'Verifying (it is used at its new place, and the old one is looked at for late changes), Done or RolledBack (it is where it was). Of several: Pending, Moving, Done or RolledBack (none has moved).',
      ),
    total: count(0, 10_000_000).optional().describe('Mailboxes that are to move.'),
    moved: count(0, 10_000_000).optional().describe('Mailboxes that have moved.'),
    running: count(0, 64).optional().describe('Mailboxes that move now.'),
    failed: count(0, 10_000_000).optional().describe('Mailboxes that did not move and are where they were.'),
    failures: z
      .array(failure)
      .max(MAX_FAILURES)
      .optional()
      .meta({ description: `The first ${MAX_FAILURES} of these.`, 'x-kubernetes-list-type': 'atomic' }),
    detail: detailSchema,
  })
  .describe('How far it is. Written by the operator.');

/** `spec` as a person writes it. */
export type MailboxMoveSpec = z.input<typeof mailboxMoveSpecSchema>;
export type MailboxMoveStatus = z.output<typeof mailboxMoveStatusSchema>;
export type MailboxMove = ObjectOf<'MailboxMove', MailboxMoveSpec, MailboxMoveStatus>;

/** `spec` with defaults filled in. */
export type MailboxMoveResolved = z.output<typeof mailboxMoveSpecSchema>;

/** Fills in defaults. @throws Error naming each bad field, for objects that were stored under older rules */
export function resolveMailboxMove(spec: MailboxMoveSpec): MailboxMoveResolved {
  return parseObject('MailboxMove', mailboxMoveSpecSchema, spec, 'spec');
}

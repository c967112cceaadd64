import type { z } from 'zod';
import type { ConditionDocs } from './condition.js';
import {
  forwardRuleConditions,
  mailboxConditions,
  mailboxMoveConditions,
  mailDomainConditions,
  mailSystemConditions,
} from './conditions.js';
import type { Rule } from './fields.js';
import { forwardRuleSpecSchema, forwardRuleStatusSchema } from './forwardrule.js';
import { KINDS, type KindName, type KindNames } from './group.js';
import { mailboxSpecSchema, mailboxStatusSchema } from './mailbox.js';
import { mailboxMoveSpecSchema, mailboxMoveStatusSchema } from './mailboxmove.js';
import { mailDomainRules, mailDomainSpecSchema, mailDomainStatusSchema } from './maildomain.js';
import { mailSystemSpecSchema, mailSystemStatusSchema } from './mailsystem.js';

/** All that is known of a kind: what the CRD, the types, the models and the reference page are generated from. */
export interface KindDefinition {
  readonly names: KindNames;
  readonly description: string;
  readonly spec: z.ZodType;
  /** Whether an object without `spec` is valid. */
  readonly specOptional: boolean;
  readonly status: z.ZodType;
  /** CEL rules on the whole object. */
  readonly rules: readonly Rule[];
  readonly conditions: ConditionDocs;
}

export const kindDefinitions: Readonly<Record<KindName, KindDefinition>> = {
  MailSystem: {
    names: KINDS.MailSystem,
    description: 'A MailSystem is one installation of a mail service: its servers, their sizes and their storage.',
    spec: mailSystemSpecSchema,
    specOptional: false,
    status: mailSystemStatusSchema,
    rules: [],
    conditions: mailSystemConditions,
  },
  MailDomain: {
    names: KINDS.MailDomain,
    description: 'A MailDomain is a domain whose mail a MailSystem receives, stores and signs.',
    spec: mailDomainSpecSchema,
    specOptional: true,
    status: mailDomainStatusSchema,
    rules: mailDomainRules,
    conditions: mailDomainConditions,
  },
  Mailbox: {
    names: KINDS.Mailbox,
    description: "A Mailbox is a person's or a bot's mailbox: its addresses, its size and how to log in.",
    spec: mailboxSpecSchema,
    specOptional: false,
    status: mailboxStatusSchema,
    rules: [],
    conditions: mailboxConditions,
  },
  ForwardRule: {
    names: KINDS.ForwardRule,
    description:
      'A ForwardRule hands the mail of an address, or of all addresses of a domain that nobody has, to other addresses, webhooks or commands.',
    spec: forwardRuleSpecSchema,
    specOptional: false,
    status: forwardRuleStatusSchema,
    rules: [],
    conditions: forwardRuleConditions,
  },
  MailboxMove: {
    names: KINDS.MailboxMove,
    description:
      'A MailboxMove moves mailboxes to another shard while they are used. Deleting it while it runs leaves those that have not moved where they were.',
    spec: mailboxMoveSpecSchema,
    specOptional: false,
    status: mailboxMoveStatusSchema,
    rules: [],
    conditions: mailboxMoveConditions,
  },
};

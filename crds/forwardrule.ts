import { z } from 'zod';
import {
  ADDRESS_MAX_LENGTH,
  formatAddress,
  HOSTED_LOCAL_SOURCE,
  LOCAL_MAX_LENGTH,
  parseAddress,
  parseHostedAddress,
} from './address.js';
import { conditionsSchema, detailSchema, observedGenerationSchema } from './condition.js';
import { DOMAIN_PATTERN_SOURCE, parseDomain } from './domain.js';
import { count, objectName, rules, targetAddress, text } from './fields.js';
import { type ObjectOf, parseObject } from './object.js';
import { requirement } from './require.js';

const MAX_TARGETS = 64;
const MAX_BOTS = 8;

const ADDRESS_PATTERN = new RegExp(`^(?:\\*|${HOSTED_LOCAL_SOURCE})@${DOMAIN_PATTERN_SOURCE}$`);
const ADDRESS_MESSAGE =
  "must be an address such as ariel@example.org, or *@example.org for all that nobody has: before the @ letters, digits and _ ' & ~ - with single dots between, after it a domain";

const mailboxRef = (description: string) =>
  z
    .object({ mailbox: objectName().describe('Name of a Mailbox in the same namespace.') })
    .optional()
    .describe(description);

const webhook = z
  .object({
    url: text(
      /^https?:\/\/[^/?#@\s\\]+(?:[/?][^#\s]*)?$/,
      'must be a URL such as https://bots.example.org/mail, without a user name or a fragment',
      2048,
    ).describe(
      'Where the message is sent, as the body of a POST. https, and not inside the cluster, unless spec.webhooks.allowHosts of the MailSystem names host and port, and the rule is in its namespace.',
    ),
    secretRef: z
      .object({
        name: objectName().describe('Name of the Secret.'),
        key: text(/^[-._a-zA-Z0-9]+$/, 'must be a key of a Secret: letters, digits, "-", "_" and "."', 253)
          .default('key')
          .describe(
            "Key in the Secret whose value requests are signed with: X-Posthorn-Signature: sha256=HMAC. If the Secret has a key ca.crt too, the server's certificate is checked against that.",
          ),
      })
      .optional()
      .describe('Secret in the same namespace by which the program knows us. Default: requests are not signed.'),
    timeoutSeconds: count(1, 300)
      .default(30)
      .describe('How long an answer is waited for. After that the delivery is put off.'),
  })
  .describe('A program that is reached by HTTP.');

const command = z
  .object({
    image: text(
      /^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/,
      'must be the reference of an image, such as registry.example.org/bots/bridges:1.4',
      512,
    ).describe('Image that the command runs in.'),
    command: z.array(z.string().max(4096)).min(1).max(64).meta({
      description: "The program and its first arguments. The image's entry point is not used.",
      'x-kubernetes-list-type': 'atomic',
    }),
    args: z.array(z.string().max(4096)).max(64).default([]).meta({
      description: 'Further arguments. Default: none.',
      'x-kubernetes-list-type': 'atomic',
    }),
    secretRef: z
      .object({ name: objectName().describe('Name of the Secret.') })
      .optional()
      .describe('Secret in the same namespace whose keys are the environment variables of the command. Default: none.'),
    timeoutSeconds: count(1, 3600)
      .default(300)
      .describe('How long the command may run. After that it is ended and the delivery is put off.'),
  })
  .describe(
    'A program that runs as a Job, with the message on standard input. Only in the namespace of the MailSystem.',
  );

export const forwardRuleSpecSchema = z
  .object({
    address: text(ADDRESS_PATTERN, ADDRESS_MESSAGE, ADDRESS_MAX_LENGTH)
      .meta(
        rules({
          rule: `self.indexOf("@") <= ${LOCAL_MAX_LENGTH}`,
          message: `must have at most ${LOCAL_MAX_LENGTH} characters before the @`,
        }),
      )
      .describe(
        'Address whose mail is forwarded, with any +detail; or *@DOMAIN for all addresses of a domain that nobody else has. ' +
          'Its domain must be a MailDomain in this namespace. When several objects claim an address, the one created first has it.',
      ),
    to: z
      .array(targetAddress())
      .max(MAX_TARGETS)
      .default([])
      .meta({
        description: `Addresses that get the mail, here or anywhere, at most ${MAX_TARGETS}.`,
        'x-kubernetes-list-type': 'set',
      }),
    webhooks: z
      .array(webhook)
      .max(MAX_BOTS)
      .default([])
      .meta({
        description: `Programs that get the mail by HTTP, at most ${MAX_BOTS}. Each must take it: a delivery is tried again until all have.`,
        'x-kubernetes-list-type': 'atomic',
      }),
    commands: z
      .array(command)
      .max(MAX_BOTS)
      .default([])
      .meta({
        description: `Programs that are run for each message, at most ${MAX_BOTS}.`,
        'x-kubernetes-list-type': 'atomic',
      }),
    keepCopy: mailboxRef(
      "Mailbox that gets a copy. If the rule's address is one of this mailbox's own, the rule forwards the mail of the mailbox. Default: no copy is kept.",
    ),
    sendAs: mailboxRef(
      'Mailbox that may send as this address through submission, as for "send as" in Gmail. Default: none.',
    ),
    require: requirement(),
  })
  .meta({
    description: 'The rule as it should be.',
    ...rules(
      {
        rule: '(has(self.to) && size(self.to) > 0) || (has(self.webhooks) && size(self.webhooks) > 0) || (has(self.commands) && size(self.commands) > 0)',
        message: 'needs a target: an address in to, or a webhook or a command',
        fieldPath: '.to',
      },
      {
        rule: '!has(self.to) || !self.to.exists(t, t.lowerAscii() == self.address.lowerAscii())',
        message: 'must not contain the address itself: to keep a copy, name a Mailbox in keepCopy',
        fieldPath: '.to',
      },
      {
        rule: '!has(self.sendAs) || !self.address.startsWith("*")',
        message: 'is not possible for a catch-all: make a rule for the address to send as',
        fieldPath: '.sendAs',
      },
    ),
  });

export const forwardRuleStatusSchema = z
  .object({
    observedGeneration: observedGenerationSchema,
    conditions: conditionsSchema,
    address: z.string().max(254).optional().describe('The address in canonical form: lower case, domain in A-labels.'),
    targets: count(0, MAX_TARGETS + 2 * MAX_BOTS)
      .optional()
      .describe('How many targets are in effect, without a kept copy.'),
    detail: detailSchema,
  })
  .describe('The rule as it is. Written by the operator.');

/** `spec` as a person writes it. */
export type ForwardRuleSpec = z.input<typeof forwardRuleSpecSchema>;
export type ForwardRuleStatus = z.output<typeof forwardRuleStatusSchema>;
export type ForwardRule = ObjectOf<'ForwardRule', ForwardRuleSpec, ForwardRuleStatus>;

/** `spec` with defaults filled in and addresses in canonical form. */
export type ForwardRuleResolved = z.output<typeof forwardRuleSpecSchema> & {
  /** Canonical domain of `address`. */
  readonly domain: string;
};

/**
 * Fills in defaults. `address` becomes canonical (`parseHostedAddress`; a catch-all is `*@DOMAIN`), so do the domains in
 * `to` and `require`; what is before the @ of a target stays as written, since it is somebody else's (RFC 5321, 2.4).
 *
 * @throws Error naming each bad field, for objects that were stored under older rules or whose domain is no valid IDNA
 */
export function resolveForwardRule(spec: ForwardRuleSpec): ForwardRuleResolved {
  const { require, ...rest } = parseObject('ForwardRule', forwardRuleSpecSchema, spec, 'spec');
  const address = canonicalSource(rest.address);
  const to = new Map(rest.to.map((target) => [canonicalTarget(target), deliverable(target)]));
  return {
    ...rest,
    address,
    domain: address.slice(address.lastIndexOf('@') + 1),
    to: [...to.values()],
    ...(require === undefined
      ? {}
      : { require: { ...require, dkimAlignedFrom: [...new Set(require.dkimAlignedFrom.map(parseDomain))] } }),
  };
}

/** A target in canonical form, for comparisons. */
export function canonicalTarget(target: string): string {
  return formatAddress(parseAddress(target));
}

function canonicalSource(address: string): string {
  return address.startsWith('*@') ? `*@${parseDomain(address.slice(2))}` : parseHostedAddress(address);
}

function deliverable(target: string): string {
  return `${target.slice(0, target.lastIndexOf('@'))}@${parseAddress(target).domain}`;
}

import { z } from 'zod';
import { ADDRESS_MAX_LENGTH, parseAddress, TARGET_LOCAL_SOURCE } from './address.js';
import { conditionsSchema, detailSchema, observedGenerationSchema } from './condition.js';
import { DOMAIN_MESSAGE, DOMAIN_PATTERN_SOURCE, parseDomain } from './domain.js';
import { count, domain, objectName, present, type Rule, rules, text, valueOr } from './fields.js';
import { type ObjectOf, parseObject } from './object.js';

const SENDER_PATTERN = new RegExp(`^(?:${TARGET_LOCAL_SOURCE}@)?${DOMAIN_PATTERN_SOURCE}$`);
const DEFAULT_ALGORITHM = 'rsa-2048';

const dkim = z
  .object({
    selector: text(
      /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
      'must be a DNS label: lower-case letters, digits and inner hyphens, at most 63',
      63,
    )
      .optional()
      .describe(
        'Name under which the public key is in the DNS: SELECTOR._domainkey.DOMAIN. Default: chosen by the operator, see status.records.',
      ),
    algorithm: z
      .enum(['rsa-2048', 'ed25519'])
      .default(DEFAULT_ALGORITHM)
      .describe('Kind of key. Every receiver can verify rsa-2048; some can not verify ed25519 yet.'),
  })
  .prefault({})
  .describe('How outgoing mail of the domain is signed. Mail that can not be signed waits: none leaves unsigned.');

const score = (min: number, description: string) => z.number().min(min).max(1000).optional().describe(description);

const enforcement = (what: string) =>
  z
    .enum(['Enforce', 'Score'])
    .default('Score')
    .describe(`${what} Enforce: such mail is refused. Score: it raises the spam score.`);

const senders = (description: string) =>
  z
    .array(
      text(
        SENDER_PATTERN,
        'must be an address such as news@example.net, or a domain such as example.net for all its addresses',
        ADDRESS_MAX_LENGTH,
      ),
    )
    .max(256)
    .default([])
    .meta({ description, 'x-kubernetes-list-type': 'set' });

const filter = z
  .object({
    rejectAbove: score(1, "Spam score from which a message is refused at the mx. Default: the MailSystem's."),
    quarantineAbove: score(
      0,
      'Spam score from which a message that is not refused goes to the folder Quarantine instead of Junk. Default: none does.',
    ),
    tagAbove: score(
      0,
      "Spam score from which a message is marked with X-Spam and goes to the Junk folder. Default: the MailSystem's.",
    ),
    greylistAbove: score(
      0,
      "Spam score from which a first delivery is put off for some minutes; 0: never. Default: the MailSystem's.",
    ),
    spf: enforcement('What SPF says of mail from servers that its domain does not list (-all).'),
    dkim: enforcement('What is done about mail whose DKIM signatures are all invalid.'),
    dmarc: enforcement(
      "What is done about mail that fails DMARC where the From domain's policy is reject or quarantine.",
    ),
    allow: senders(
      'Senders (From) whose mail is not filtered for spam, if SPF or DKIM proves that it is theirs. Default: none.',
    ),
    deny: senders('Senders (envelope or From) whose mail is refused. Default: none.'),
  })
  .prefault({})
  .meta({
    description: "Filtering of mail for the domain. What is not set is as in the MailSystem's filter.",
    ...rules({
      rule: ['tagAbove', 'quarantineAbove', 'greylistAbove']
        .map((field) => `(!has(self.rejectAbove) || !has(self.${field}) || self.${field} <= self.rejectAbove)`)
        .join(' && '),
      message: 'must not be below tagAbove, quarantineAbove or greylistAbove: raise it or lower those',
      fieldPath: '.rejectAbove',
    }),
  });

export const mailDomainSpecSchema = z
  .object({
    domain: domain().optional().describe("The domain. Default: the object's name. Can't be changed."),
    system: objectName()
      .optional()
      .describe(
        "Name of the MailSystem that serves the domain. Default: the only MailSystem in its namespace. Once set it can't be changed.",
      ),
    systemNamespace: objectName()
      .optional()
      .describe(
        "Namespace of the MailSystem. If it is another one than this object's, that MailSystem must name ours in spec.tenants.namespaces, " +
          "and a TXT record must show that the domain is yours (see status.records). Default: this object's. Can't be changed.",
      ),
    dkim,
    filter,
    sending: z
      .object({
        hour: count(1, 10_000_000)
          .optional()
          .describe(
            "Most recipients that all people of the domain may write to in an hour. Default: the MailSystem's.",
          ),
      })
      .prefault({})
      .describe('Limits of outgoing mail.'),
    acceptForwardsFrom: z
      .array(text(/^(?:\*|[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)$/, 'must be the name of a namespace, or * for all', 63))
      .max(256)
      .default([])
      .meta({
        description:
          'Other namespaces whose ForwardRules may forward to addresses of this domain; * for all. Default: none. This namespace always may.',
        'x-kubernetes-list-type': 'set',
      }),
  })
  .prefault({})
  .meta({
    description: 'The domain as it should be.',
    ...rules({
      rule: '!has(oldSelf.system) || (has(self.system) && self.system == oldSelf.system)',
      message: 'a domain stays with its MailSystem, because its mailboxes are stored there',
      fieldPath: '.system',
    }),
  });

/** Rules on the whole object: the API server gives them metadata.name. */
const RESERVED_MESSAGE = 'is below .invalid, where nothing exists and our own servers have addresses of their own';

export const mailDomainRules: readonly Rule[] = [
  {
    rule: `${valueOr('self', 'spec.systemNamespace', '""')} == ${valueOr('oldSelf', 'spec.systemNamespace', '""')}`,
    message:
      'a domain stays with its MailSystem, because its mailboxes are stored there: create another MailDomain instead',
    fieldPath: '.spec.systemNamespace',
  },
  {
    rule: [
      valueOr('self', 'spec.dkim.algorithm', `"${DEFAULT_ALGORITHM}"`),
      ' == ',
      valueOr('oldSelf', 'spec.dkim.algorithm', `"${DEFAULT_ALGORITHM}"`),
      ' || ',
      valueOr('self', 'spec.dkim.selector', '""'),
      ' != ',
      valueOr('oldSelf', 'spec.dkim.selector', '""'),
    ].join(''),
    message:
      'needs another dkim.selector when it changes, because resolvers go on serving the old key under the old one: set both',
    fieldPath: '.spec.dkim.algorithm',
  },
  {
    rule: `${valueOr('self', 'spec.domain', 'self.metadata.name')} == ${valueOr('oldSelf', 'spec.domain', 'oldSelf.metadata.name')}`,
    message: 'the domain of a MailDomain is fixed: create another MailDomain for another domain',
    fieldPath: '.spec.domain',
  },
  {
    rule: String.raw`!${valueOr('self', 'spec.domain', 'self.metadata.name')}.lowerAscii().matches(r"\.invalid$")`,
    message: RESERVED_MESSAGE,
    fieldPath: '.spec.domain',
  },
  {
    // The API server has made sure that names are lower-case letters, digits, "-" and ".".
    rule: String.raw`(${present('self', 'spec.domain')}) || self.metadata.name.matches(r"\.[a-z][a-z0-9-]*$")`,
    message: `without it the object's name is the domain, and that ${DOMAIN_MESSAGE}: set spec.domain, or rename the object`,
    fieldPath: '.spec.domain',
  },
];

const recordSchema = z
  .object({
    name: z.string().max(255).describe('Owner name, without a dot at the end.'),
    type: z.string().max(16).describe('Record type, for example TXT.'),
    value: z.string().max(4096).describe('Data of the record, as in a zone file.'),
    purpose: z.string().max(256).optional().describe('What the record is for.'),
  })
  .describe('One DNS record.');

export const mailDomainStatusSchema = z
  .object({
    observedGeneration: observedGenerationSchema,
    conditions: conditionsSchema,
    ownership: z
      .object({
        challenge: z.string().max(128).describe('Value of the TXT record that was seen.'),
        missingSince: z
          .string()
          .max(64)
          .optional()
          .describe('Since when the record is no longer seen (RFC 3339). The domain goes on being served.'),
        verifiedAt: z.string().max(64).describe('When the record was first seen (RFC 3339).'),
      })
      .optional()
      .describe('Proof that the domain is ours, for a MailSystem in another namespace. It is remembered.'),
    domain: z.string().max(253).optional().describe('The domain in canonical form: lower case, A-labels.'),
    records: z.array(recordSchema).max(64).optional().meta({
      description: 'DNS records to enter in the zone.',
      'x-kubernetes-list-type': 'atomic',
    }),
    detail: detailSchema,
  })
  .describe('The domain as it is. Written by the operator.');

/** `spec` as a person writes it. */
export type MailDomainSpec = Exclude<z.input<typeof mailDomainSpecSchema>, undefined>;
export type MailDomainStatus = z.output<typeof mailDomainStatusSchema>;
/** `spec` may be missing altogether: the name says enough. */
export type MailDomain = Omit<ObjectOf<'MailDomain', MailDomainSpec, MailDomainStatus>, 'spec'> & {
  readonly spec?: MailDomainSpec;
};

/** `spec` with defaults filled in and the domain in canonical form. */
export type MailDomainResolved = Omit<z.output<typeof mailDomainSpecSchema>, 'domain'> & { readonly domain: string };

/**
 * Fills in defaults; domains and addresses become canonical (`parseDomain`, lower case).
 *
 * @param name the object's name, which is the domain unless the spec has one
 * @throws Error naming each bad field, for objects that were stored under older rules or whose domain is no valid IDNA
 */
export function resolveMailDomain(spec: MailDomainSpec | undefined, name: string): MailDomainResolved {
  const parsed = parseObject('MailDomain', mailDomainSpecSchema, spec, 'spec');
  const { filter, ...rest } = parsed;
  const domain = parseDomain(rest.domain ?? name);
  if (domain.endsWith('.invalid')) throw new Error(`domain ${JSON.stringify(domain)} ${RESERVED_MESSAGE}`);
  return {
    ...rest,
    domain,
    filter: { ...filter, allow: filter.allow.map(canonicalSender), deny: filter.deny.map(canonicalSender) },
  };
}

function canonicalSender(sender: string): string {
  if (!sender.includes('@')) return parseDomain(sender);
  return `${sender.slice(0, sender.lastIndexOf('@')).toLowerCase()}@${parseAddress(sender).domain}`;
}

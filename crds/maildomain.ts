import { z } from 'zod';
import { conditionsSchema, detailSchema, observedGenerationSchema } from './condition.js';
import { DOMAIN_MESSAGE, parseDomain } from './domain.js';
import { domain, objectName, present, type Rule, rules, text, valueOr } from './fields.js';
import { type ObjectOf, parseObject } from './object.js';

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

export const mailDomainSpecSchema = z
  .object({
    domain: domain().optional().describe("The domain. Default: the object's name. Can't be changed."),
    system: objectName()
      .optional()
      .describe(
        "Name of the MailSystem in this namespace that serves the domain. Default: the only MailSystem there. Once set it can't be changed.",
      ),
    dkim,
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
export const mailDomainRules: readonly Rule[] = [
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
 * Fills in defaults; the domain becomes canonical (`parseDomain`).
 *
 * @param name the object's name, which is the domain unless the spec has one
 * @throws Error naming each bad field, for objects that were stored under older rules or whose domain is no valid IDNA
 */
export function resolveMailDomain(spec: MailDomainSpec | undefined, name: string): MailDomainResolved {
  const parsed = parseObject('MailDomain', mailDomainSpecSchema, spec, 'spec');
  return { ...parsed, domain: parseDomain(parsed.domain ?? name) };
}

import { z } from 'zod';

const address = z.string().regex(/^[0-9.]+:\d+$/, 'must be ADDRESS:PORT');

const limit = (most: number, minutes: number) =>
  z
    .object({ most: z.int().min(1).default(most), minutes: z.int().min(1).default(minutes) })
    .prefault({})
    .readonly();

const ldap = z.object({
  url: z.string(),
  startTLS: z.boolean().default(true),
  baseDN: z.string(),
  filter: z.string().default('(mail=%{address})'),
  method: z.enum(['Bind', 'Hash']).default('Bind'),
  passwordAttribute: z.string().default('userPassword'),
  status: z.object({ attribute: z.string(), active: z.array(z.string()).default([]) }).optional(),
  cacheSeconds: z.int().min(0).max(3600).default(60),
});

/** /config/gatekeeper.yaml: images/posthorn/config/gatekeeper/gatekeeper.yaml says what each part means. */
export const gatekeeperConfig = z.object({
  role: z.enum(['mx', 'submission', 'proxy']),
  postmaster: z.string(),
  directory: z.object({
    hosts: z.string().transform((hosts) => hosts.split(',')),
    port: z.int(),
    leader: z.string(),
    /** Tests only. */
    tls: z.boolean().default(true),
  }),
  redis: z.object({
    host: z.string(),
    port: z.int(),
    tls: z.boolean().default(false),
    timeoutMs: z.int().default(500),
    user: z.string().optional(),
    /** File; without it Redis is asked for nobody in particular. */
    password: z.string().default('/redis/password'),
  }),
  /** Folder of the role's Secret. */
  tls: z.string(),
  policy: address,
  http: address,
  conduct: z
    .object({
      spam: z.int().min(1).default(5),
      messages: z.int().min(1).default(20),
      unknownRecipients: z.int().min(1).default(30),
      surgeFactor: z.number().min(1).default(5),
      surgeAbove: z.int().min(1).default(500),
      pauseMinutes: z.int().min(1).default(60),
    })
    .prefault({}),
  reports: z.object({ most: z.int().min(1).default(20) }).prefault({}),
  guard: z
    .object({
      perLogin: limit(20, 15),
      perLoginKnown: limit(100, 15),
      perLoginAnywhere: limit(200, 60),
      perNetwork: limit(100, 60),
      knownDays: z.int().min(1).default(30),
      ipv4Prefix: z.int().min(8).max(32).default(24),
      ipv6Prefix: z.int().min(16).max(128).default(56),
      never: z.array(z.cidrv4().or(z.cidrv6())).default([]),
    })
    .prefault({}),
  /** spec.ldap of the MailSystem; null without. Its Secrets are in the folder `ldapSecrets`. */
  ldap: ldap.nullable().default(null),
  ldapSecrets: z.string().default('/ldap'),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

export type GatekeeperConfig = z.infer<typeof gatekeeperConfig>;

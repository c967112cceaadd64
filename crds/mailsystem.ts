import { z } from 'zod';
import { parseHostedAddress } from './address.js';
import { conditionsSchema, detailSchema, observedGenerationSchema } from './condition.js';
import { DOMAIN_PATTERN_SOURCE, parseDomain } from './domain.js';
import {
  count,
  domain,
  hostedAddress,
  immutable,
  neverShrinks,
  objectName,
  present,
  type Rule,
  rules,
  size,
  storageClassName,
  text,
  valueOr,
} from './fields.js';
import { type ObjectOf, parseObject } from './object.js';
import { WEBHOOK_HOST_MAX_LENGTH, WEBHOOK_HOST_MESSAGE, WEBHOOK_HOST_PATTERN } from './webhookhost.js';

const DEFAULT_SIZE = { queue: '2Gi', store: '20Gi', database: '5Gi', redis: '1Gi' } as const;
const FIRST_SHARD = 'a';

function workload(description: string) {
  return z
    .object({ replicas: count(1, 64).default(1).describe('How many pods run.') })
    .prefault({})
    .describe(description);
}

function volume(name: keyof typeof DEFAULT_SIZE, what: string) {
  return size('64Mi', '1Pi')
    .default(DEFAULT_SIZE[name])
    .describe(`Size of each volume for ${what}. May grow if the StorageClass allows it, but never shrink.`);
}

const secretRef = z.object({ name: objectName().describe('Name of the Secret.') });

const shard = z
  .object({
    name: text(
      /^[a-z](?:[a-z0-9-]{0,14}[a-z0-9])?$/,
      'must start with a letter and have at most 16 lower-case letters, digits and inner hyphens',
      16,
    ).describe('Name of the shard, part of the names of its pods and volumes.'),
    replicas: count(1, 3)
      .default(1)
      .describe(
        'Copies of the shard, each on a node of its own; one for which there is no node waits, and a condition of this object says so. One of them, the primary, is used; when it is lost another takes over within seconds. With 1, the mail is away while its node is, and lost with its volume. Can be raised, not lowered.',
      ),
  })
  .meta({
    description: 'A shard: a part of the mailboxes, on volumes of its own.',
    ...rules({
      rule: `${valueOr('self', 'replicas', '1')} >= ${valueOr('oldSelf', 'replicas', '1')}`,
      message:
        "can't be lowered (unset means 1): the copy that would be removed may be the primary, or hold the only copy of the latest changes",
      fieldPath: '.replicas',
    }),
  });

const store = z
  .object({
    shards: z
      .array(shard)
      .min(1)
      .max(64)
      .default([{ name: FIRST_SHARD, replicas: 1 }])
      .meta({
        description:
          "Parts that the mailboxes are spread over. A new mailbox goes to one of them and stays there. Shards can be added, not removed. Default: one shard named 'a'.",
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
      }),
    durability: z
      .enum(['Primary', 'Replicated'])
      .optional()
      .describe(
        'When a delivered message counts as kept. Replicated: when it is on the volumes of two copies of the shard, so that it outlives either; a delivery waits for both. Primary: when it is on the volume of the primary; the last seconds before that one is lost may be missing. It is about deliveries only: what a mail program stores or changes is on the primary first, and on the others some seconds later. Default: Replicated in shards with more than one copy.',
      ),
    withoutReplica: z
      .enum(['Degrade', 'Defer'])
      .default('Degrade')
      .describe(
        'With durability Replicated: what becomes of deliveries while no other copy of the shard can be reached, because the node of the second of two is down for example. Degrade: they go on, on the primary alone, and a condition of this object says so until another copy has caught up. Defer: they wait in the queues of the mx, where a message is on one volume too, and people see no new mail meanwhile; a condition says so. Choose Defer if the volumes of the queues are safer than those of the store.',
      ),
    size: volume('store', 'one copy of a shard'),
    storageClassName: storageClassName(),
  })
  .prefault({})
  .meta({
    description: 'Where mail is stored (Dovecot).',
    ...rules({
      rule:
        `${valueOr('self', 'durability', '"Primary"')} == "Primary" || ` +
        '(has(self.shards) && self.shards.all(s, has(s.replicas) && s.replicas > 1))',
      message:
        'must not be Replicated while a shard has one copy only, because there is no second volume to keep a message on: set replicas of every shard to 2 or 3, or leave durability out, which means Replicated where there are several copies',
      fieldPath: '.durability',
    }),
  });

const database = z
  .object({
    members: z
      .literal([1, 3])
      .default(3)
      .describe(
        'Database members, 1 or 3. With 3, one can fail without a loss and with a pause of seconds. Can be raised, not lowered.',
      ),
    size: volume('database', 'one member of the database'),
    storageClassName: storageClassName(),
    external: z
      .object({
        secretRef: secretRef.describe(
          'Secret in the same namespace with the connection: host, port, dbname, user, password and ca.crt.',
        ),
      })
      .optional()
      .describe("Use a PostgreSQL that is run elsewhere instead of the built-in one. Can't be added or removed later."),
  })
  .prefault({})
  .describe('The directory: the PostgreSQL database that Postfix and Dovecot look addresses up in.');

const filter = z
  .object({
    rejectAbove: z
      .number()
      .min(1)
      .max(1000)
      .default(15)
      .describe('Spam score from which a message is refused at the mx, before it is accepted.'),
    tagAbove: z
      .number()
      .min(0)
      .max(1000)
      .default(6)
      .describe('Spam score from which a message is marked with X-Spam and goes to the Junk folder.'),
    greylistAbove: z
      .number()
      .min(0)
      .max(1000)
      .default(4)
      .describe('Spam score from which a first delivery is put off for some minutes. 0: never.'),
  })
  .prefault({})
  .meta({
    description: 'Filtering of incoming mail (rspamd). Scores are those of the X-Spamd-Result header.',
    ...rules({
      rule:
        `${valueOr('self', 'greylistAbove', '4.0')} <= ${valueOr('self', 'rejectAbove', '15.0')}` +
        ` && ${valueOr('self', 'tagAbove', '6.0')} <= ${valueOr('self', 'rejectAbove', '15.0')}`,
      message:
        'rejectAbove (unset means 15) must not be below tagAbove (6) or greylistAbove (4): raise it or lower those',
      fieldPath: '.rejectAbove',
    }),
  });

const IP_WITH_PORT = /^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)(?:@[0-9]{1,5})?$/;
const IP = /^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)$/;
const TRUST_ANCHOR =
  /^[0-9A-Za-z._-]+ +(?:[0-9]+ +)?(?:IN +)?(?:DS +[0-9]+ +[0-9]+ +[0-9]+ +[0-9A-Fa-f ]+|DNSKEY +[0-9]+ +[0-9]+ +[0-9]+ +[0-9A-Za-z+/= ]+)$/;

const rootServer = z
  .object({
    name: text(
      new RegExp(`^${DOMAIN_PATTERN_SOURCE}\\.?$`),
      'must be the name of a name server, such as a.root-servers.net',
      254,
    ).describe('Name of the root server.'),
    address: text(IP, 'must be an IP address', 45).describe('Its IP address.'),
  })
  .describe('A root server.');

const resolver = z
  .object({
    forwarders: z
      .array(text(IP_WITH_PORT, 'must be an IP address, with @PORT behind it if the port is not 53', 51))
      .max(16)
      .default([])
      .meta({
        description:
          'Resolvers to ask instead of the root servers. They must pass DNSSEC data on. Default: none, resolve from the root.',
        'x-kubernetes-list-type': 'atomic',
      }),
    rootServers: z.array(rootServer).max(26).default([]).meta({
      description: 'Root servers, for a network that has its own. Default: those of the Internet.',
      'x-kubernetes-list-type': 'atomic',
    }),
    trustAnchors: z
      .array(text(TRUST_ANCHOR, 'must be a DS or DNSKEY record as in a zone file, on one line', 2048))
      .max(16)
      .default([])
      .meta({
        description:
          'DNSSEC trust anchors, as DS or DNSKEY records, for a network that has its own root. Default: that of the Internet.',
        'x-kubernetes-list-type': 'atomic',
      }),
  })
  .prefault({})
  .describe('The validating DNS resolver beside each Postfix (unbound).');

const tls = z
  .object({
    secretRef: secretRef
      .optional()
      .describe(
        'Secret of type kubernetes.io/tls in the same namespace with the certificate for hostname, from ACME or cert-manager for example. A renewed one is picked up without a restart.',
      ),
  })
  .prefault({})
  .describe(
    "Certificate that clients and other servers see. Default: one signed by the system's own CA, in SYSTEM-tls-public.",
  );

const images = z
  .object({
    prefix: text(
      /^[a-z0-9](?:[a-z0-9._:-]*[a-z0-9])?(?:\/[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)*$/,
      'must be a registry and a path without a slash at the end, such as registry.example.org/posthorn',
      200,
    )
      .optional()
      .describe("Registry and path of the images. Default: the operator's own."),
    tag: text(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, 'must be the tag of an image', 128)
      .optional()
      .describe("Tag of the images. Default: the operator's own."),
    pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent').describe('When nodes pull images.'),
  })
  .prefault({})
  .describe('Which images run.');

const limits = z
  .object({
    messageSize: size('64Ki', '1Gi')
      .default('50Mi')
      .describe('Largest message that is accepted, as transferred: attachments grow by a third.'),
    sending: z
      .object({
        userHour: count(1, 1_000_000)
          .default(300)
          .describe('Recipients that one login may send to in an hour, unless its Mailbox says otherwise.'),
        userDay: count(1, 10_000_000)
          .default(1500)
          .describe('Recipients that one login may send to in 24 hours, unless its Mailbox says otherwise.'),
        domainHour: count(1, 10_000_000)
          .optional()
          .describe(
            'Recipients that all logins of a domain together may send to in an hour, unless its MailDomain says otherwise. Default: no limit.',
          ),
      })
      .prefault({})
      .describe('How much people may send. What is over the limit is put off (4xx), so that a program tries it again.'),
  })
  .prefault({})
  .describe('Limits that hold for everybody.');

const LDAP_URL = /^ldaps?:\/\/(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\/?$/;
const LDAP_ATTRIBUTE = /^[A-Za-z][A-Za-z0-9-]{0,63}$/;

const ldapAttribute = () => text(LDAP_ATTRIBUTE, 'must be the name of an attribute, such as userPassword', 64);

const ldap = z
  .object({
    url: text(LDAP_URL, 'must be ldap://HOST, ldap://HOST:PORT or ldaps://HOST', 300).describe('The server.'),
    startTLS: z
      .boolean()
      .default(true)
      .describe(
        'Whether an ldap:// connection is encrypted by StartTLS before anything is asked. ldaps:// is from the start.',
      ),
    caSecretRef: z
      .object({
        name: objectName().describe('Name of the Secret.'),
        key: text(/^[-._a-zA-Z0-9]+$/, 'must be a key of a Secret: letters, digits, "-", "_" and "."', 253)
          .default('ca.crt')
          .describe('Key in the Secret whose value is the certificate, PEM.'),
      })
      .optional()
      .describe(
        "Secret in the same namespace with the CA certificate that the server's is checked against. Default: the well-known public CAs.",
      ),
    bindSecretRef: secretRef
      .optional()
      .describe(
        'Secret in the same namespace with the keys username (a DN) and password, to search with. Default: search without logging in.',
      ),
    baseDN: text(/=/, 'must be a DN such as ou=users,dc=example,dc=org', 500).describe(
      'Where the entries of people are, at any depth below.',
    ),
    filter: text(
      /^\(.*%\{(?:address|local|domain)\}.*\)$/,
      'must be a filter in parentheses with %{address} or %{local} in it, such as (mail=%{address})',
      500,
    )
      .default('(mail=%{address})')
      .describe(
        'Which entry belongs to a login. %{address}, %{local} and %{domain} are the address of the Mailbox and its parts. When several entries match, nobody gets in.',
      ),
    method: z
      .enum(['Bind', 'Hash'])
      .default('Bind')
      .describe(
        'How a password is checked. Bind: by logging in to the LDAP server with it. Hash: against the hash in passwordAttribute, which bindSecretRef must be allowed to read.',
      ),
    passwordAttribute: ldapAttribute().default('userPassword').describe('With method Hash: attribute with the hash.'),
    status: z
      .object({
        attribute: ldapAttribute().describe('Attribute that says how an account is.'),
        active: z
          .array(text(/^[^\r\n]+$/, 'must be one line', 128))
          .max(32)
          .default([])
          .meta({
            description:
              'Values with which one may log in, whatever their case; the attribute must be there and hold nothing else. Default: none, which means that the attribute must be absent.',
            'x-kubernetes-list-type': 'set',
          }),
      })
      .optional()
      .describe('Accounts that the LDAP server knows and that must not log in. Default: all may.'),
    cacheSeconds: count(0, 3600)
      .default(60)
      .describe(
        'How long a correct password is remembered, in seconds. So long a password or status that was changed in the LDAP server goes on as it was, and so long logins outlast its outage. A change of the Mailbox counts at once. 0: not at all.',
      ),
  })
  .optional()
  .meta({
    description:
      "An LDAP server that checks the passwords of those Mailboxes that have no passwordSecretRef. While it can't be reached they can't log in; mail arrives all the same. Default: none.",
    ...rules({
      rule: `self.url.startsWith("ldaps:") || ${valueOr('self', 'startTLS', 'true')}`,
      message:
        'must not be false with ldap://, because passwords would cross the network in the clear: use ldaps://, or remove startTLS',
      fieldPath: '.startTLS',
    }),
  });

const NAMESPACE = /^(?:\*|[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)$/;

const tenants = z
  .object({
    namespaces: z
      .array(text(NAMESPACE, 'must be the name of a namespace, or * for all', 63))
      .max(1024)
      .default([])
      .meta({
        description:
          'Namespaces whose MailDomains may name this MailSystem in spec.system and spec.systemNamespace; * for all. Default: none but its own.',
        'x-kubernetes-list-type': 'set',
      }),
  })
  .prefault({})
  .describe('Who else may have domains and mailboxes here.');

const webhooks = z
  .object({
    allowHosts: z
      .array(text(WEBHOOK_HOST_PATTERN, WEBHOOK_HOST_MESSAGE, WEBHOOK_HOST_MAX_LENGTH))
      .max(64)
      .default([])
      .meta({
        description:
          'Hosts and ports, as they are written in the URLs of webhooks, that may be asked although their addresses are private or in the cluster, for rules in the namespace of the MailSystem: bridgedb.bots.svc for https://bridgedb.bots.svc, bridgedb.bots.svc:8443 for that port, http://bridgedb.bots.svc:8080 for http. Default: none.',
        'x-kubernetes-list-type': 'set',
      }),
  })
  .prefault({})
  .describe('Where the webhooks of ForwardRules may go.');

const srs = z
  .object({
    domain: domain()
      .optional()
      .describe(
        'Domain of the sender addresses under which mail is forwarded to the outside (SRS). Its MX and SPF records must name this system. Default: hostname.',
      ),
    rotateDays: count(1, 365)
      .default(90)
      .describe('Days after which a new secret signs these addresses. Older ones are taken for 21 days more.'),
  })
  .prefault({})
  .describe('Sender rewriting of forwarded mail, so that it passes SPF and bounces come back.');

const volumeRules: Rule[] = (['queue', 'store', 'database', 'redis'] as const).flatMap((name) => [
  neverShrinks(`${name}.size`, DEFAULT_SIZE[name]),
  immutable(`${name}.storageClassName`, "can't be changed: the volumes exist already"),
]);

const shardNames = (object: string) =>
  `(${present(object, 'store.shards')} ? ${object}.store.shards.map(s, s.name) : ["${FIRST_SHARD}"])`;

const databaseRules: Rule[] = [
  {
    rule: `${valueOr('self', 'database.members', '3')} >= ${valueOr('oldSelf', 'database.members', '3')}`,
    message:
      "can't be lowered (unset means 3): the members that would be removed may hold the only copy of the latest changes",
    fieldPath: '.database.members',
  },
  {
    rule: `(${present('self', 'database.external')}) == (${present('oldSelf', 'database.external')})`,
    message:
      "can't be added or removed: the directory holds passwords and the places of mailboxes, and would start empty. Create a new MailSystem instead",
    fieldPath: '.database.external',
  },
];

export const mailSystemSpecSchema = z
  .object({
    hostname: domain().describe(
      'Name that mail clients and other mail servers connect to, for example mail.example.org. ' +
        'The certificate must be for it, and the MX records of the domains name it.',
    ),
    postmaster: hostedAddress()
      .optional()
      .describe(
        'Mailbox that gets the mail for postmaster@ and abuse@ of every domain (RFC 2142), unless a Mailbox has these addresses itself. Default: none.',
      ),
    mx: workload('The mx: Postfix that receives mail from other servers on port 25.'),
    submission: workload('Submission: Postfix that takes mail from people on ports 587 and 465.'),
    egress: workload('Egress: Postfix that signs mail and sends it to other servers.'),
    proxy: workload('The proxy: Dovecot that leads people to their shard, on ports 993 (IMAP) and 4190 (ManageSieve).'),
    forward: workload('Forward: Postfix that sends forwarded mail on, under a sender address of our own.'),
    courier: workload('The courier: hands messages to webhooks and commands.'),
    queue: z
      .object({ size: volume('queue', 'the queue of a Postfix pod'), storageClassName: storageClassName() })
      .prefault({})
      .describe('Queues of mx, submission, egress and forward. A message in a queue is on one volume only.'),
    store,
    database,
    redis: z
      .object({ size: volume('redis', "the filter's statistics"), storageClassName: storageClassName() })
      .prefault({})
      .describe("Redis, for the filter's statistics and as a cache of DKIM keys."),
    filter,
    resolver,
    tls,
    exposure: z
      .object({
        type: z
          .enum(['ClusterIP', 'NodePort', 'LoadBalancer'])
          .default('LoadBalancer')
          .describe('Type of the Services for ports 25, 587, 465, 993 and 4190.'),
      })
      .prefault({})
      .describe('How the mail ports are reached from outside the cluster.'),
    images,
    limits,
    ldap,
    tenants,
    webhooks,
    srs,
    deletionPolicy: z
      .enum(['Retain', 'Delete'])
      .default('Retain')
      .describe(
        'What becomes of the volumes, and with them of all mail, when this object is deleted. Retain: they stay. Delete: they are removed.',
      ),
  })
  .meta({
    description: 'The installation as it should be. Only hostname is required.',
    ...rules(
      ...volumeRules,
      {
        rule: `${shardNames('oldSelf')}.all(n, n in ${shardNames('self')})`,
        message: `a shard can't be removed, because it holds mailboxes (unset means one shard named ${FIRST_SHARD})`,
        fieldPath: '.store.shards',
      },
      {
        // Within the list each shard's own rule says so.
        rule: `${present('self', 'store.shards')} || !(${present('oldSelf', 'store.shards')}) || oldSelf.store.shards.all(s, !has(s.replicas) || s.replicas == 1)`,
        message: "can't be left out once a shard has more than one copy: they would become one, which loses mail",
        fieldPath: '.store.shards',
      },
      ...databaseRules,
    ),
  });

const endpoint = z
  .object({
    name: z.string().max(63).describe('Protocol: smtp, submission, submissions, imaps or managesieve.'),
    host: z.string().max(253).describe('Name or IP address.'),
    port: count(1, 65535).describe('TCP port.'),
  })
  .describe('Where a service is reached.');

const member = z
  .object({
    pod: z.string().max(253).describe('Name of the pod.'),
    node: z.string().max(253).optional().describe('Node that it runs on.'),
    state: z
      .enum(['Primary', 'InSync', 'Behind', 'Filling', 'Away', 'NoNode', 'Refused'])
      .describe(
        'Primary: people and mail are sent to it. InSync: it has everything but the last moments. Behind: it is catching up. ' +
          'Filling: its volume is new, and is being filled. Away: its pod does not run. NoNode: there is no node for it. ' +
          'Refused: its volume is not the one that held the mail, and there is no copy to fill it from.',
      ),
    seeded: z
      .boolean()
      .describe('Whether its volume has held all mail of the shard: only then it may become the primary.'),
    lag: z
      .string()
      .max(64)
      .optional()
      .describe('With Behind and Filling: how far it is behind, or has come. In coarse steps.'),
  })
  .describe('A copy of a shard.');

const shardStatus = z
  .object({
    name: z.string().max(63).describe('Name of the shard.'),
    primary: z.string().max(253).optional().describe('Pod that is the primary. Absent while there is none.'),
    epoch: z.int().min(0).describe('Rises by one with each change of the primary. 0: there was none yet.'),
    members: z.array(member).max(16).meta({
      description: 'Its copies.',
      'x-kubernetes-list-type': 'atomic',
    }),
  })
  .describe('A shard of the store.');

export const mailSystemStatusSchema = z
  .object({
    observedGeneration: observedGenerationSchema,
    conditions: conditionsSchema,
    endpoints: z.array(endpoint).max(32).optional().meta({
      description: 'Where the services are reached.',
      'x-kubernetes-list-type': 'atomic',
    }),
    shards: z
      .array(shardStatus)
      .max(64)
      .optional()
      .meta({
        description: 'The shards of the store, and who is the primary of each.',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
      }),
    detail: detailSchema,
  })
  .describe('The installation as it is. Written by the operator.');

/** `spec` as a person writes it. */
export type MailSystemSpec = z.input<typeof mailSystemSpecSchema>;
export type MailSystemStatus = z.output<typeof mailSystemStatusSchema>;
export type MailSystem = ObjectOf<'MailSystem', MailSystemSpec, MailSystemStatus>;

/** `spec` with defaults filled in, names and addresses in canonical form. */
export type MailSystemResolved = z.output<typeof mailSystemSpecSchema>;

/**
 * Fills in defaults; `hostname`, `srs.domain` and `postmaster` become canonical (`parseDomain`, `parseHostedAddress`).
 *
 * @throws Error naming each bad field, for objects that were stored under older rules or whose domain is no valid IDNA
 */
export function resolveMailSystem(spec: MailSystemSpec): MailSystemResolved {
  const { postmaster, ...rest } = parseObject('MailSystem', mailSystemSpecSchema, spec, 'spec');
  return {
    ...rest,
    hostname: parseDomain(rest.hostname),
    srs: { ...rest.srs, ...(rest.srs.domain === undefined ? {} : { domain: parseDomain(rest.srs.domain) }) },
    ...(postmaster === undefined ? {} : { postmaster: parseHostedAddress(postmaster) }),
  };
}

/** What `spec.store.durability` means for a shard: unset, it is Replicated where there is more than one copy. */
export function durabilityOf(
  store: Pick<MailSystemResolved['store'], 'durability'>,
  shard: { readonly replicas: number },
): 'Primary' | 'Replicated' {
  return store.durability ?? (shard.replicas > 1 ? 'Replicated' : 'Primary');
}

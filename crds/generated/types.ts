// Generated from the schemas in crds/ by "npm run generate".

import type { Metadata } from '../object.js';

/** A MailSystem is one installation of a mail service: its servers, their sizes and their storage. */
export interface MailSystem {
  apiVersion: 'posthorn.dev/v1alpha1';
  kind: 'MailSystem';
  metadata?: Metadata;
  spec: MailSystemSpec;
  status?: MailSystemStatus;
}

/** The installation as it should be. Only hostname is required. */
export interface MailSystemSpec {
  /** Name that mail clients and other mail servers connect to, for example mail.example.org. The certificate must be for it, and the MX records of the domains name it. */
  hostname: string;
  /** Mailbox that gets the mail for postmaster@ and abuse@ of every domain (RFC 2142), unless a Mailbox has these addresses itself. Default: none. */
  postmaster?: string;
  /** The mx: Postfix that receives mail from other servers on port 25. */
  mx?: MailSystemMx;
  /** Submission: Postfix that takes mail from people on ports 587 and 465. */
  submission?: MailSystemSubmission;
  /** Egress: Postfix that signs mail and sends it to other servers. */
  egress?: MailSystemEgress;
  /** The proxy: Dovecot that leads people to their shard, on ports 993 (IMAP) and 4190 (ManageSieve). */
  proxy?: MailSystemProxy;
  /** Queues of mx, submission and egress. A message in a queue is on one volume only. */
  queue?: MailSystemQueue;
  /** Where mail is stored (Dovecot). */
  store?: MailSystemStore;
  /** The directory: the PostgreSQL database that Postfix and Dovecot look addresses up in. */
  database?: MailSystemDatabase;
  /** Redis, for the filter's statistics and as a cache of DKIM keys. */
  redis?: MailSystemRedis;
  /** Filtering of incoming mail (rspamd). Scores are those of the X-Spamd-Result header. */
  filter?: MailSystemFilter;
  /** The validating DNS resolver beside each Postfix (unbound). */
  resolver?: MailSystemResolver;
  /** Certificate that clients and other servers see. Default: one signed by the system's own CA, in SYSTEM-tls-public. */
  tls?: MailSystemTls;
  /** How the mail ports are reached from outside the cluster. */
  exposure?: MailSystemExposure;
  /** Which images run. */
  images?: MailSystemImages;
  /** Limits that hold for everybody. */
  limits?: MailSystemLimits;
  /** What becomes of the volumes, and with them of all mail, when this object is deleted. Retain: they stay. Delete: they are removed. Default: Retain. */
  deletionPolicy?: 'Retain' | 'Delete';
}

/** The mx: Postfix that receives mail from other servers on port 25. */
export interface MailSystemMx {
  /** How many pods run. Default: 1. */
  replicas?: number;
}

/** Submission: Postfix that takes mail from people on ports 587 and 465. */
export interface MailSystemSubmission {
  /** How many pods run. Default: 1. */
  replicas?: number;
}

/** Egress: Postfix that signs mail and sends it to other servers. */
export interface MailSystemEgress {
  /** How many pods run. Default: 1. */
  replicas?: number;
}

/** The proxy: Dovecot that leads people to their shard, on ports 993 (IMAP) and 4190 (ManageSieve). */
export interface MailSystemProxy {
  /** How many pods run. Default: 1. */
  replicas?: number;
}

/** Queues of mx, submission and egress. A message in a queue is on one volume only. */
export interface MailSystemQueue {
  /** Size of each volume for the queue of a Postfix pod. May grow if the StorageClass allows it, but never shrink. Default: 2Gi. */
  size?: string;
  /** StorageClass of the volumes. Default: the cluster's default class. Can't be changed. */
  storageClassName?: string;
}

/** Where mail is stored (Dovecot). */
export interface MailSystemStore {
  /** Parts that the mailboxes are spread over. A new mailbox goes to one of them and stays there. Shards can be added, not removed. Default: one shard named 'a'. */
  shards?: MailSystemStoreShard[];
  /** Size of each volume for the mail of one shard. May grow if the StorageClass allows it, but never shrink. Default: 20Gi. */
  size?: string;
  /** StorageClass of the volumes. Default: the cluster's default class. Can't be changed. */
  storageClassName?: string;
}

/** A shard: a part of the mailboxes, on a volume of its own. */
export interface MailSystemStoreShard {
  /** Name of the shard, part of the names of its pods and volumes. */
  name: string;
  /** Copies of the shard. Only 1 so far: a second one needs replication between stores. Default: 1. */
  replicas?: number;
}

/** The directory: the PostgreSQL database that Postfix and Dovecot look addresses up in. */
export interface MailSystemDatabase {
  /** Database members, 1 or 3. With 3, one can fail without a loss and with a pause of seconds. Can be raised, not lowered. Default: 3. */
  members?: 1 | 3;
  /** Size of each volume for one member of the database. May grow if the StorageClass allows it, but never shrink. Default: 5Gi. */
  size?: string;
  /** StorageClass of the volumes. Default: the cluster's default class. Can't be changed. */
  storageClassName?: string;
  /** Use a PostgreSQL that is run elsewhere instead of the built-in one. Can't be added or removed later. */
  external?: MailSystemDatabaseExternal;
}

/** Use a PostgreSQL that is run elsewhere instead of the built-in one. Can't be added or removed later. */
export interface MailSystemDatabaseExternal {
  /** Secret in the same namespace with the connection: host, port, dbname, user, password and ca.crt. */
  secretRef: MailSystemDatabaseExternalSecretRef;
}

/** Secret in the same namespace with the connection: host, port, dbname, user, password and ca.crt. */
export interface MailSystemDatabaseExternalSecretRef {
  /** Name of the Secret. */
  name: string;
}

/** Redis, for the filter's statistics and as a cache of DKIM keys. */
export interface MailSystemRedis {
  /** Size of each volume for the filter's statistics. May grow if the StorageClass allows it, but never shrink. Default: 1Gi. */
  size?: string;
  /** StorageClass of the volumes. Default: the cluster's default class. Can't be changed. */
  storageClassName?: string;
}

/** Filtering of incoming mail (rspamd). Scores are those of the X-Spamd-Result header. */
export interface MailSystemFilter {
  /** Spam score from which a message is refused at the mx, before it is accepted. Default: 15. */
  rejectAbove?: number;
  /** Spam score from which a message is marked with X-Spam and goes to the Junk folder. Default: 6. */
  tagAbove?: number;
  /** Spam score from which a first delivery is put off for some minutes. 0: never. Default: 4. */
  greylistAbove?: number;
}

/** The validating DNS resolver beside each Postfix (unbound). */
export interface MailSystemResolver {
  /** Resolvers to ask instead of the root servers. They must pass DNSSEC data on. Default: none, resolve from the root. */
  forwarders?: string[];
  /** Root servers, for a network that has its own. Default: those of the Internet. */
  rootServers?: MailSystemResolverRootServer[];
  /** DNSSEC trust anchors, as DS or DNSKEY records, for a network that has its own root. Default: that of the Internet. */
  trustAnchors?: string[];
}

/** A root server. */
export interface MailSystemResolverRootServer {
  /** Name of the root server. */
  name: string;
  /** Its IP address. */
  address: string;
}

/** Certificate that clients and other servers see. Default: one signed by the system's own CA, in SYSTEM-tls-public. */
export interface MailSystemTls {
  /** Secret of type kubernetes.io/tls in the same namespace with the certificate for hostname, from ACME or cert-manager for example. A renewed one is picked up without a restart. */
  secretRef?: MailSystemTlsSecretRef;
}

/** Secret of type kubernetes.io/tls in the same namespace with the certificate for hostname, from ACME or cert-manager for example. A renewed one is picked up without a restart. */
export interface MailSystemTlsSecretRef {
  /** Name of the Secret. */
  name: string;
}

/** How the mail ports are reached from outside the cluster. */
export interface MailSystemExposure {
  /** Type of the Services for ports 25, 587, 465, 993 and 4190. Default: LoadBalancer. */
  type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer';
}

/** Which images run. */
export interface MailSystemImages {
  /** Registry and path of the images. Default: the operator's own. */
  prefix?: string;
  /** Tag of the images. Default: the operator's own. */
  tag?: string;
  /** When nodes pull images. Default: IfNotPresent. */
  pullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
}

/** Limits that hold for everybody. */
export interface MailSystemLimits {
  /** Largest message that is accepted, as transferred: attachments grow by a third. Default: 50Mi. */
  messageSize?: string;
}

/** The installation as it is. Written by the operator. */
export interface MailSystemStatus {
  /** metadata.generation that this status was computed from. */
  observedGeneration?: number;
  /** The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works. */
  conditions?: MailSystemStatusCondition[];
  /** Where the services are reached. */
  endpoints?: MailSystemStatusEndpoint[];
  /** The state in one line, for kubectl get. */
  detail?: string;
}

/** One aspect of the state. */
export interface MailSystemStatusCondition {
  /** What the condition is about, for example Ready. */
  type: string;
  /** Whether it is so. */
  status: 'True' | 'False' | 'Unknown';
  /** Why, as one CamelCase word for programs. The words are constant. */
  reason: string;
  /** Why, for people: what is wrong, where, and what to do. Empty when there is nothing to say. */
  message: string;
  /** When the status last changed from one of True, False and Unknown to another. */
  lastTransitionTime: string;
  /** metadata.generation that the condition was computed from. Smaller than the current one: out of date. */
  observedGeneration?: number;
}

/** Where a service is reached. */
export interface MailSystemStatusEndpoint {
  /** Protocol: smtp, submission, submissions, imaps or managesieve. */
  name: string;
  /** Name or IP address. */
  host: string;
  /** TCP port. */
  port: number;
}

/** A MailDomain is a domain whose mail a MailSystem receives, stores and signs. */
export interface MailDomain {
  apiVersion: 'posthorn.dev/v1alpha1';
  kind: 'MailDomain';
  metadata?: Metadata;
  spec?: MailDomainSpec;
  status?: MailDomainStatus;
}

/** The domain as it should be. */
export interface MailDomainSpec {
  /** The domain. Default: the object's name. Can't be changed. */
  domain?: string;
  /** Name of the MailSystem in this namespace that serves the domain. Default: the only MailSystem there. Once set it can't be changed. */
  system?: string;
  /** How outgoing mail of the domain is signed. Mail that can not be signed waits: none leaves unsigned. */
  dkim?: MailDomainDkim;
}

/** How outgoing mail of the domain is signed. Mail that can not be signed waits: none leaves unsigned. */
export interface MailDomainDkim {
  /** Name under which the public key is in the DNS: SELECTOR._domainkey.DOMAIN. Default: chosen by the operator, see status.records. */
  selector?: string;
  /** Kind of key. Every receiver can verify rsa-2048; some can not verify ed25519 yet. Default: rsa-2048. */
  algorithm?: 'rsa-2048' | 'ed25519';
}

/** The domain as it is. Written by the operator. */
export interface MailDomainStatus {
  /** metadata.generation that this status was computed from. */
  observedGeneration?: number;
  /** The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works. */
  conditions?: MailDomainStatusCondition[];
  /** The domain in canonical form: lower case, A-labels. */
  domain?: string;
  /** DNS records to enter in the zone. */
  records?: MailDomainStatusRecord[];
  /** The state in one line, for kubectl get. */
  detail?: string;
}

/** One aspect of the state. */
export interface MailDomainStatusCondition {
  /** What the condition is about, for example Ready. */
  type: string;
  /** Whether it is so. */
  status: 'True' | 'False' | 'Unknown';
  /** Why, as one CamelCase word for programs. The words are constant. */
  reason: string;
  /** Why, for people: what is wrong, where, and what to do. Empty when there is nothing to say. */
  message: string;
  /** When the status last changed from one of True, False and Unknown to another. */
  lastTransitionTime: string;
  /** metadata.generation that the condition was computed from. Smaller than the current one: out of date. */
  observedGeneration?: number;
}

/** One DNS record. */
export interface MailDomainStatusRecord {
  /** Owner name, without a dot at the end. */
  name: string;
  /** Record type, for example TXT. */
  type: string;
  /** Data of the record, as in a zone file. */
  value: string;
  /** What the record is for. */
  purpose?: string;
}

/** A Mailbox is a person's or a bot's mailbox: its addresses, its size and how to log in. */
export interface Mailbox {
  apiVersion: 'posthorn.dev/v1alpha1';
  kind: 'Mailbox';
  metadata?: Metadata;
  spec: MailboxSpec;
  status?: MailboxStatus;
}

/** The mailbox as it should be. */
export interface MailboxSpec {
  /** Main address, and the name to log in with. Its domain must be a MailDomain in this namespace. May be changed: mail, password and settings stay with the mailbox. When several objects claim an address, the one created first has it. */
  address: string;
  /** Further addresses of this mailbox, at most 64, in this or other domains of the MailSystem. Their mail arrives in the mailbox, and it may send as them. Only the main address can be used to log in. Default: none. */
  aliases?: string[];
  /** Most that the mailbox may hold, for example 10Gi. When it is full, mail is refused. Default: no limit. */
  quota?: string;
  /** Secret in the same namespace that holds the password. A change takes effect within seconds. Without it nobody can log in until a password is set in the system's own directory; mail arrives all the same. */
  passwordSecretRef?: MailboxPasswordSecretRef;
  /** What becomes of the mail when this object is deleted. Retain: it stays on the volume, and a new Mailbox with the UUID in adopt has it again. Delete: it is removed after a time of grace. Default: Retain. */
  deletionPolicy?: 'Retain' | 'Delete';
  /** UUID of a mailbox whose data was retained (status.uuid of the deleted Mailbox): this one takes over its mail. Can be given only at creation. Default: a new, empty mailbox. */
  adopt?: string;
}

/** Secret in the same namespace that holds the password. A change takes effect within seconds. Without it nobody can log in until a password is set in the system's own directory; mail arrives all the same. */
export interface MailboxPasswordSecretRef {
  /** Name of the Secret. */
  name: string;
  /** Key in the Secret whose value is the password in plain text. Default: password. */
  key?: string;
}

/** The mailbox as it is. Written by the operator. */
export interface MailboxStatus {
  /** metadata.generation that this status was computed from. */
  observedGeneration?: number;
  /** The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works. */
  conditions?: MailboxStatusCondition[];
  /** Main address in canonical form: lower case, domain in A-labels. */
  address?: string;
  /** Identity of the stored mail. It outlives changes of the address, and this object. */
  uuid?: string;
  /** Store shard that holds the mail. */
  shard?: string;
  /** The state in one line, for kubectl get. */
  detail?: string;
}

/** One aspect of the state. */
export interface MailboxStatusCondition {
  /** What the condition is about, for example Ready. */
  type: string;
  /** Whether it is so. */
  status: 'True' | 'False' | 'Unknown';
  /** Why, as one CamelCase word for programs. The words are constant. */
  reason: string;
  /** Why, for people: what is wrong, where, and what to do. Empty when there is nothing to say. */
  message: string;
  /** When the status last changed from one of True, False and Unknown to another. */
  lastTransitionTime: string;
  /** metadata.generation that the condition was computed from. Smaller than the current one: out of date. */
  observedGeneration?: number;
}

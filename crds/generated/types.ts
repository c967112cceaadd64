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
  /** Forward: Postfix that sends forwarded mail on, under a sender address of our own. */
  forward?: MailSystemForward;
  /** The courier: hands messages to webhooks and commands. */
  courier?: MailSystemCourier;
  /** Queues of mx, submission, egress and forward. A message in a queue is on one volume only. */
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
  /** An LDAP server that checks the passwords of those Mailboxes that have no passwordSecretRef. While it can't be reached they can't log in; mail arrives all the same. Default: none. */
  ldap?: MailSystemLdap;
  /** Who else may have domains and mailboxes here. */
  tenants?: MailSystemTenants;
  /** Where the webhooks of ForwardRules may go. */
  webhooks?: MailSystemWebhooks;
  /** Sender rewriting of forwarded mail, so that it passes SPF and bounces come back. */
  srs?: MailSystemSrs;
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

/** Forward: Postfix that sends forwarded mail on, under a sender address of our own. */
export interface MailSystemForward {
  /** How many pods run. Default: 1. */
  replicas?: number;
}

/** The courier: hands messages to webhooks and commands. */
export interface MailSystemCourier {
  /** How many pods run. Default: 1. */
  replicas?: number;
}

/** Queues of mx, submission, egress and forward. A message in a queue is on one volume only. */
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
  /** When a delivered message counts as kept. Replicated: when it is on the volumes of two copies of the shard, so that it outlives either; a delivery waits for both. Primary: when it is on the volume of the primary; the last seconds before that one is lost may be missing. It is about deliveries only: what a mail program stores or changes is on the primary first, and on the others some seconds later. Default: Replicated in shards with more than one copy. */
  durability?: 'Primary' | 'Replicated';
  /** With durability Replicated: what becomes of deliveries while no other copy of the shard can be reached, because the node of the second of two is down for example. Degrade: they go on, on the primary alone, and a condition of this object says so until another copy has caught up. Defer: they wait in the queues of the mx, where a message is on one volume too, and people see no new mail meanwhile; a condition says so. Choose Defer if the volumes of the queues are safer than those of the store. Default: Degrade. */
  withoutReplica?: 'Degrade' | 'Defer';
  /** Size of each volume for one copy of a shard. May grow if the StorageClass allows it, but never shrink. Default: 20Gi. */
  size?: string;
  /** StorageClass of the volumes. Default: the cluster's default class. Can't be changed. */
  storageClassName?: string;
}

/** A shard: a part of the mailboxes, on volumes of its own. */
export interface MailSystemStoreShard {
  /** Name of the shard, part of the names of its pods and volumes. */
  name: string;
  /** Copies of the shard, each on a node of its own; one for which there is no node waits, and a condition of this object says so. One of them, the primary, is used; when it is lost another takes over within seconds. With 1, the mail is away while its node is, and lost with its volume. Can be raised, not lowered. Default: 1. */
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
  /** How much people may send. What is over the limit is put off (4xx), so that a program tries it again. */
  sending?: MailSystemLimitsSending;
}

/** How much people may send. What is over the limit is put off (4xx), so that a program tries it again. */
export interface MailSystemLimitsSending {
  /** Recipients that one login may send to in an hour, unless its Mailbox says otherwise. Default: 300. */
  userHour?: number;
  /** Recipients that one login may send to in 24 hours, unless its Mailbox says otherwise. Default: 1500. */
  userDay?: number;
  /** Recipients that all logins of a domain together may send to in an hour, unless its MailDomain says otherwise. Default: no limit. */
  domainHour?: number;
}

/** An LDAP server that checks the passwords of those Mailboxes that have no passwordSecretRef. While it can't be reached they can't log in; mail arrives all the same. Default: none. */
export interface MailSystemLdap {
  /** The server. */
  url: string;
  /** Whether an ldap:// connection is encrypted by StartTLS before anything is asked. ldaps:// is from the start. Default: true. */
  startTLS?: boolean;
  /** Secret in the same namespace with the CA certificate that the server's is checked against. Default: the well-known public CAs. */
  caSecretRef?: MailSystemLdapCaSecretRef;
  /** Secret in the same namespace with the keys username (a DN) and password, to search with. Default: search without logging in. */
  bindSecretRef?: MailSystemLdapBindSecretRef;
  /** Where the entries of people are, at any depth below. */
  baseDN: string;
  /** Which entry belongs to a login. %{address}, %{local} and %{domain} are the address of the Mailbox and its parts. When several entries match, nobody gets in. Default: (mail=%{address}). */
  filter?: string;
  /** How a password is checked. Bind: by logging in to the LDAP server with it. Hash: against the hash in passwordAttribute, which bindSecretRef must be allowed to read. Default: Bind. */
  method?: 'Bind' | 'Hash';
  /** With method Hash: attribute with the hash. Default: userPassword. */
  passwordAttribute?: string;
  /** Accounts that the LDAP server knows and that must not log in. Default: all may. */
  status?: MailSystemLdapStatus;
  /** How long a correct password is remembered, in seconds. So long a password or status that was changed in the LDAP server goes on as it was, and so long logins outlast its outage. A change of the Mailbox counts at once. 0: not at all. Default: 60. */
  cacheSeconds?: number;
}

/** Secret in the same namespace with the CA certificate that the server's is checked against. Default: the well-known public CAs. */
export interface MailSystemLdapCaSecretRef {
  /** Name of the Secret. */
  name: string;
  /** Key in the Secret whose value is the certificate, PEM. Default: ca.crt. */
  key?: string;
}

/** Secret in the same namespace with the keys username (a DN) and password, to search with. Default: search without logging in. */
export interface MailSystemLdapBindSecretRef {
  /** Name of the Secret. */
  name: string;
}

/** Accounts that the LDAP server knows and that must not log in. Default: all may. */
export interface MailSystemLdapStatus {
  /** Attribute that says how an account is. */
  attribute: string;
  /** Values with which one may log in, whatever their case; the attribute must be there and hold nothing else. Default: none, which means that the attribute must be absent. */
  active?: string[];
}

/** Who else may have domains and mailboxes here. */
export interface MailSystemTenants {
  /** Namespaces whose MailDomains may name this MailSystem in spec.system and spec.systemNamespace; * for all. Default: none but its own. */
  namespaces?: string[];
}

/** Where the webhooks of ForwardRules may go. */
export interface MailSystemWebhooks {
  /** Hosts and ports, as they are written in the URLs of webhooks, that may be asked although their addresses are private or in the cluster, for rules in the namespace of the MailSystem: bridgedb.bots.svc for https://bridgedb.bots.svc, bridgedb.bots.svc:8443 for that port, http://bridgedb.bots.svc:8080 for http. Default: none. */
  allowHosts?: string[];
}

/** Sender rewriting of forwarded mail, so that it passes SPF and bounces come back. */
export interface MailSystemSrs {
  /** Domain of the sender addresses under which mail is forwarded to the outside (SRS). Its MX and SPF records must name this system. Default: hostname. */
  domain?: string;
  /** Days after which a new secret signs these addresses. Older ones are taken for 21 days more. Default: 90. */
  rotateDays?: number;
}

/** The installation as it is. Written by the operator. */
export interface MailSystemStatus {
  /** metadata.generation that this status was computed from. */
  observedGeneration?: number;
  /** The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works. */
  conditions?: MailSystemStatusCondition[];
  /** Where the services are reached. */
  endpoints?: MailSystemStatusEndpoint[];
  /** The shards of the store, and who is the primary of each. */
  shards?: MailSystemStatusShard[];
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

/** A shard of the store. */
export interface MailSystemStatusShard {
  /** Name of the shard. */
  name: string;
  /** Pod that is the primary. Absent while there is none. */
  primary?: string;
  /** Rises by one with each change of the primary. 0: there was none yet. */
  epoch: number;
  /** Its copies. */
  members: MailSystemStatusShardMember[];
}

/** A copy of a shard. */
export interface MailSystemStatusShardMember {
  /** Name of the pod. */
  pod: string;
  /** Node that it runs on. */
  node?: string;
  /** Primary: people and mail are sent to it. InSync: it has everything but the last moments. Behind: it is catching up. Filling: its volume is new, and is being filled. Away: its pod does not run. NoNode: there is no node for it. Refused: its volume is not the one that held the mail, and there is no copy to fill it from. */
  state: 'Primary' | 'InSync' | 'Behind' | 'Filling' | 'Away' | 'NoNode' | 'Refused';
  /** Whether its volume has held all mail of the shard: only then it may become the primary. */
  seeded: boolean;
  /** With Behind and Filling: how far it is behind, or has come. In coarse steps. */
  lag?: string;
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
  /** Name of the MailSystem that serves the domain. Default: the only MailSystem in its namespace. Once set it can't be changed. */
  system?: string;
  /** Namespace of the MailSystem. If it is another one than this object's, that MailSystem must name ours in spec.tenants.namespaces, and a TXT record must show that the domain is yours (see status.records). Default: this object's. Can't be changed. */
  systemNamespace?: string;
  /** How outgoing mail of the domain is signed. Mail that can not be signed waits: none leaves unsigned. */
  dkim?: MailDomainDkim;
  /** Filtering of mail for the domain. What is not set is as in the MailSystem's filter. */
  filter?: MailDomainFilter;
  /** Limits of outgoing mail. */
  sending?: MailDomainSending;
  /** Other namespaces whose ForwardRules may forward to addresses of this domain; * for all. Default: none. This namespace always may. */
  acceptForwardsFrom?: string[];
}

/** How outgoing mail of the domain is signed. Mail that can not be signed waits: none leaves unsigned. */
export interface MailDomainDkim {
  /** Name under which the public key is in the DNS: SELECTOR._domainkey.DOMAIN. Default: chosen by the operator, see status.records. */
  selector?: string;
  /** Kind of key. Every receiver can verify rsa-2048; some can not verify ed25519 yet. Default: rsa-2048. */
  algorithm?: 'rsa-2048' | 'ed25519';
}

/** Filtering of mail for the domain. What is not set is as in the MailSystem's filter. */
export interface MailDomainFilter {
  /** Spam score from which a message is refused at the mx. Default: the MailSystem's. */
  rejectAbove?: number;
  /** Spam score from which a message that is not refused goes to the folder Quarantine instead of Junk. Default: none does. */
  quarantineAbove?: number;
  /** Spam score from which a message is marked with X-Spam and goes to the Junk folder. Default: the MailSystem's. */
  tagAbove?: number;
  /** Spam score from which a first delivery is put off for some minutes; 0: never. Default: the MailSystem's. */
  greylistAbove?: number;
  /** What SPF says of mail from servers that its domain does not list (-all). Enforce: such mail is refused. Score: it raises the spam score. Default: Score. */
  spf?: 'Enforce' | 'Score';
  /** What is done about mail whose DKIM signatures are all invalid. Enforce: such mail is refused. Score: it raises the spam score. Default: Score. */
  dkim?: 'Enforce' | 'Score';
  /** What is done about mail that fails DMARC where the From domain's policy is reject or quarantine. Enforce: such mail is refused. Score: it raises the spam score. Default: Score. */
  dmarc?: 'Enforce' | 'Score';
  /** Senders (From) whose mail is not filtered for spam, if SPF or DKIM proves that it is theirs. Default: none. */
  allow?: string[];
  /** Senders (envelope or From) whose mail is refused. Default: none. */
  deny?: string[];
}

/** Limits of outgoing mail. */
export interface MailDomainSending {
  /** Most recipients that all people of the domain may write to in an hour. Default: the MailSystem's. */
  hour?: number;
}

/** The domain as it is. Written by the operator. */
export interface MailDomainStatus {
  /** metadata.generation that this status was computed from. */
  observedGeneration?: number;
  /** The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works. */
  conditions?: MailDomainStatusCondition[];
  /** Proof that the domain is ours, for a MailSystem in another namespace. It is remembered. */
  ownership?: MailDomainStatusOwnership;
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

/** Proof that the domain is ours, for a MailSystem in another namespace. It is remembered. */
export interface MailDomainStatusOwnership {
  /** Value of the TXT record that was seen. */
  challenge: string;
  /** Since when the record is no longer seen (RFC 3339). The domain goes on being served. */
  missingSince?: string;
  /** When the record was first seen (RFC 3339). */
  verifiedAt: string;
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
  /** Secret in the same namespace that holds the password, in plain text or hashed: `{SCHEME}…` as from `doveadm pw`, or a bare hash as from `htpasswd -B` or `mkpasswd` ($2y$…, $6$…, $argon2id$…). A change takes effect within seconds. Without it the LDAP server of the MailSystem is asked, if it has one; otherwise nobody can log in until a password is set in the system's own directory; mail arrives all the same. */
  passwordSecretRef?: MailboxPasswordSecretRef;
  /** Further passwords, each for one program or device, so that one can be revoked alone. Default: none. */
  appPasswords?: MailboxAppPassword[];
  /** What the mailbox may be used for; a change cuts open sessions within seconds. Active: everything. ReceiveOnly: mail arrives and can be read, not sent. SendBlocked: the same, as a sanction: senders are told why. LoginOff: mail arrives, nobody can log in. Suspended: nobody can log in or send as it; mail is taken or refused by suspended.mail. Default: Active. */
  state?: 'Active' | 'ReceiveOnly' | 'SendBlocked' | 'LoginOff' | 'Suspended';
  /** Time at which state ends and the mailbox is Active again. Default: state stays until it is changed. */
  stateUntil?: string;
  /** What Suspended means. */
  suspended?: MailboxSuspended;
  /** People who use this mailbox too, each with a Mailbox of their own: a shared mailbox. Default: none. */
  members?: MailboxMember[];
  /** Sieve script that runs before the one that the person keeps by ManageSieve. One that does not compile changes nothing: the last good one stays in effect, and the condition SieveReady quotes the compiler. */
  sieve?: string;
  /** Answer to messages while the person is away. Not sent to lists, other automatic answers, or suspected spam. Default: none. */
  vacation?: MailboxVacation;
  /** Folders that are cleared of old messages. Default: none. */
  retention?: MailboxRetention[];
  /** Senders that must have proved who they are. Default: everybody may write, as the domain allows. */
  require?: MailboxRequire;
  /** How much it may send, instead of what limits.sending of the MailSystem says. */
  sending?: MailboxSending;
  /** What becomes of the mail when this object is deleted. Retain: it stays on the volume, and a new Mailbox with the UUID in adopt has it again. Delete: it is removed after a time of grace. Default: Retain. */
  deletionPolicy?: 'Retain' | 'Delete';
  /** UUID of a mailbox whose data was retained (status.uuid of the deleted Mailbox): this one takes over its mail. Can be given only at creation. Default: a new, empty mailbox. */
  adopt?: string;
}

/** Secret in the same namespace that holds the password, in plain text or hashed: `{SCHEME}…` as from `doveadm pw`, or a bare hash as from `htpasswd -B` or `mkpasswd` ($2y$…, $6$…, $argon2id$…). A change takes effect within seconds. Without it the LDAP server of the MailSystem is asked, if it has one; otherwise nobody can log in until a password is set in the system's own directory; mail arrives all the same. */
export interface MailboxPasswordSecretRef {
  /** Name of the Secret. */
  name: string;
  /** Key in the Secret whose value is the password, in plain text or as a hash. Default: password. */
  key?: string;
}

/** A further password, for one program or device. */
export interface MailboxAppPassword {
  /** Name of the app password, as it is called in logs. */
  name: string;
  /** Secret in the same namespace that holds the app password. To revoke it, remove the entry. */
  secretRef: MailboxAppPasswordSecretRef;
  /** What it can be used for. Default: everything that the password can be used for. */
  protocols?: ('imap' | 'submission' | 'sieve')[];
}

/** Secret in the same namespace that holds the app password. To revoke it, remove the entry. */
export interface MailboxAppPasswordSecretRef {
  /** Name of the Secret. */
  name: string;
  /** Key in the Secret whose value is the app password, in plain text or as a hash. Default: password. */
  key?: string;
}

/** What Suspended means. */
export interface MailboxSuspended {
  /** What becomes of mail that arrives while state is Suspended. Default: Accept. */
  mail?: 'Accept' | 'Refuse';
}

/** A member of a shared mailbox. */
export interface MailboxMember {
  /** Name of the Mailbox, in the same namespace, of the person who gets access. */
  mailbox: string;
  /** ReadWrite: read, flag, file, delete and add mail. ReadOnly: read only, and what one has seen is not seen for others. Default: ReadWrite. */
  rights?: 'ReadWrite' | 'ReadOnly';
  /** Whether the member may send with the addresses of this mailbox. Default: false. */
  sendAs?: boolean;
}

/** Answer to messages while the person is away. Not sent to lists, other automatic answers, or suspected spam. Default: none. */
export interface MailboxVacation {
  /** Subject of the answer. Default: "Auto: " and the subject of the message that is answered. */
  subject?: string;
  /** Text of the answer. */
  message: string;
  /** First day on which messages are answered (UTC). Default: at once. */
  from?: string;
  /** Last day on which messages are answered (UTC). Default: until it is removed. */
  until?: string;
  /** A sender gets one answer in so many days. Default: 7. */
  everyDays?: number;
}

/** How long messages stay in a folder. */
export interface MailboxRetention {
  /** Name of the folder, as clients show it. Folders below it count too. */
  folder: string;
  /** Days after which a message that was put there is removed. */
  days: number;
}

/** Senders that must have proved who they are. Default: everybody may write, as the domain allows. */
export interface MailboxRequire {
  /** Only mail whose From is in one of these domains or below, and which carries a valid DKIM signature of that domain (aligned as for DMARC), is taken as it is. */
  dkimAlignedFrom: string[];
  /** What becomes of other mail. Reject: it is refused at the mx, so that the sender is told. Tag: it arrives, marked with X-Posthorn-Unauthenticated: yes and as spam. Default: Reject. */
  otherwise?: 'Reject' | 'Tag';
}

/** How much it may send, instead of what limits.sending of the MailSystem says. */
export interface MailboxSending {
  /** Recipients in an hour. Default: limits.sending.userHour. */
  hour?: number;
  /** Recipients in 24 hours. Default: limits.sending.userDay. */
  day?: number;
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
  /** State in effect: spec.state, or Active when spec.stateUntil has passed. */
  state?: 'Active' | 'ReceiveOnly' | 'SendBlocked' | 'LoginOff' | 'Suspended';
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

/** A ForwardRule hands the mail of an address, or of all addresses of a domain that nobody has, to other addresses, webhooks or commands. */
export interface ForwardRule {
  apiVersion: 'posthorn.dev/v1alpha1';
  kind: 'ForwardRule';
  metadata?: Metadata;
  spec: ForwardRuleSpec;
  status?: ForwardRuleStatus;
}

/** The rule as it should be. */
export interface ForwardRuleSpec {
  /** Address whose mail is forwarded, with any +detail; or *@DOMAIN for all addresses of a domain that nobody else has. Its domain must be a MailDomain in this namespace. When several objects claim an address, the one created first has it. */
  address: string;
  /** Addresses that get the mail, here or anywhere, at most 64. Default: none. */
  to?: string[];
  /** Programs that get the mail by HTTP, at most 8. Each must take it: a delivery is tried again until all have. Default: none. */
  webhooks?: ForwardRuleWebhook[];
  /** Programs that are run for each message, at most 8. Default: none. */
  commands?: ForwardRuleCommand[];
  /** Mailbox that gets a copy. If the rule's address is one of this mailbox's own, the rule forwards the mail of the mailbox. Default: no copy is kept. */
  keepCopy?: ForwardRuleKeepCopy;
  /** Mailbox that may send as this address through submission, as for "send as" in Gmail. Default: none. */
  sendAs?: ForwardRuleSendAs;
  /** Senders that must have proved who they are. Default: everybody may write, as the domain allows. */
  require?: ForwardRuleRequire;
}

/** A program that is reached by HTTP. */
export interface ForwardRuleWebhook {
  /** Where the message is sent, as the body of a POST. https, and not inside the cluster, unless spec.webhooks.allowHosts of the MailSystem names host and port, and the rule is in its namespace. */
  url: string;
  /** Secret in the same namespace by which the program knows us. Default: requests are not signed. */
  secretRef?: ForwardRuleWebhookSecretRef;
  /** How long an answer is waited for. After that the delivery is put off. Default: 30. */
  timeoutSeconds?: number;
}

/** Secret in the same namespace by which the program knows us. Default: requests are not signed. */
export interface ForwardRuleWebhookSecretRef {
  /** Name of the Secret. */
  name: string;
  /** Key in the Secret whose value requests are signed with: X-Posthorn-Signature: sha256=HMAC. If the Secret has a key ca.crt too, the server's certificate is checked against that. Default: key. */
  key?: string;
}

/** A program that runs as a Job, with the message on standard input. Only in the namespace of the MailSystem. */
export interface ForwardRuleCommand {
  /** Image that the command runs in. */
  image: string;
  /** The program and its first arguments. The image's entry point is not used. */
  command: string[];
  /** Further arguments. Default: none. */
  args?: string[];
  /** Secret in the same namespace whose keys are the environment variables of the command. Default: none. */
  secretRef?: ForwardRuleCommandSecretRef;
  /** How long the command may run. After that it is ended and the delivery is put off. Default: 300. */
  timeoutSeconds?: number;
}

/** Secret in the same namespace whose keys are the environment variables of the command. Default: none. */
export interface ForwardRuleCommandSecretRef {
  /** Name of the Secret. */
  name: string;
}

/** Mailbox that gets a copy. If the rule's address is one of this mailbox's own, the rule forwards the mail of the mailbox. Default: no copy is kept. */
export interface ForwardRuleKeepCopy {
  /** Name of a Mailbox in the same namespace. */
  mailbox: string;
}

/** Mailbox that may send as this address through submission, as for "send as" in Gmail. Default: none. */
export interface ForwardRuleSendAs {
  /** Name of a Mailbox in the same namespace. */
  mailbox: string;
}

/** Senders that must have proved who they are. Default: everybody may write, as the domain allows. */
export interface ForwardRuleRequire {
  /** Only mail whose From is in one of these domains or below, and which carries a valid DKIM signature of that domain (aligned as for DMARC), is taken as it is. */
  dkimAlignedFrom: string[];
  /** What becomes of other mail. Reject: it is refused at the mx, so that the sender is told. Tag: it arrives, marked with X-Posthorn-Unauthenticated: yes and as spam. Default: Reject. */
  otherwise?: 'Reject' | 'Tag';
}

/** The rule as it is. Written by the operator. */
export interface ForwardRuleStatus {
  /** metadata.generation that this status was computed from. */
  observedGeneration?: number;
  /** The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works. */
  conditions?: ForwardRuleStatusCondition[];
  /** The address in canonical form: lower case, domain in A-labels. */
  address?: string;
  /** How many targets are in effect, without a kept copy. */
  targets?: number;
  /** The state in one line, for kubectl get. */
  detail?: string;
}

/** One aspect of the state. */
export interface ForwardRuleStatusCondition {
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

/** A MailboxMove moves mailboxes to another shard while they are used. Deleting it while it runs leaves those that have not moved where they were. */
export interface MailboxMove {
  apiVersion: 'posthorn.dev/v1alpha1';
  kind: 'MailboxMove';
  metadata?: Metadata;
  spec: MailboxMoveSpec;
  status?: MailboxMoveStatus;
}

/** What moves, and where to. */
export interface MailboxMoveSpec {
  /** MailSystem whose mailboxes move, in this namespace. Default: the only one there is. */
  system?: string;
  /** Mailboxes to move: the name of one in this namespace, or NAMESPACE/NAME for that of a tenant. Either this or from. */
  mailboxes?: string[];
  /** Shard to be emptied: all its mailboxes move, and new ones are placed elsewhere as long as this object exists. Either this or mailboxes. */
  from?: string;
  /** Shard that they move to. */
  to: string;
  /** How many move at a time. The only field that can be changed. Default: 2. */
  concurrency?: number;
}

/** How far it is. Written by the operator. */
export interface MailboxMoveStatus {
  /** metadata.generation that this status was computed from. */
  observedGeneration?: number;
  /** The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works. */
  conditions?: MailboxMoveStatusCondition[];
  /** Of one mailbox: Pending, PreSync (it is copied while it is used), Draining (sessions are ended, mail waits), Switching (the last changes follow, both copies are compared), Verifying (it is used at its new place, and the old one is looked at for late changes), Done or RolledBack (it is where it was). Of several: Pending, Moving, Done or RolledBack (none has moved). */
  phase?: 'Pending' | 'PreSync' | 'Draining' | 'Switching' | 'Verifying' | 'Moving' | 'Done' | 'RolledBack';
  /** Mailboxes that are to move. */
  total?: number;
  /** Mailboxes that have moved. */
  moved?: number;
  /** Mailboxes that move now. */
  running?: number;
  /** Mailboxes that did not move and are where they were. */
  failed?: number;
  /** The first 20 of these. */
  failures?: MailboxMoveStatusFailure[];
  /** The state in one line, for kubectl get. */
  detail?: string;
}

/** One aspect of the state. */
export interface MailboxMoveStatusCondition {
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

/** A mailbox that did not move. */
export interface MailboxMoveStatusFailure {
  /** Name of the Mailbox, or NAMESPACE/NAME. */
  mailbox: string;
  /** Why it did not move. It is where it was. */
  message: string;
}

import type { Mailbox } from '../../crds/mailbox.js';
import type { Directory } from '../directory/directory.js';
import type { ShardViews } from '../mailsystem/shards/views.js';
import type { Client } from '../runtime/client.js';
import type { EventRecorder } from '../runtime/events.js';
import type { Informer } from '../runtime/informer.js';
import type { Log } from '../runtime/log.js';
import type { Queue } from '../runtime/queue.js';
import type { Systems } from '../systems.js';
import type { HostingDomain } from './desired.js';
import type { KnownPassword, PasswordResolver } from './password.js';
import type { ReportReader } from './reports.js';

/** What the directories are known to have, by uuid. */
export type Known = Map<string, KnownMailbox>;

export interface KnownMailbox extends KnownPassword {
  /** `namespace/name` of the MailSystem in whose directory it is. */
  system: string;
}

export interface MailboxDependencies {
  client: Client;
  mailboxes: Informer<Mailbox>;
  /** The MailDomain that hosts a domain for objects of a namespace. */
  hosting: (namespace: string, domain: string) => HostingDomain | undefined;
  systems: Systems;
  /** How the shards are. */
  shards: ShardViews;
  /** Shards of a MailSystem that are being emptied. */
  emptied: (systemKey: string) => ReadonlySet<string>;
  /** Whether that MailSystem is being deleted or is gone. */
  isLeaving: (systemKey: string) => boolean;
  passwords: PasswordResolver;
  known: Known;
  /** Directories whose contents have been compared with the Mailboxes: until then nothing is written to them. */
  learned: WeakMap<Directory, Promise<void>>;
  /** Namespaces of the objects that a MailSystem serves: its own, and its tenants'. */
  namespacesOf: (systemKey: string) => ReadonlySet<string>;
  /** Whether the caches show this namespace: what is not in them is gone only then. */
  watches: (namespace: string) => boolean;
  /** What stores and gatekeepers say of mailboxes. */
  reports: ReportReader;
  /** A script has been declared whose result is waited for. */
  awaitResults: (systemKey: string) => void;
  /** Whether there is a MailDomain with this uid. */
  domainExists: (uid: string) => boolean;
  /** Objects that are gone and whose mailboxes are still live, by key. */
  gone: Map<string, GoneMailbox[]>;
  queue: Queue;
  events: EventRecorder;
  log: Log;
  now: () => Date;
  /** When this controller was made. */
  startedAt: Date;
}

/** A deleted Mailbox object. */
export interface GoneMailbox {
  uuid: string;
  objectUid: string;
  /** Its canonical addresses, for others that wait for them. */
  addresses: string[];
}

/** Every Mailbox with an address in this domain of this namespace is looked at again. */
export function enqueueDomain(
  deps: Pick<MailboxDependencies, 'mailboxes' | 'queue'>,
  namespace: string,
  domain: string,
): void {
  enqueueIndex(deps, 'domain', `${namespace}/${domain}`);
}

/** Every Mailbox that claims this address is looked at again. */
export function enqueueClaimants(deps: Pick<MailboxDependencies, 'mailboxes' | 'queue'>, address: string): void {
  enqueueIndex(deps, 'address', address);
}

/** Every Mailbox that the named index files under this value is looked at again. */
export function enqueueIndex(
  { mailboxes, queue }: Pick<MailboxDependencies, 'mailboxes' | 'queue'>,
  index: string,
  value: string,
): void {
  for (const key of mailboxes.cache.keysByIndex(index, value)) queue.add(key);
}

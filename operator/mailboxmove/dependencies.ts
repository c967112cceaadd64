import type { Mailbox } from '../../crds/mailbox.js';
import type { MailboxMove } from '../../crds/mailboxmove.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import type { HostingDomain } from '../mailbox/desired.js';
import type { Client } from '../runtime/client.js';
import type { EventRecorder } from '../runtime/events.js';
import type { Informer } from '../runtime/informer.js';
import type { Log } from '../runtime/log.js';
import type { Queue } from '../runtime/queue.js';
import type { Systems } from '../systems.js';

export interface MailboxMoveDependencies {
  client: Client;
  moves: Informer<MailboxMove>;
  mailboxes: Informer<Mailbox>;
  mailSystems: Informer<MailSystem>;
  /** The MailDomain that hosts a domain for objects of a namespace. */
  hosting: (namespace: string, domain: string) => HostingDomain | undefined;
  systems: Systems;
  /** Whether that MailSystem is being deleted or is gone. */
  isLeaving: (systemKey: string) => boolean;
  queue: Queue;
  /** Mailboxes whose shard has changed are looked at again. */
  mailboxQueue: Queue;
  events: EventRecorder;
  log: Log;
  now: () => Date;
}

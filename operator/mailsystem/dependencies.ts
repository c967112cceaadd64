import type { MailSystem } from '../../crds/mailsystem.js';
import type { OperatorConfig } from '../config.js';
import type { CacheReader } from '../runtime/cache.js';
import type { Client } from '../runtime/client.js';
import type { EventRecorder } from '../runtime/events.js';
import type { Informer } from '../runtime/informer.js';
import type { Log } from '../runtime/log.js';
import type { KeyStore } from '../signing/ensure.js';
import type { Systems } from '../systems.js';
import type { Connect } from './connect.js';
import type { Looks } from './looks.js';
import type { PodObject, ServiceObject, WorkloadObject } from './observe.js';
import type { ShardViews } from './shards/views.js';

/** What the reconciliation of MailSystems works with. */
export interface MailSystemDependencies {
  client: Client;
  config: OperatorConfig;
  mailSystems: Informer<MailSystem>;
  /** Children, each with the index `system`: `namespace/name` of their MailSystem. */
  statefulSets: CacheReader<WorkloadObject>;
  deployments: CacheReader<WorkloadObject>;
  pods: CacheReader<PodObject>;
  services: CacheReader<ServiceObject>;
  systems: Systems;
  connect: Connect;
  looks: Looks;
  /** What is known of the shards. */
  shards: ShardViews;
  /** How many MailDomains and Mailboxes live in it. */
  usedBy: (systemKey: string) => { domains: number; mailboxes: number };
  /** Where DKIM keys are kept: the hostname's signs the mx's own bounces. */
  keys: KeyStore;
  /** Fills the signing cache of an attached system. */
  syncSigning: (systemKey: string) => Promise<void>;
  events: EventRecorder;
  log: Log;
  now: () => Date;
}

import type { MailSystem } from '../../../crds/mailsystem.js';
import type { CacheReader } from '../../runtime/cache.js';
import type { Client } from '../../runtime/client.js';
import type { EventRecorder } from '../../runtime/events.js';
import type { Informer } from '../../runtime/informer.js';
import type { Log } from '../../runtime/log.js';
import type { Systems } from '../../systems.js';
import type { PodObject, WorkloadObject } from '../observe.js';
import type { Memory } from './memory.js';
import type { NodeObject } from './observe.js';
import type { ShardViews } from './views.js';

export interface ShardsDependencies {
  client: Client;
  mailSystems: Informer<MailSystem>;
  systems: Systems;
  statefulSets: CacheReader<WorkloadObject>;
  pods: CacheReader<PodObject>;
  /** Empty without the right to see them. */
  nodes: CacheReader<NodeObject>;
  views: ShardViews;
  /** By MailSystem. */
  memories: Map<string, Memory>;
  events: EventRecorder;
  log: Log;
  now: () => Date;
}

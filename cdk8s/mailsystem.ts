import { App, Chart } from 'cdk8s';
import type { KubernetesObject, MailSystemContext } from './context.js';
import { Courier } from './courier.js';
import { Egress } from './egress.js';
import { Forward } from './forward.js';
import { Mx } from './mx.js';
import { addDefaultDeny } from './network.js';
import { Peers } from './peers.js';
import { Pooler } from './pooler.js';
import { Postgres } from './postgres.js';
import { ImapProxy } from './proxy.js';
import { Redis } from './redis.js';
import { StorePolicy, StoreShard } from './store.js';
import { Submission } from './submission.js';
import { applyOrder, resolveSystem } from './system.js';

/**
 * Every Kubernetes child of one MailSystem except Secrets, in the order in which they are applied: what pods
 * mount and select comes before the pods. The same context gives the same objects, byte for byte; nothing is
 * read but the templates (once per process, unless the context brings them).
 * @throws Error naming the template and the placeholder when a configuration can't be rendered.
 */
export function mailSystemObjects(context: MailSystemContext): KubernetesObject[] {
  const system = resolveSystem(context);
  const chart = new Chart(new App(), context.name, { namespace: context.namespace, disableResourceNameHashes: true });
  new Peers(chart, 'peers', system);
  if (system.spec.database.external) new Pooler(chart, 'pooler', system);
  else new Postgres(chart, 'postgres', system);
  new Redis(chart, 'redis', system);
  new StorePolicy(chart, 'store-policy', system);
  for (const shard of system.spec.store.shards) new StoreShard(chart, `store-${shard.name}`, system, shard);
  new Mx(chart, 'mx', system);
  new Egress(chart, 'egress', system);
  new Forward(chart, 'forward', system);
  new Courier(chart, 'courier', system);
  new Submission(chart, 'submission', system);
  new ImapProxy(chart, 'proxy', system);
  addDefaultDeny(chart, system);
  return (chart.toJson() as KubernetesObject[]).sort(applyOrder);
}

import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { namespace } from './environment.js';
import { kube, kubectlOk } from './kube.js';

const PSQL = ['/usr/lib/postgresql/17/bin/psql', '-h', '/run/postgresql', '-d', 'posthorn', '-U', 'postgres', '-Atc'];

/** The pod of the directory's leader. */
export async function directoryLeader(inNamespace = namespace): Promise<string> {
  const labelSelector = 'app.kubernetes.io/component=postgres,role=primary';
  const { items } = await kube().list<KubeObject>(builtin.pod, { namespace: inNamespace, labelSelector });
  const [leader] = items;
  if (leader === undefined) throw new Error(`the database in ${inNamespace} has no leader`);
  return leader.metadata.name;
}

/** Asks the directory's leader as its superuser. */
export async function sql(query: string, inNamespace = namespace): Promise<string> {
  const leader = await directoryLeader(inNamespace);
  const out = await kubectlOk(['exec', '-n', inNamespace, leader, '-c', 'postgres', '--', ...PSQL, query]);
  return out.trim();
}

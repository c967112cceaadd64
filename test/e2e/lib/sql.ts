import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { namespace } from './environment.js';
import { kube, kubectlOk } from './kube.js';

const PSQL = ['/usr/lib/postgresql/17/bin/psql', '-h', '/run/postgresql', '-d', 'posthorn', '-U', 'postgres', '-Atc'];

/** Asks the directory's leader as its superuser. */
export async function sql(query: string): Promise<string> {
  const labelSelector = 'app.kubernetes.io/component=postgres,role=primary';
  const { items } = await kube().list<KubeObject>(builtin.pod, { namespace, labelSelector });
  const [leader] = items;
  if (leader === undefined) throw new Error('the database has no leader');
  const out = await kubectlOk(['exec', '-n', namespace, leader.metadata.name, '-c', 'postgres', '--', ...PSQL, query]);
  return out.trim();
}

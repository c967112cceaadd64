import type { Mailbox } from '../../crds/mailbox.js';
import type { Client } from '../runtime/client.js';
import { type KubeObject, refOf } from '../runtime/object.js';
import { mailboxType } from '../types.js';

/** An entry of `metadata.managedFields`. */
interface ManagedFields {
  manager?: string;
  subresource?: string;
  time?: string;
  fieldsV1?: { 'f:spec'?: Record<string, unknown> };
}

/**
 * Who wrote the state, as the API server keeps it: the name of a field manager (`kubectl-edit`, `argocd-controller`). The
 * audit log of the cluster knows the person. Undefined when it can't be found out.
 */
export async function stateAuthor(client: Client, object: Mailbox): Promise<string | undefined> {
  // The caches keep no managed fields, and a change of state is rare.
  const live = await client.find<KubeObject>(mailboxType, refOf(object)).catch(() => undefined);
  return authorOf((live?.metadata.managedFields ?? []) as ManagedFields[]);
}

/** Pure. Who owns spec.state; a state that was removed is owned by nobody, and then it was the last one who wrote. */
export function authorOf(entries: readonly ManagedFields[]): string | undefined {
  const writes = entries.filter(({ subresource }) => subresource === undefined);
  const owners = writes.filter(({ fieldsV1 }) => fieldsV1?.['f:spec']?.['f:state'] !== undefined);
  return newest(owners.length > 0 ? owners : writes)?.manager;
}

function newest(entries: readonly ManagedFields[]): ManagedFields | undefined {
  return [...entries].sort((a, b) => ((a.time ?? '') < (b.time ?? '') ? 1 : -1))[0];
}

import type { KubernetesObject, MailSystemContext } from './context.js';

/**
 * Every Kubernetes child of one MailSystem except Secrets, in the order in which they are applied.
 * Pure: the same context gives the same objects, byte for byte.
 */
export function mailSystemObjects(context: MailSystemContext): KubernetesObject[] {
  throw new Error(`not built yet: children of ${context.namespace}/${context.name}`);
}

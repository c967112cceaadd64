import type { Client } from '../runtime/client.js';
import { builtin } from '../runtime/object.js';

/** Whose Secrets they are, and where. */
export interface SecretOwner {
  readonly client: Client;
  readonly namespace: string;
  readonly system: string;
}

/**
 * Makes a Secret of a MailSystem, without an owner reference: what is lost with it is too much for an accident.
 * @param data base64
 */
export async function createSecret(
  { client, namespace, system }: SecretOwner,
  name: string,
  type: string,
  data: Record<string, string>,
): Promise<void> {
  const labels = {
    'app.kubernetes.io/name': 'posthorn',
    'app.kubernetes.io/instance': system,
    'app.kubernetes.io/managed-by': 'posthorn',
  };
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace, labels }, type, data };
  await client.create(builtin.secret, secret, { fieldManager: 'posthorn-mailsystem' });
}

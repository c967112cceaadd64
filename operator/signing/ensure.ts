import { generateDkimKey } from '../pki/dkim.js';
import type { Client } from '../runtime/client.js';
import { isAlreadyExists } from '../runtime/errors.js';
import type { Informer } from '../runtime/informer.js';
import { builtin } from '../runtime/object.js';
import { type DkimKey, dkimSecret, dkimSecretName, readDkimSecret, type Secret } from './secret.js';

/** What is needed to make and find keys. */
export interface KeyStore {
  client: Client;
  secrets: Informer<Secret>;
}

/**
 * The key of a domain and selector: read from its Secret, or made once. A Secret that is there already (restored, or
 * brought along from another mail system) is never overwritten.
 *
 * @throws Error when the Secret is there but not complete
 */
export async function ensureDkimKey(
  { client, secrets }: KeyStore,
  namespace: string,
  wanted: Pick<DkimKey, 'domain' | 'selector' | 'algorithm'>,
): Promise<DkimKey> {
  const ref = { namespace, name: dkimSecretName(wanted.domain, wanted.selector) };
  const cached = secrets.cache.get(`${ref.namespace}/${ref.name}`);
  if (cached !== undefined) return readDkimSecret(cached);
  const present = await client.find<Secret>(builtin.secret, ref);
  if (present !== undefined) return readDkimSecret(present);
  const { privateKey, record } = await generateDkimKey(wanted.algorithm);
  try {
    const created = await client.create<Secret>(
      builtin.secret,
      dkimSecret(namespace, { ...wanted, privateKey, record }),
      {
        fieldManager: 'posthorn-maildomain',
      },
    );
    secrets.observe(created);
    return readDkimSecret(created);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    return readDkimSecret(await client.get<Secret>(builtin.secret, ref));
  }
}

import type { KubeObject } from '../runtime/object.js';
import type { SigningKey } from './cache.js';

/** Label of every Secret with a DKIM key: they are found by it, and never pruned. */
export const dkimLabel = 'posthorn.dev/dkim';

/** A Secret as the API has it. */
export interface Secret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

export interface DkimKey extends SigningKey {
  privateKey: string;
  algorithm: 'rsa-2048' | 'ed25519';
  /** The TXT record's value, unquoted. */
  record: string;
}

/** Longest name of a Kubernetes object. */
const NAME_MAX = 253;

/** Name of the Secret with the key of a domain and selector. */
export function dkimSecretName(domain: string, selector: string): string {
  const name = `dkim-${selector}.${domain}`;
  if (name.length > NAME_MAX)
    throw new Error(`${domain}: too long for the name of its DKIM Secret; choose a shorter dkim.selector`);
  return name;
}

/** The Secret that keeps a key. It has no owner: it outlives its MailDomain, since the DNS still names the key. */
export function dkimSecret(namespace: string, key: DkimKey): Secret & { stringData: Record<string, string> } {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: dkimSecretName(key.domain, key.selector),
      namespace,
      labels: { [dkimLabel]: 'true', 'app.kubernetes.io/managed-by': 'posthorn' },
      annotations: { 'posthorn.dev/domain': key.domain },
    },
    type: 'Opaque',
    stringData: {
      domain: key.domain,
      selector: key.selector,
      algorithm: key.algorithm,
      'private.pem': key.privateKey,
      'record.txt': key.record,
    },
  };
}

/** Reads the key back. Throws an error that names the missing field. */
export function readDkimSecret(secret: Secret): DkimKey {
  const field = (name: string): string => {
    const value = secret.data?.[name];
    if (value === undefined || value === '') {
      throw new Error(
        `Secret ${secret.metadata.namespace}/${secret.metadata.name} has no ${name}: restore it, or delete the Secret to get a new key (and enter it in the DNS)`,
      );
    }
    return Buffer.from(value, 'base64').toString('utf8');
  };
  const algorithm = field('algorithm');
  if (algorithm !== 'rsa-2048' && algorithm !== 'ed25519')
    throw new Error(`Secret ${secret.metadata.name}: unknown algorithm ${algorithm}`);
  return {
    domain: field('domain'),
    selector: field('selector'),
    algorithm,
    privateKey: field('private.pem'),
    record: field('record.txt'),
  };
}

/** Keys that outgoing mail is signed with (RFC 6376, RFC 8463). */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

export type DkimAlgorithm = 'rsa-2048' | 'ed25519';

/** A key and what the DNS has to say of it. */
export interface DkimKeyPair {
  /** PKCS 8 PEM. */
  readonly privateKey: string;
  /** Value of the TXT record at `SELECTOR._domainkey.DOMAIN`, in one piece and without quotes. */
  readonly record: string;
}

const generate = promisify(generateKeyPair);

/** A new key. RSA takes a fraction of a second, off the event loop. */
export async function generateDkimKey(algorithm: DkimAlgorithm): Promise<DkimKeyPair> {
  const { privateKey } =
    algorithm === 'ed25519' ? await generate('ed25519') : await generate('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { privateKey: pem, record: dkimRecord(pem) };
}

/**
 * The TXT record's value that belongs to a private key (PEM). RSA keys are published as SubjectPublicKeyInfo, as all
 * verifiers take it (RFC 6376 erratum 3017); Ed25519 keys as their bare 32 octets (RFC 8463, 4).
 *
 * @throws Error if the key cannot be read, or is of a kind that DKIM doesn't know
 */
export function dkimRecord(privateKey: string): string {
  const key = createPublicKey(createPrivateKey(privateKey));
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return `v=DKIM1; k=rsa; p=${key.export({ type: 'spki', format: 'der' }).toString('base64')}`;
    case 'ed25519':
      return `v=DKIM1; k=ed25519; p=${bareEd25519(key).toString('base64')}`;
    default:
      throw new Error(`a DKIM key is RSA or Ed25519, not ${key.asymmetricKeyType}`);
  }
}

/** The last 32 octets of a SubjectPublicKeyInfo (RFC 8410, 4). */
function bareEd25519(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' }).subarray(-32);
}

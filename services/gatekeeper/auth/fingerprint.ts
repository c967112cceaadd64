import { createHmac, hkdfSync, randomBytes } from 'node:crypto';

/** Tells the same password of the same login from another, and nothing else about it. */
export type Fingerprint = (login: string, password: string) => string;

/**
 * For counting wrong passwords in Redis: 48 bits, keyed by the pod's private key, so that all pods of a role agree and
 * whoever reads Redis learns nothing.
 */
export function wrongPasswordFingerprint(privateKey: string): Fingerprint {
  const key = Buffer.from(hkdfSync('sha256', privateKey, '', 'posthorn wrong passwords', 32));
  return (login, password) => hmac(key, login, password).toString('base64url').slice(0, 8);
}

/** For remembering correct passwords in this process: all bits, under a key that ends with it. */
export function cacheFingerprint(): Fingerprint {
  const key = randomBytes(32);
  return (login, password) => hmac(key, login, password).toString('base64url');
}

function hmac(key: Buffer, login: string, password: string): Buffer {
  return createHmac('sha256', key)
    .update(`${Buffer.byteLength(login)}:${login}${password}`)
    .digest();
}

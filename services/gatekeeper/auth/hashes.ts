/** Hashes that are compared in this process. Others are Dovecot's to compare. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { verify } from '@node-rs/argon2';

const ARGON2 = /^\{ARGON2ID?\}(\$.+)$/;
const SSHA512 = /^\{SSHA512\}([A-Za-z0-9+/]+={0,2})$/;
const SHA512_LENGTH = 64;

/** Whether `fits` can tell. */
export function isComparable(hash: string): boolean {
  return ARGON2.test(hash) || SSHA512.test(hash);
}

/** Whether a password has this hash; false for what can't be compared or is damaged. */
export async function fits(hash: string, password: string): Promise<boolean> {
  const argon2 = ARGON2.exec(hash)?.[1];
  if (argon2 !== undefined) return verify(argon2, password).catch(() => false);
  const octets = Buffer.from(SSHA512.exec(hash)?.[1] ?? '', 'base64');
  if (octets.length <= SHA512_LENGTH) return false;
  const digest = createHash('sha512').update(password).update(octets.subarray(SHA512_LENGTH)).digest();
  return timingSafeEqual(digest, octets.subarray(0, SHA512_LENGTH));
}

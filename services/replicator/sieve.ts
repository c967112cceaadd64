/** A person's own Sieve scripts: dsync doesn't copy them reliably (deletions come back), so they go one way, as they are here. */
import { createHash } from 'node:crypto';
import { readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * A digest of what `~/sieve` and the link to the active script look like (names, sizes, times, target), from the volume: it
 * costs two system calls for who has none. Binaries are left out: each side compiles its own.
 */
export async function sieveDigest(home: string): Promise<string> {
  const hash = createHash('sha256');
  hash.update(`active ${await orNothing(readlink(join(home, '.dovecot.sieve')))}\n`);
  const names = (await orNothing(readdir(join(home, 'sieve')))) || [];
  for (const name of [...names].sort()) {
    if (!name.endsWith('.sieve')) continue;
    const found = await orNothing(stat(join(home, 'sieve', name)));
    if (found) hash.update(`${JSON.stringify(name)} ${found.size} ${found.mtimeMs}\n`);
  }
  return hash.digest('hex').slice(0, 32);
}

async function orNothing<T>(work: Promise<T>): Promise<T | ''> {
  try {
    return await work;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EINVAL') return '';
    throw error;
  }
}

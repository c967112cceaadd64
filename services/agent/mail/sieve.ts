/** The Sieve scripts that a person wrote, as files: dsync brings removed ones back, so they are copied from the primary. */
import {
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';

export interface Script {
  readonly name: string;
  /** Ms since the epoch. */
  readonly mtime: number;
  readonly base64: string;
}

export interface Scripts {
  readonly files: readonly Script[];
  /** Name of the active one; empty when none is. */
  readonly active: string;
}

const ACTIVE = '.dovecot.sieve';
const NAME = /^[^./\0][^/\0]{0,250}\.sieve$/;

/** A mailbox's home. @throws Error for what is no UUID: it would be a path. */
export function homeOf(mailRoot: string, uuid: string): string {
  return join(mailRoot, 'mailboxes', folderOf(uuid));
}

/** `UU/UUID`. @throws Error for what is no UUID. */
export function folderOf(uuid: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) throw new Error(`${JSON.stringify(uuid)} is no UUID`);
  return join(uuid.slice(0, 2), uuid);
}

export async function readScripts(home: string): Promise<Scripts> {
  const names = (await readdir(join(home, 'sieve')).catch(ifThere([]))).filter((name) => NAME.test(name)).sort();
  const files = await Promise.all(
    names.map(async (name) => {
      const path = join(home, 'sieve', name);
      const [content, { mtimeMs }] = await Promise.all([readFile(path), stat(path)]);
      return { name, mtime: Math.round(mtimeMs), base64: content.toString('base64') };
    }),
  );
  const target = await readlink(join(home, ACTIVE)).catch(ifThere(''));
  return { files, active: target.replace(/^sieve\//, '') };
}

/** Makes a home's scripts these, and no others. What is equal is left alone, with what was compiled from it. */
export async function writeScripts(home: string, { files, active }: Scripts): Promise<void> {
  for (const { name } of files) if (!NAME.test(name)) throw new Error(`${JSON.stringify(name)} is no script's name`);
  const folder = join(home, 'sieve');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const before = await readScripts(home);
  const known = new Map(before.files.map((file) => [file.name, file.base64]));
  for (const file of files) if (known.get(file.name) !== file.base64) await writeScript(folder, file);
  const wanted = new Set(files.map(({ name }) => name));
  for (const name of known.keys()) if (!wanted.has(name)) await remove(join(folder, name));
  if (active !== before.active) await activate(home, active);
}

async function writeScript(folder: string, { name, mtime, base64 }: Script): Promise<void> {
  const path = join(folder, name);
  const temporary = join(folder, `.${name}.tmp`);
  await writeFile(temporary, Buffer.from(base64, 'base64'), { mode: 0o600 });
  await utimes(temporary, new Date(mtime), new Date(mtime));
  await rename(temporary, path);
  await rm(compiled(path), { force: true });
}

async function remove(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(compiled(path), { force: true });
}

const compiled = (path: string): string => path.replace(/\.sieve$/, '.svbin');

async function activate(home: string, name: string): Promise<void> {
  const link = join(home, ACTIVE);
  await rm(join(home, '.dovecot.svbin'), { force: true });
  if (name === '') {
    const found = await lstat(link).catch(ifThere(undefined));
    if (found) await rm(link);
    return;
  }
  if (!NAME.test(name)) throw new Error(`${JSON.stringify(name)} is no script's name`);
  const temporary = `${link}.tmp`;
  await rm(temporary, { force: true });
  await symlink(join('sieve', name), temporary);
  await rename(temporary, link);
}

function ifThere<T>(otherwise: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT' || error.code === 'EINVAL') return otherwise;
    throw error;
  };
}

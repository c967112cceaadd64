/**
 * What is known about a mailbox and a peer's volume: dsync's state, which is what both have in common, and which Sieve scripts
 * the peer has. One small file each, `ROOT/VOLUME/UU/UUID`; written after each sync, without fsync: one that is lost, or
 * older than the truth, makes a sync compare more, and no more than that.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export interface Known {
  /** In which both were found to be merged. In a later one they may differ in what dsync's state hides. */
  readonly epoch: number;
  /** dsync's; empty: none. */
  readonly state: string;
  /** Of the Sieve scripts at the peer; empty: not known. */
  readonly sieve: string;
}

export interface Memory {
  read(volume: string, uuid: string): Promise<Known | undefined>;
  write(volume: string, uuid: string, known: Known): Promise<void>;
  /** Of a volume whose content isn't what it was: nothing that is known of it holds. */
  forget(volume: string): Promise<void>;
  /** Volumes other than these are no peer's any more: what is known of them goes. Moves keep theirs (`move…`). */
  forgetOthers(volumes: readonly string[]): Promise<void>;
  /** The epoch in which all mailboxes were compared with this volume, and found or made equal; 0: none. */
  comparedIn(volume: string): Promise<number>;
  setCompared(volume: string, epoch: number): Promise<void>;
}

export function openMemory(root: string): Memory {
  const path = (volume: string, uuid: string): string => join(root, volume, uuid.slice(0, 2), uuid);
  const compared = (volume: string): string => join(root, volume, 'compared');
  return {
    read: async (volume, uuid) => parseKnown(await readIfThere(path(volume, uuid))),
    write: (volume, uuid, known) =>
      replace(path(volume, uuid), `${known.epoch} ${known.state || '-'} ${known.sieve || '-'}\n`),
    forget: (volume) => rm(join(root, volume), { recursive: true, force: true }),
    forgetOthers: async (volumes) => {
      for (const name of await readdir(root).catch(() => [])) {
        if (name.startsWith('move') || volumes.includes(name)) continue;
        await rm(join(root, name), { recursive: true, force: true });
      }
    },
    comparedIn: async (volume) => Number((await readIfThere(compared(volume))) ?? 0),
    setCompared: (volume, epoch) => replace(compared(volume), `${epoch}\n`),
  };
}

function parseKnown(text: string | undefined): Known | undefined {
  const match = /^(\d+) (\S+) (\S+)\n$/.exec(text ?? '');
  if (!match) return undefined;
  const [, epoch, state = '-', sieve = '-'] = match;
  return { epoch: Number(epoch), state: state === '-' ? '' : state, sieve: sieve === '-' ? '' : sieve };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function replace(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/**
 * The dirty log as a queue on disk. Dovecot's processes append to `log`; it is read as it grows and put aside when it is long,
 * or when all of it has been dealt with. What was put aside is read on for a while, for a process that had it open, and
 * removed only when its caller says that what it holds is kept elsewhere. So a kill at any moment repeats notices, and
 * loses none.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, truncateSync, watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { parseNotices, parseSieveEvents } from './notices.js';

export interface DirtyLogOptions {
  /** `/srv/mail/dirty`. */
  readonly folder: string;
  /** A longer log is put aside. Default 256 KiB. */
  readonly most?: number;
  /** A file put aside is read for so long. Default 5 s. */
  readonly graceMs?: number;
  /** Milliseconds of a monotonic clock. */
  readonly clock: () => number;
}

export interface Read {
  /** UUIDs of mailboxes. */
  readonly changed: readonly string[];
  /** Users whose Sieve scripts have changed. */
  readonly sieve: readonly string[];
  /** Files that are read to their end: give them to `remove` when all that was ever read is synced, or on disk elsewhere. */
  readonly done: readonly string[];
}

export interface DirtyLog {
  /** What has been appended since the last call; at first everything. */
  read(): Promise<Read>;
  /** Everything that was read has been synced: puts the log aside if there is something in it. */
  settle(): void;
  remove(files: readonly string[]): void;
  /** All notices away, for a member that isn't the primary: they are about changes that whoever is will look for anyway. */
  clear(): void;
  /** Calls back when something is appended; misses may happen, so look now and then, too. */
  onAppend(listener: () => void): () => void;
}

interface Aside {
  readonly path: string;
  readonly at: number;
}

const SIEVE_MOST = 64 * 1024;

export function openDirtyLog({ folder, most = 256 * 1024, graceMs = 5_000, clock }: DirtyLogOptions): DirtyLog {
  mkdirSync(folder, { recursive: true });
  const log = join(folder, 'log');
  const sieveLog = join(folder, 'sieve');
  const offsets = new Map<string, number>();
  let aside: Aside[] = leftovers(folder).map((path) => ({ path, at: clock() }));
  let number = Date.now();

  const putAside = (): void => {
    const path = `${log}.${++number}`;
    renameSync(log, path);
    offsets.set(path, offsets.get(log) ?? 0);
    offsets.delete(log);
    aside.push({ path, at: clock() });
  };
  const sieveChanges = async (): Promise<string[]> => {
    const text = await readFrom(sieveLog, offsets);
    // Dovecot keeps it open: it is emptied in place, when nothing was written for a while.
    const seen = offsets.get(sieveLog) ?? 0;
    if (text === '' && seen > SIEVE_MOST && sizeOf(sieveLog) === seen) {
      truncateSync(sieveLog, 0);
      offsets.set(sieveLog, 0);
    }
    return parseSieveEvents(text);
  };

  return {
    read: async () => {
      const texts: string[] = [];
      const done: string[] = [];
      for (const { path, at } of aside) {
        const over = clock() - at >= graceMs;
        texts.push(await readFrom(path, offsets));
        if (over) done.push(path);
      }
      texts.push(await readFrom(log, offsets));
      if ((offsets.get(log) ?? 0) > most) putAside();
      return { changed: parseNotices(texts.join('')), sieve: await sieveChanges(), done };
    },
    settle: () => {
      if ((offsets.get(log) ?? 0) > 0) putAside();
    },
    remove: (files) => {
      for (const path of files) {
        rmSync(path, { force: true });
        offsets.delete(path);
      }
      aside = aside.filter(({ path }) => !files.includes(path));
    },
    clear: () => {
      for (const path of [...leftovers(folder), log]) rmSync(path, { force: true });
      offsets.clear();
      offsets.set(sieveLog, sizeOf(sieveLog));
      aside = [];
    },
    onAppend: (listener) => {
      const watcher = watch(folder, (_event, name) => {
        if (name === 'log' || name === 'sieve') listener();
      });
      watcher.on('error', () => undefined);
      return () => watcher.close();
    },
  };
}

function leftovers(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => /^log\.\d+$/.test(name))
    .sort()
    .map((name) => join(folder, name));
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Whole lines from where the last reading ended. A file that has become shorter is read from its start. */
async function readFrom(path: string, offsets: Map<string, number>): Promise<string> {
  const size = sizeOf(path);
  const known = offsets.get(path) ?? 0;
  const from = size < known ? 0 : known;
  if (size === from) {
    offsets.set(path, from);
    return '';
  }
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    const length = buffer.subarray(0, bytesRead).lastIndexOf(0x0a) + 1;
    offsets.set(path, from + length);
    return buffer.toString('utf8', 0, length);
  } finally {
    await file.close();
  }
}

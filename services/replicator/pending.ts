/** The set of unsynced mailboxes on disk: lines `UUID - VOLUME…` (the second word is an address in the log). */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { isUuid } from './notices.js';

export interface Pending {
  readonly uuid: string;
  /** Peers' volumes that lack its changes. */
  readonly volumes: readonly string[];
}

export function formatPending(entries: readonly Pending[]): string {
  return entries.map(({ uuid, volumes }) => `${[uuid, '-', ...volumes].join(' ')}\n`).join('');
}

export function parsePending(text: string): Pending[] {
  const entries: Pending[] = [];
  for (const line of text.split('\n')) {
    const [uuid = '', , ...volumes] = line.split(' ');
    if (isUuid(uuid)) entries.push({ uuid, volumes });
  }
  return entries;
}

/** The whole set, in one step: a reader, or a crash, finds the old one or the new. */
export function writePending(path: string, entries: readonly Pending[]): void {
  mkdirSync(dirname(path), { recursive: true });
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    writeSync(file, formatPending(entries));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
}

export function readPending(path: string): Pending[] {
  try {
    return parsePending(readFileSync(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

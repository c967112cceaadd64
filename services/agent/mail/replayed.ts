/**
 * What was delivered here although another member may have it too: by a replay, or by the deposit of a new primary. When that other
 * member comes back, its copy is merged in; if the person has removed ours meanwhile, the other one must not come back for it.
 * A file per mailbox on the volume, `replayed/UU/UUID`: lines of ID, GUID and time.
 */
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { folderOf } from './sieve.js';

/** A delivery that may have a twin. */
export interface Twin {
  /** Delivery id. */
  readonly id: string;
  /** Of the message that it became here. */
  readonly guid: string;
  /** Ms since the epoch. */
  readonly at: number;
}

/** Longer than the longest outage that a volume may come back from (see mail_index_log2_max_age). */
const KEPT_MS = 60 * 24 * 3_600_000;

export interface Twins {
  note(mailbox: string, twin: Twin): Promise<void>;
  /** Those of the last 60 days. */
  of(mailbox: string): Promise<Twin[]>;
}

export function openTwins(mailRoot: string, clock: () => number = Date.now): Twins {
  const pathOf = (mailbox: string): string => join(mailRoot, 'replayed', folderOf(mailbox));
  return {
    note: async (mailbox, { id, guid, at }) => {
      const path = pathOf(mailbox);
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const file = await open(path, 'a', 0o600);
      try {
        // On a line of its own, even after one that a crash has cut.
        await file.write(`\n${id} ${guid} ${at}\n`);
        await file.datasync();
      } finally {
        await file.close();
      }
    },
    of: async (mailbox) => {
      const path = pathOf(mailbox);
      const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '';
        throw error;
      });
      const all = text.split('\n').flatMap(parse);
      const kept = all.filter(({ at }) => at > clock() - KEPT_MS);
      if (kept.length < all.length) await rewrite(path, kept);
      return kept;
    },
  };
}

/** A line that a crash has cut is none. */
function parse(line: string): Twin[] {
  const [, id = '', guid = '', at] = /^([0-9a-f]{64}) (\S+) (\d+)$/.exec(line) ?? [];
  return at === undefined ? [] : [{ id, guid, at: Number(at) }];
}

async function rewrite(path: string, twins: readonly Twin[]): Promise<void> {
  if (twins.length === 0) return rm(path, { force: true });
  const text = twins.map(({ id, guid, at }) => `${id} ${guid} ${at}\n`).join('');
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

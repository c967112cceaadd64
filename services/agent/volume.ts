/**
 * The volume knows who it is: `volume.json` at its root, made by its first agent. What another directory, shard or member says
 * about it counts less than what is written there.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { parseJson } from './json.js';

const recordSchema = z.object({
  shard: z.string(),
  member: z.number().int(),
  /** Of the volume; a new one for each volume that is found blank. */
  uuid: z.uuid(),
  /** The highest that it has seen. It refuses to be a primary's under a lower one. */
  epoch: z.number().int().min(0),
  /** Nobody else has ever had this shard's mail. */
  sole: z.boolean(),
  /** The youngest agent of this volume. */
  process: z.string(),
  /** The mail of `epoch` and before needs nothing more: what a failover leaves behind is dealt with. */
  settled: z.boolean(),
});

export type VolumeRecord = z.infer<typeof recordSchema>;

/** What was found: `blank` has no record; `foreign` has one of another shard or member, and is used like a blank one. */
export type VolumeOrigin = 'own' | 'blank' | 'foreign';

export interface Volume {
  readonly origin: VolumeOrigin;
  record(): VolumeRecord;
  /** Writes it down, fsync included, before it resolves. Calls are done in order. Nothing is written when nothing changes. */
  update(change: Partial<Pick<VolumeRecord, 'epoch' | 'sole' | 'settled'>>): Promise<void>;
  /** Whether no younger agent has taken the volume. False as well when the record can't be read. */
  isOurs(): boolean;
}

export interface VolumeIdentity {
  readonly shard: string;
  readonly member: number;
  /** UUID of this agent process: from now on the volume is its own. */
  readonly process: string;
}

/** A lower epoch than the volume has seen: some other directory, or one that was restored to an earlier time. */
export class LowerEpoch extends Error {
  override readonly name = 'LowerEpoch';
}

const FILE = 'volume.json';
const RESERVE = '.volume.reserve';

/**
 * Takes the volume at `root`.
 * @throws when its record can't be read or written: nothing may be done with it then.
 */
export async function openVolume(root: string, identity: VolumeIdentity): Promise<Volume> {
  await mkdir(root, { recursive: true });
  const found = await readRecord(root);
  const origin = originOf(found, identity);
  let record = recordFor(found, origin, identity);
  if (origin === 'foreign') await putAside(root, record.uuid);
  await write(root, record);
  await reserve(root).catch(() => undefined);
  let queue: Promise<unknown> = Promise.resolve();

  const change = async (wanted: Parameters<Volume['update']>[0]): Promise<void> => {
    if (wanted.epoch !== undefined && wanted.epoch < record.epoch) {
      throw new LowerEpoch(`volume ${record.uuid} has seen epoch ${record.epoch} and refuses ${wanted.epoch}`);
    }
    const next = { ...record, ...wanted };
    if (isSame(next, record)) return;
    if (!isOurs()) throw new Error(`volume ${record.uuid} has been taken by another agent`);
    await write(root, next);
    record = next;
  };
  const isOurs = (): boolean => {
    try {
      const now = parseRecord(readFileSync(join(root, FILE), 'utf8'));
      return now.process === identity.process && now.uuid === record.uuid;
    } catch {
      return false;
    }
  };
  return {
    origin,
    record: () => record,
    isOurs,
    update: (wanted) => {
      const done = queue.then(() => change(wanted));
      queue = done.catch(() => undefined);
      return done;
    },
  };
}

async function readRecord(root: string): Promise<VolumeRecord | undefined> {
  try {
    return parseRecord(await readFile(join(root, FILE), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`${join(root, FILE)}: the volume's record can't be read; repair or remove it`, { cause: error });
  }
}

const parseRecord = (text: string): VolumeRecord => parseJson(text, recordSchema);

function originOf(found: VolumeRecord | undefined, { shard, member }: VolumeIdentity): VolumeOrigin {
  if (found === undefined) return 'blank';
  return found.shard === shard && found.member === member ? 'own' : 'foreign';
}

/** Another member's volume of the same shard keeps the epoch that it has seen, but is a new one to everybody. */
function recordFor(found: VolumeRecord | undefined, origin: VolumeOrigin, identity: VolumeIdentity): VolumeRecord {
  if (found !== undefined && origin === 'own') return { ...found, process: identity.process };
  const epoch = found?.shard === identity.shard ? found.epoch : 0;
  return { ...identity, uuid: randomUUID(), epoch, sole: false, settled: true };
}

function isSame(a: VolumeRecord, b: VolumeRecord): boolean {
  return a.epoch === b.epoch && a.sole === b.sole && a.settled === b.settled;
}

/** Somebody else's mail isn't merged into this member's: it stays where an administrator finds it. */
async function putAside(root: string, uuid: string): Promise<void> {
  const aside = join(root, 'foreign', uuid);
  await mkdir(aside, { recursive: true });
  for (const name of ['mailboxes', 'journal', 'dirty', 'replication', FILE]) {
    await rename(join(root, name), join(aside, name)).catch(unlessMissing);
  }
}

function unlessMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

/** Space for the record on a full volume, which could not be opened otherwise. */
async function reserve(root: string): Promise<void> {
  await writeFile(join(root, RESERVE), Buffer.alloc(64 * 1024), { flag: 'wx', mode: 0o600 });
}

async function write(root: string, record: VolumeRecord): Promise<void> {
  try {
    await replace(root, record);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    await rm(join(root, RESERVE), { force: true });
    await replace(root, record);
  }
}

/** A reader, or a machine that starts after a crash, sees the old or the new, never half of one. */
async function replace(root: string, record: VolumeRecord): Promise<void> {
  const temporary = join(root, `.${FILE}.new`);
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(record)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(root, FILE));
  const folder = await open(root, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * The journal: messages that a primary has acknowledged and that this member's mailboxes may not have yet. One file each,
 * `journal/UU/UUID/SEQUENCE.EPOCH.ID`: a line of JSON, then the message. What `put` has acknowledged survives the host.
 *
 * An entry goes when a sync that began after it has succeeded (`mark` before, `purge` after), or when its message has been
 * given to the primary of a later epoch. An entry of an earlier epoch may be the only copy there is, so no purge touches it.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { folderOf } from './sieve.js';

/** A delivery, as its primary gave it. */
export interface Delivery {
  readonly mailbox: string;
  readonly id: string;
  readonly epoch: number;
  /** Addresses as they came in the envelope; octets as characters. */
  readonly recipient: string;
  readonly sender: string;
  readonly content: Buffer;
}

export interface EntryName {
  readonly mailbox: string;
  readonly id: string;
  readonly epoch: number;
}

export interface Summary {
  readonly entries: number;
  /** Since when the oldest is there, ms since the epoch; 0 without entries. */
  readonly oldest: number;
  /** Of epochs before the one that was asked about. */
  readonly earlier: readonly EntryName[];
  /** Mailboxes with entries, 1000 at most. */
  readonly users: readonly string[];
}

export interface JournalStore {
  /**
   * Keeps a message. Resolves when it is on the disk; rejects otherwise.
   * @param admit asked right before the entry becomes visible; throws when the epoch is over.
   */
  put(delivery: Delivery, admit: () => void): Promise<void>;
  /** A point in time, for `purge`. */
  mark(mailbox: string): string;
  /** Removes what a mailbox had at the mark, of this epoch only; the number of entries. A mark of another process removes nothing. */
  purge(mailbox: string, mark: string, epoch: number): Promise<number>;
  /** Waits for what is being written, then tells what there is. */
  summary(epoch: number): Promise<Summary>;
  /** Undefined when it is not there (any more). */
  read(mailbox: string, id: string): Promise<Delivery | undefined>;
  /** The primary of this epoch has the message: from now on the entry is like one that it gave. */
  confirm(mailbox: string, id: string, epoch: number): Promise<void>;
  remove(mailbox: string, id: string): Promise<void>;
}

/** What is on the disk is no entry any more. */
export class BrokenEntry extends Error {
  override readonly name = 'BrokenEntry';
}

interface Entry {
  readonly mailbox: string;
  readonly id: string;
  sequence: number;
  epoch: number;
  readonly at: number;
  /** Its rename and what makes it last. */
  settled: Promise<void>;
}

/** Opens the journal of a volume and finds what it has. */
export async function openJournal(root: string, clock: () => number = Date.now): Promise<JournalStore> {
  const process = randomBytes(8).toString('hex');
  await rm(join(root, 'tmp'), { recursive: true, force: true });
  await mkdir(join(root, 'tmp'), { recursive: true, mode: 0o700 });
  await syncFolder(dirname(root));
  const mailboxes = await find(root);
  let sequence = Math.max(0, ...all(mailboxes).map((entry) => entry.sequence));
  const made = new Set([...mailboxes.keys()]);

  const pathOf = (entry: Entry): string => join(root, folderOf(entry.mailbox), nameOf(entry));
  const get = (mailbox: string, id: string): Entry | undefined => mailboxes.get(mailbox)?.get(id);
  const drop = (entry: Entry): void => {
    const entries = mailboxes.get(entry.mailbox);
    entries?.delete(entry.id);
    if (entries?.size === 0) mailboxes.delete(entry.mailbox);
  };
  /** One change of an entry after another. */
  const change = (entry: Entry, work: () => Promise<void>): Promise<void> => {
    const next = entry.settled.then(work, work);
    entry.settled = next.catch(() => undefined);
    return next;
  };
  const restamp = (entry: Entry, epoch: number): Promise<void> =>
    change(entry, async () => {
      if (epoch <= entry.epoch) return;
      sequence += 1;
      const next = { ...entry, sequence, epoch };
      await rename(pathOf(entry), pathOf(next));
      Object.assign(entry, { sequence: next.sequence, epoch });
      await syncFolder(dirname(pathOf(next)));
    });

  return {
    put: async (delivery, admit) => {
      const { mailbox, id, epoch } = delivery;
      /** Another request has brought it: true when that one's entry will do. */
      const again = async (): Promise<boolean> => {
        const known = get(mailbox, id);
        if (!known) return false;
        admit();
        await known.settled;
        if (get(mailbox, id) !== known) return false;
        await restamp(known, epoch);
        return true;
      };
      if (await again()) return;
      const folder = join(root, folderOf(mailbox));
      if (!made.has(mailbox)) {
        await makeFolder(folder);
        made.add(mailbox);
      }
      const temporary = join(root, 'tmp', randomBytes(12).toString('hex'));
      const at = clock();
      try {
        await writeWhole(temporary, headOf(delivery, at), delivery.content);
      } catch (error) {
        // Most likely the volume is full: not with this, too.
        await rm(temporary, { force: true });
        throw error;
      }
      if (await again()) {
        await rm(temporary, { force: true });
        return;
      }
      admit();
      sequence += 1;
      const entry: Entry = { mailbox, id, sequence, epoch, at, settled: Promise.resolve() };
      const entries = mailboxes.get(mailbox) ?? new Map<string, Entry>();
      mailboxes.set(mailbox, entries.set(id, entry));
      await change(entry, async () => {
        await rename(temporary, pathOf(entry));
        await syncFolder(folder);
      }).catch((error: unknown) => {
        if (get(mailbox, id) === entry) drop(entry);
        made.delete(mailbox);
        throw error;
      });
    },
    mark: () => `${process}.${sequence}`,
    purge: async (mailbox, mark, epoch) => {
      const [origin, until] = mark.split('.');
      if (origin !== process) return 0;
      const covered = [...(mailboxes.get(mailbox)?.values() ?? [])].filter(
        (entry) => entry.sequence <= Number(until) && entry.epoch === epoch,
      );
      await Promise.all(covered.map((entry) => change(entry, () => rm(pathOf(entry), { force: true }))));
      for (const entry of covered) if (get(mailbox, entry.id) === entry) drop(entry);
      return covered.length;
    },
    summary: async (epoch) => {
      const entries = all(mailboxes);
      await Promise.all(entries.map((entry) => entry.settled));
      const there = entries.filter((entry) => get(entry.mailbox, entry.id) === entry);
      return {
        entries: there.length,
        oldest: there.reduce((oldest, { at }) => Math.min(oldest, at), there[0]?.at ?? 0),
        earlier: there
          .filter((entry) => entry.epoch < epoch)
          .sort((a, b) => a.sequence - b.sequence)
          .map(({ mailbox, id, epoch: of }) => ({ mailbox, id, epoch: of })),
        users: [...mailboxes.keys()].slice(0, 1_000),
      };
    },
    read: async (mailbox, id) => {
      const entry = get(mailbox, id);
      if (!entry) return undefined;
      await entry.settled;
      const file = await readFile(pathOf(entry)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
        return undefined;
      });
      if (file) return parse(entry, file);
      // A mailbox that is removed takes its entries with it (reaper).
      if (get(mailbox, id) === entry) drop(entry);
      return undefined;
    },
    confirm: async (mailbox, id, epoch) => {
      const entry = get(mailbox, id);
      if (entry) await restamp(entry, epoch);
    },
    remove: async (mailbox, id) => {
      const entry = get(mailbox, id);
      if (!entry) return;
      await change(entry, () => rm(pathOf(entry), { force: true }));
      if (get(mailbox, id) === entry) drop(entry);
    },
  };
}

type Mailboxes = Map<string, Map<string, Entry>>;

const all = (mailboxes: Mailboxes): Entry[] => [...mailboxes.values()].flatMap((entries) => [...entries.values()]);

function nameOf({ sequence, epoch, id }: Entry): string {
  return `${String(sequence).padStart(15, '0')}.${epoch}.${id}`;
}

/** What the folders hold. A crash between two renames of one entry can't leave two of it: a rename has no in-between. */
async function find(root: string): Promise<Mailboxes> {
  const mailboxes: Mailboxes = new Map();
  for (const prefix of await readdir(root)) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
    for (const mailbox of await readdir(join(root, prefix))) {
      const entries = await findIn(join(root, prefix, mailbox), mailbox);
      if (entries.size > 0) mailboxes.set(mailbox, entries);
      else await rmdir(join(root, prefix, mailbox)).catch(() => undefined);
    }
  }
  return mailboxes;
}

async function findIn(folder: string, mailbox: string): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  for (const name of await readdir(folder)) {
    const [, sequence, epoch, id] = /^(\d{15})\.(\d+)\.([0-9a-f]{64})$/.exec(name) ?? [];
    if (id === undefined) continue;
    const at = await readTime(join(folder, name));
    const settled = Promise.resolve();
    entries.set(id, { mailbox, id, sequence: Number(sequence), epoch: Number(epoch), at, settled });
  }
  return entries;
}

interface Head {
  readonly recipient: string;
  readonly sender: string;
  readonly at: number;
}

function headOf({ recipient, sender }: Delivery, at: number): Buffer {
  return Buffer.from(`${JSON.stringify({ recipient, sender, at } satisfies Head)}\n`);
}

function parse({ mailbox, id, epoch }: Entry, file: Buffer): Delivery {
  const end = file.indexOf('\n');
  try {
    const { recipient, sender } = JSON.parse(file.toString('utf8', 0, end)) as Head;
    return { mailbox, id, epoch, recipient, sender, content: file.subarray(end + 1) };
  } catch (error) {
    throw new BrokenEntry(`${mailbox}/${id} has no head that can be read`, { cause: error });
  }
}

async function readTime(path: string): Promise<number> {
  const file = await open(path);
  try {
    return Math.trunc((await file.stat()).mtimeMs);
  } finally {
    await file.close();
  }
}

async function writeWhole(path: string, ...pieces: Buffer[]): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writev(pieces);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** A folder and its parent, both to last. */
async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await syncFolder(dirname(folder));
  await syncFolder(dirname(dirname(folder)));
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

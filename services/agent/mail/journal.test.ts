import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BrokenEntry, type Delivery, type JournalStore, openJournal } from './journal.js';

const AMY = '0a0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11';
const BOB = 'bb0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11';
const always = (): void => undefined;
let folder: string;
let root: string;
let journal: JournalStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'journal-'));
  root = join(folder, 'journal');
  journal = await openJournal(root);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const idOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const delivery = (text: string, epoch = 5, mailbox = AMY): Delivery => ({
  mailbox,
  id: idOf(text),
  epoch,
  recipient: 'ämy@example.org',
  sender: '',
  content: Buffer.from(`${text}\r\n\n{"not":"the head"}\n`),
});
const put = (text: string, epoch = 5, mailbox = AMY): Promise<void> =>
  journal.put(delivery(text, epoch, mailbox), always);
const entries = async (epoch = 0): Promise<number> => (await journal.summary(epoch)).entries;
const files = async (mailbox = AMY): Promise<string[]> =>
  readdir(join(root, mailbox.slice(0, 2), mailbox)).catch(() => []);
/** The process ends and starts again. */
const reopen = async (): Promise<void> => {
  journal = await openJournal(root);
};

describe('an entry', () => {
  it('is read as it was written, after a restart as well', async () => {
    await put('one');
    expect(await journal.read(AMY, idOf('one'))).toEqual(delivery('one'));
    await reopen();
    expect(await journal.read(AMY, idOf('one'))).toEqual(delivery('one'));
    expect(await journal.read(BOB, idOf('one'))).toBeUndefined();
  });

  it('is there once, however often it comes', async () => {
    await Promise.all([put('one'), put('one'), put('one')]);
    await put('one');
    expect(await entries()).toBe(1);
    expect(await files()).toHaveLength(1);
    expect(await readdir(join(root, 'tmp'))).toEqual([]);
  });

  it('is not kept when its epoch ends while it comes', async () => {
    const over = (): void => {
      throw new Error('over');
    };
    await expect(journal.put(delivery('one'), over)).rejects.toThrow('over');
    expect(await entries()).toBe(0);
    expect(await files()).toEqual([]);
    await put('one');
    await expect(journal.put(delivery('one'), over)).rejects.toThrow('over');
    expect(await entries()).toBe(1);
  });

  it('does not count when it could not be written', async () => {
    await rm(join(root, 'tmp'), { recursive: true });
    await expect(put('one')).rejects.toThrow();
    expect(await entries()).toBe(0);
  });

  it('does not count when it could not be put into its place', async () => {
    await writeFile(join(root, AMY.slice(0, 2)), 'a file where a folder should be');
    await expect(put('one')).rejects.toThrow();
    expect(await entries()).toBe(0);
  });

  it('that was half written at a crash is forgotten', async () => {
    await put('one');
    await writeFile(join(root, 'tmp', 'half'), 'half');
    await reopen();
    expect(await entries()).toBe(1);
    expect(await readdir(join(root, 'tmp'))).toEqual([]);
  });

  it('goes with its mailbox’s folder, which comes again', async () => {
    await put('one');
    await rm(join(root, AMY.slice(0, 2), AMY), { recursive: true });
    expect(await journal.read(AMY, idOf('one'))).toBeUndefined();
    expect(await entries()).toBe(0);
    await expect(put('two')).rejects.toThrow(/ENOENT/);
    await put('two');
    expect(await journal.read(AMY, idOf('two'))).toBeDefined();
  });

  it('that is damaged says so', async () => {
    await put('one');
    const [name] = await files();
    await writeFile(join(root, AMY.slice(0, 2), AMY, name ?? ''), 'no head');
    await expect(journal.read(AMY, idOf('one'))).rejects.toThrow(BrokenEntry);
  });

  it('is no path', async () => {
    await expect(put('x', 5, '../../../../tmp')).rejects.toThrow(/no UUID/);
  });
});

describe('a purge', () => {
  it('removes what was there at the mark, and nothing that came after', async () => {
    await put('one');
    await put('bob’s', 5, BOB);
    const mark = journal.mark(AMY);
    await put('two');
    expect(await journal.purge(AMY, mark, 5)).toBe(1);
    expect(await journal.read(AMY, idOf('one'))).toBeUndefined();
    expect(await journal.read(AMY, idOf('two'))).toBeDefined();
    expect(await entries()).toBe(2);
    await reopen();
    expect(await entries()).toBe(2);
  });

  it('touches no entry of another epoch: it may be the only copy', async () => {
    await put('of the lost primary', 4);
    await put('one', 5);
    expect(await journal.purge(AMY, journal.mark(AMY), 5)).toBe(1);
    expect((await journal.summary(5)).earlier).toEqual([{ mailbox: AMY, id: idOf('of the lost primary'), epoch: 4 }]);
  });

  it('with a mark of the process before removes nothing', async () => {
    for (const text of ['a', 'b', 'c']) await put(text);
    const mark = journal.mark(AMY);
    await journal.purge(AMY, mark, 5);
    await reopen();
    // its number is lower than the mark's
    await put('new');
    expect(await journal.purge(AMY, mark, 5)).toBe(0);
    expect(await journal.read(AMY, idOf('new'))).toBeDefined();
  });

  it('of a mark that makes no sense removes nothing', async () => {
    await put('one');
    for (const mark of ['', 'x', '.5', journal.mark(AMY).replace(/\.\d+/, '')]) {
      expect(await journal.purge(AMY, mark, 5)).toBe(0);
    }
  });

  it('never removes an entry that came after the mark, whatever happens at the same time', async () => {
    let number = 0;
    const puts = (count: number): Promise<string[]> =>
      Promise.all(
        Array.from({ length: count }, async () => {
          number += 1;
          const text = `${number}`;
          await put(text);
          return idOf(text);
        }),
      );
    const rounds = fc.array(fc.nat(4), { maxLength: 6 });
    const property = async (counts: number[]): Promise<void> => {
      let [mark, kept] = [journal.mark(AMY), [] as string[]];
      for (const count of counts) {
        const [added] = await Promise.all([puts(count), journal.purge(AMY, mark, 5)]);
        kept = added;
        mark = journal.mark(AMY);
      }
      const found = await Promise.all(kept.map((id) => journal.read(AMY, id)));
      expect(found).not.toContain(undefined);
      expect(await entries()).toBe(kept.length);
      await Promise.all(kept.map((id) => journal.remove(AMY, id)));
    };
    await fc.assert(fc.asyncProperty(rounds, property), { numRuns: 30 });
  });
});

describe('an entry that a later primary has', () => {
  it('is one of its epoch, and goes with its next sync, not with one that runs', async () => {
    await put('one', 4);
    const mark = journal.mark(AMY);
    await journal.confirm(AMY, idOf('one'), 5);
    expect((await journal.summary(5)).earlier).toEqual([]);
    expect(await journal.purge(AMY, mark, 5)).toBe(0);
    await reopen();
    expect(await journal.read(AMY, idOf('one'))).toEqual(delivery('one', 5));
    expect(await journal.purge(AMY, journal.mark(AMY), 5)).toBe(1);
    expect(await files()).toEqual([]);
  });

  it('also when the deposit brings it again', async () => {
    await put('one', 4);
    await put('one', 5);
    expect((await journal.summary(5)).earlier).toEqual([]);
    await put('one', 3);
    expect(await files()).toHaveLength(1);
    expect((await journal.read(AMY, idOf('one')))?.epoch).toBe(5);
  });

  it('is listed no more when it is removed', async () => {
    await put('one', 4);
    await put('two', 4);
    await journal.remove(AMY, idOf('one'));
    expect((await journal.summary(5)).earlier.map(({ id }) => id)).toEqual([idOf('two')]);
    await journal.remove(AMY, idOf('one'));
    await journal.confirm(AMY, idOf('one'), 5);
    expect(await entries()).toBe(1);
  });
});

describe('a summary', () => {
  it('waits for what is being written', async () => {
    const writing = put('one', 4);
    // its file is being written; after the rename has been ordered it counts
    await writing;
    expect(await journal.summary(5)).toMatchObject({ entries: 1, users: [AMY] });
  });

  it('tells since when the oldest is there', async () => {
    journal = await openJournal(root, () => 1000);
    expect((await journal.summary(5)).oldest).toBe(0);
    await put('one');
    expect((await journal.summary(5)).oldest).toBe(1000);
  });

  it('leaves files alone that are none of its', async () => {
    await put('one');
    await writeFile(join(root, AMY.slice(0, 2), AMY, 'notes'), 'x');
    await truncate(join(root, AMY.slice(0, 2), AMY, 'notes'));
    await reopen();
    expect(await entries()).toBe(1);
  });
});

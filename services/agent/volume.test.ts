import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LowerEpoch, openVolume } from './volume.js';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'posthorn-volume-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const open = (process: string, { shard = 'a', member = 0 } = {}) => openVolume(root, { shard, member, process });

describe('a volume', () => {
  it('gets a name when it is blank, and keeps it', async () => {
    const first = await open('one');
    expect(first.origin).toBe('blank');
    expect(first.record()).toMatchObject({ shard: 'a', member: 0, epoch: 0, sole: false, settled: true });
    await first.update({ epoch: 7, sole: true });
    const second = await open('two');
    expect(second.origin).toBe('own');
    expect(second.record()).toMatchObject({ uuid: first.record().uuid, epoch: 7, sole: true });
  });

  it('belongs to its youngest agent, and takes nothing from another', async () => {
    const first = await open('one');
    expect(first.isOurs()).toBe(true);
    const second = await open('two');
    expect([first.isOurs(), second.isOurs()]).toEqual([false, true]);
    await expect(first.update({ epoch: 3 })).rejects.toThrow('taken by another agent');
    await second.update({ epoch: 2 });
    expect((await open('three')).record().epoch).toBe(2);
  });

  it('refuses a lower epoch', async () => {
    const volume = await open('one');
    await volume.update({ epoch: 5 });
    await expect(volume.update({ epoch: 4 })).rejects.toThrow(LowerEpoch);
    expect(volume.record().epoch).toBe(5);
  });

  it.each([
    ['shard', { shard: 'b' }, 0],
    ['member', { member: 1 }, 5],
  ])('of another %s is as good as blank, and its mail is put aside', async (_what, identity, epoch) => {
    const before = await open('one');
    await before.update({ epoch: 5, sole: true });
    await mkdir(join(root, 'mailboxes'));
    await writeFile(join(root, 'mailboxes', 'mail'), 'old');
    const after = await open('two', identity);
    expect(after.origin).toBe('foreign');
    expect(after.record().uuid).not.toBe(before.record().uuid);
    expect(after.record()).toMatchObject({ epoch, sole: false });
    expect(await readdir(root)).not.toContain('mailboxes');
    expect(await readFile(join(root, 'foreign', after.record().uuid, 'mailboxes', 'mail'), 'utf8')).toBe('old');
  });

  it('with a record that can not be read is not used', async () => {
    await writeFile(join(root, 'volume.json'), '{"shard":"a"');
    await expect(open('one')).rejects.toThrow("record can't be read");
  });
});

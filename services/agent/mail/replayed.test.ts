import { appendFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openTwins } from './replayed.js';

const AMY = '0a0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11';
const id = (text: string): string => text.padEnd(64, '0');
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'twins-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

describe('what was delivered again', () => {
  it('is remembered by mailbox, over restarts, for 60 days', async () => {
    let now = 1_000;
    const twins = openTwins(root, () => now);
    expect(await twins.of(AMY)).toEqual([]);
    await twins.note(AMY, { id: id('a'), guid: 'one', at: now });
    now += 59 * 86_400_000;
    await twins.note(AMY, { id: id('b'), guid: 'two', at: now });
    expect((await openTwins(root, () => now).of(AMY)).map(({ guid }) => guid)).toEqual(['one', 'two']);
    now += 2 * 86_400_000;
    expect((await twins.of(AMY)).map(({ guid }) => guid)).toEqual(['two']);
    expect((await twins.of(AMY)).map(({ guid }) => guid)).toEqual(['two']);
    now += 60 * 86_400_000;
    expect(await twins.of(AMY)).toEqual([]);
    expect(await readdir(join(root, 'replayed', AMY.slice(0, 2)))).toEqual([]);
  });

  it('survives a line that was cut', async () => {
    const twins = openTwins(root);
    await twins.note(AMY, { id: id('a'), guid: 'one', at: Date.now() });
    await appendFile(join(root, 'replayed', AMY.slice(0, 2), AMY), `${id('b')} tw`);
    expect((await twins.of(AMY)).map(({ guid }) => guid)).toEqual(['one']);
    await twins.note(AMY, { id: id('c'), guid: 'three', at: Date.now() });
    expect((await twins.of(AMY)).map(({ guid }) => guid)).toEqual(['one', 'three']);
  });
});

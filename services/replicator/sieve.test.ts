import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sieveDigest } from './sieve.js';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'sieve-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

it('changes with each script that is written, removed or made active, and with nothing else', async () => {
  const seen = [await sieveDigest(home), await sieveDigest(join(home, 'nowhere'))];
  expect(seen[0]).toBe(seen[1]);
  const changed = async (change: () => void): Promise<void> => {
    change();
    const digest = await sieveDigest(home);
    expect(seen).not.toContain(digest);
    seen.push(digest);
  };
  mkdirSync(join(home, 'sieve'));
  await changed(() => writeFileSync(join(home, 'sieve', 'a.sieve'), 'keep;'));
  await changed(() => writeFileSync(join(home, 'sieve', 'b.sieve'), 'discard;'));
  await changed(() => symlinkSync('sieve/a.sieve', join(home, '.dovecot.sieve')));
  await changed(() => writeFileSync(join(home, 'sieve', 'a.sieve'), 'stop;'));
  unlinkSync(join(home, 'sieve', 'b.sieve'));
  await changed(() => undefined);
  const before = await sieveDigest(home);
  writeFileSync(join(home, 'sieve', 'a.svbin'), 'x');
  mkdirSync(join(home, 'mail'));
  expect(await sieveDigest(home)).toBe(before);
});

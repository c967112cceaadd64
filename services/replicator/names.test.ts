import { expect, it } from 'vitest';
import type { DirectoryPool } from '../lib/directory.js';
import { createNames } from './names.js';

function directory(answers: Record<string, string | null>): {
  pool: DirectoryPool;
  asked: () => number;
  away: boolean;
} {
  let count = 0;
  const world = {
    away: false,
    asked: () => count,
    pool: {
      ask: async ({ values }: { values: [string] }) => {
        count++;
        if (world.away) throw new Error('away');
        return [{ user: answers[values[0]] ?? null }];
      },
    } as unknown as DirectoryPool,
  };
  return world;
}

it('asks once a minute for what no notice has told, and lives on what it knows while nobody answers', async () => {
  let now = 0;
  const world = directory({ one: 'a@example.org' });
  const names = createNames(world.pool, 'a', () => now);
  expect(await names.userOf('one')).toBe('a@example.org');
  expect(await names.userOf('one')).toBe('a@example.org');
  expect(world.asked()).toBe(1);
  names.learn('two', 'b@example.org');
  expect(await names.userOf('two')).toBe('b@example.org');
  expect(world.asked()).toBe(1);
  now = 61_000;
  world.away = true;
  expect(await names.userOf('one')).toBe('a@example.org');
  await expect(names.userOf('three')).rejects.toThrow('away');
  world.away = false;
  expect(await names.userOf('two')).toBeUndefined();
  names.forget('one');
  expect(names.peek('one')).toBeUndefined();
});

import { expect, it } from 'vitest';
import { createRooms } from './room.js';

const options = { places: 2, waiting: 1, waitMs: 50 };

it('lets a few of a rule in, a few wait, and sends the rest away at once', async () => {
  const room = createRooms(options)('a');
  const first = await room.enter();
  await room.enter();
  const waits = room.enter();
  expect(await room.enter()).toBeUndefined();
  first?.(false);
  expect(await waits).toBeTypeOf('function');
});

it('ends the wait after a while', async () => {
  const room = createRooms(options)('a');
  await room.enter();
  const second = await room.enter();
  expect(await room.enter()).toBeUndefined();
  second?.(false);
  expect(await room.enter()).toBeTypeOf('function');
});

it('gives one rule no less for what another one does', async () => {
  const rooms = createRooms(options);
  await rooms('a').enter();
  await rooms('a').enter();
  expect(await rooms('b').enter()).toBeTypeOf('function');
});

it('gives a target that hung one place and no wait, until it answers', async () => {
  const room = createRooms(options)('a');
  (await room.enter())?.(true);
  const probe = await room.enter();
  expect(probe).toBeTypeOf('function');
  const started = Date.now();
  expect(await room.enter()).toBeUndefined();
  expect(Date.now() - started).toBeLessThan(30);
  probe?.(false);
  expect(await Promise.all([room.enter(), room.enter()])).toEqual([expect.any(Function), expect.any(Function)]);
});

it('takes a place back once', async () => {
  const room = createRooms({ places: 1, waiting: 0, waitMs: 1 })('a');
  const leave = await room.enter();
  leave?.(false);
  leave?.(false);
  await room.enter();
  expect(await room.enter()).toBeUndefined();
});

import { expect, it } from 'vitest';
import { createHourlyLimit } from './limit.js';

it('admits so many in any hour, for each by itself', () => {
  let now = 0;
  const admit = createHourlyLimit(2, () => now);
  expect([admit('a'), admit('a'), admit('a'), admit('b')]).toEqual([true, true, false, true]);
  now = 3_600_001;
  expect([admit('a'), admit('a'), admit('a')]).toEqual([true, true, false]);
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from './duration.js';

describe('parseDuration', () => {
  it.each([
    ['0s', 0],
    ['15m', 900],
    ['1h30m', 5400],
    ['90m', 5400],
    ['7d', 604_800],
    ['1d1h1m1s', 90_061],
    ['1d1s', 86_401],
  ])('%s is %d s', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  it.each(['', '5', 's', '1.5h', '-1m', '1m1h', '1m1m', '1 m', '1w', '1M', '100ms', '1m\n', '1234567890s'])(
    'refuses %j',
    (text) => {
      expect(() => parseDuration(text)).toThrow(/duration .* must be a duration such as/);
    },
  );
});

describe('formatDuration', () => {
  it('is undone by parseDuration', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e9 * 86_400 - 1 }), (seconds) => {
        expect(parseDuration(formatDuration(seconds))).toBe(seconds);
      }),
    );
  });

  it.each([
    [0, '0s'],
    [90, '1m30s'],
    [86_400, '1d'],
  ])('%d s → %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it.each([-1, 0.5, Number.NaN, 1e9 * 86_400])('refuses %d', (seconds) => {
    expect(() => formatDuration(seconds)).toThrow('whole number of seconds');
  });
});

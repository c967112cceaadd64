import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatQuantity, parseQuantity } from './quantity.js';

describe('parseQuantity', () => {
  it.each([
    ['0', 0],
    ['1', 1],
    ['1k', 1000],
    ['1Ki', 1024],
    ['10Gi', 10 * 2 ** 30],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['0.5k', 500],
    ['1.5', 2],
    ['1.001Ki', 1026],
    ['007Mi', 7 * 2 ** 20],
    ['7Pi', 7 * 2 ** 50],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseQuantity(text)).toBe(bytes);
  });

  it.each([
    '',
    ' ',
    '10 Gi',
    '10GB',
    '10gi',
    '10K',
    '-1Gi',
    '+1Gi',
    '1e3',
    '.5Gi',
    '5.Gi',
    '1.2.3',
    '0x10',
    '1Ei',
    '500m',
    'Gi',
    '1Gi\n',
    '١Gi',
    'NaN',
  ])('refuses %j', (text) => {
    expect(() => parseQuantity(text)).toThrow(/size .* must be a size such as/);
  });

  it.each(['8Pi', '9007199254740992', '999999999999999Ti'])('refuses %s as too large to count', (text) => {
    expect(() => parseQuantity(text)).toThrow('larger than 8 PiB');
  });
});

describe('formatQuantity', () => {
  it.each([
    [0, '0'],
    [1, '1'],
    [1000, '1k'],
    [1024, '1Ki'],
    [1536, '1536'],
    [1.5 * 2 ** 30, '1536Mi'],
    [2 ** 50, '1Pi'],
    [10 ** 12, '1T'],
    [1024 * 1000, '1000Ki'],
  ])('%d → %s', (bytes, text) => {
    expect(formatQuantity(bytes)).toBe(text);
  });

  it('is undone by parseQuantity', () => {
    const power = fc.tuple(fc.nat(9000), fc.constantFrom(1, 1000, 1024, 1e6, 2 ** 20, 1e9, 2 ** 30, 1e12, 2 ** 40));
    const bytes = fc.oneof(fc.maxSafeNat(), power.map(([count, unit]) => count * unit).filter(Number.isSafeInteger));
    fc.assert(
      fc.property(bytes, (size) => {
        expect(parseQuantity(formatQuantity(size))).toBe(size);
      }),
      { numRuns: 1000 },
    );
  });

  it.each([-1, 0.5, Number.NaN, 2 ** 53])('refuses %d', (bytes) => {
    expect(() => formatQuantity(bytes)).toThrow('whole number of bytes');
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { figure, percentile, resultLine } from './result.js';

describe('benchmark results', () => {
  test('the last line has the shape that the contract fixes', () => {
    const line = resultLine({ name: 'converge', value: 12.345, unit: 's', reference: 10, bounds: [], details: {} });
    expect(line).toBe('converge 12.3 s (vs REFERENCE 10.0, ratio 1.23)');
  });

  test('figures have three digits and no exponent', () => {
    expect([0, 0.01234, 1.005, 12.34, 1234.5, 1e7].map(figure)).toEqual([
      '0',
      '0.0123',
      '1.00',
      '12.3',
      '1235',
      '10000000',
    ]);
  });

  test('percentiles are values that were measured, by rank', () => {
    const values = Array.from({ length: 200 }, (_, i) => i + 1).reverse();
    expect([percentile(values, 50), percentile(values, 99), percentile(values, 100)]).toEqual([100, 198, 200]);
    expect(() => percentile([], 50)).toThrow(RangeError);
  });

  test('as many values are not above a percentile as it says', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 1 }), fc.integer({ min: 1, max: 100 }), (values, p) => {
        const at = percentile(values, p);
        const notAbove = values.filter((value) => value <= at).length;
        expect(values).toContain(at);
        expect(notAbove * 100).toBeGreaterThanOrEqual(p * values.length);
      }),
    );
  });
});

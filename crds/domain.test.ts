import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DOMAIN_PATTERN, parseDomain } from './domain.js';

describe('parseDomain', () => {
  it.each([
    ['example.org', 'example.org'],
    ['Mail.EXAMPLE.org', 'mail.example.org'],
    ['example.org.', 'example.org'],
    ['bücher.de', 'xn--bcher-kva.de'],
    ['BÜCHER.de', 'xn--bcher-kva.de'],
    ['faß.de', 'xn--fa-hia.de'],
    ['xn--bcher-kva.de', 'xn--bcher-kva.de'],
    ['例え.テスト', 'xn--r8jz45g.xn--zckzah'],
    ['1.example', '1.example'],
  ])('%s → %s', (text, canonical) => {
    expect(parseDomain(text)).toBe(canonical);
  });

  it.each([
    ['', 'at least two labels'],
    ['localhost', 'at least two labels'],
    ['example..org', 'at least two labels'],
    ['.example.org', 'at least two labels'],
    ['example.org..', 'at least two labels'],
    ['-a.example.org', 'inner hyphens'],
    ['a-.example.org', 'inner hyphens'],
    ['a_b.example.org', 'letters, digits'],
    ['a b.example.org', 'letters, digits'],
    ['example.org\n', 'letters, digits'],
    ['192.0.2.1', 'at least two labels'],
    ['１９２.0.2.1', 'at least two labels'],
    ['192.0.2.１', 'at least two labels'],
    ['%61.example.org', 'letters, digits'],
    ['example.org/x', 'letters, digits'],
    ['example.org:25', 'letters, digits'],
    ['user@example.org', 'letters, digits'],
    ['xn--zzzz.org', 'IDNA'],
    ['a／b.org', 'IDNA'],
    [`${'a'.repeat(64)}.org`, 'letters, digits'],
    [`${'a.'.repeat(126)}org`, '253 octets'],
  ])('refuses %j: %s', (text, problem) => {
    expect(() => parseDomain(text)).toThrow(problem);
  });

  it('gives lower-case A-labels within the limits of RFC 1035, or throws, whatever it gets', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.webUrl(), fc.domain(), fc.ipV4()), (text) => {
        const domain = attempt(text);
        if (domain === undefined) return;
        expect(domain).toMatch(/^[a-z0-9.-]{3,253}$/);
        for (const label of domain.split('.')) expect(label).toMatch(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
        expect(parseDomain(domain)).toBe(domain);
      }),
      { numRuns: 2000 },
    );
  });

  it('accepts every ordinary domain, in any case', () => {
    fc.assert(
      fc.property(fc.domain(), (domain) => {
        expect(parseDomain(domain.toUpperCase())).toBe(domain.toLowerCase());
      }),
    );
  });

  it('accepts nothing that the pattern of the schema refuses', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        if (attempt(text) !== undefined) expect(text.replace(/\.$/, '')).toMatch(DOMAIN_PATTERN);
      }),
    );
  });
});

function attempt(text: string): string | undefined {
  try {
    return parseDomain(text);
  } catch {
    return undefined;
  }
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAddress, HOSTED_ADDRESS_PATTERN, parseAddress, parseHostedAddress } from './address.js';

const ATEXT = "abcxyzABCXYZ0189!#$%&'*+/=?^_`{|}~-";
const word = fc.string({ unit: fc.constantFrom(...ATEXT), minLength: 1, maxLength: 12 });
const local = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join('.'));

describe('parseAddress', () => {
  it.each([
    ['mallory@example.org', { local: 'mallory', domain: 'example.org' }],
    ['Mallory@Example.ORG', { local: 'mallory', domain: 'example.org' }],
    ['a.b@bücher.de', { local: 'a.b', domain: 'xn--bcher-kva.de' }],
    ['mallory+news@example.org', { local: 'mallory', detail: 'news', domain: 'example.org' }],
    ['mallory+a+b@example.org', { local: 'mallory', detail: 'a+b', domain: 'example.org' }],
    ['mallory+@example.org', { local: 'mallory', detail: '', domain: 'example.org' }],
    ['+mallory@example.org', { local: '+mallory', domain: 'example.org' }],
    ['SRS0=x=y=example.net=bob@example.org', { local: 'srs0=x=y=example.net=bob', domain: 'example.org' }],
    [`${'a'.repeat(64)}@example.org`, { local: 'a'.repeat(64), domain: 'example.org' }],
  ])('%s', (text, address) => {
    expect(parseAddress(text)).toEqual(address);
  });

  it.each([
    ['', 'has no @'],
    ['mallory', 'has no @'],
    ['@example.org', 'nothing before the @'],
    ['mallory@', 'no domain after the @'],
    ['mallory@localhost', 'at least two labels'],
    ['mallory@example.org.', 'ends in a dot'],
    ['mallory@[192.0.2.1]', 'address literal'],
    ['"mal lory"@example.org', 'quoted local part'],
    ['mäl@example.org', 'beyond ASCII'],
    ['a..b@example.org', 'dot-atom'],
    ['.a@example.org', 'dot-atom'],
    ['a.@example.org', 'dot-atom'],
    ['a@b@example.org', 'dot-atom'],
    ['a b@example.org', 'dot-atom'],
    ['<a@example.org>', 'dot-atom'],
    ['a\n@example.org', 'dot-atom'],
    ['a@example.org\\r\\nRCPT TO:<b@example.org>', 'dot-atom'],
    [`${'a'.repeat(65)}@example.org`, '64 octets'],
    [`${'a'.repeat(64)}@${'b.'.repeat(100)}org`, '254 octets'],
  ])('refuses %j: %s', (text, problem) => {
    expect(() => parseAddress(text)).toThrow(problem);
  });

  it('is undone by formatAddress, up to case', () => {
    fc.assert(
      fc.property(local, fc.domain(), (name, domain) => {
        const text = `${name}@${domain}`;
        fc.pre(name.length <= 64 && text.length <= 254);
        expect(formatAddress(parseAddress(text))).toBe(text.toLowerCase());
      }),
    );
  });

  it('gives something that parses to itself, or throws, whatever it gets', () => {
    const anything = fc.oneof(fc.string({ unit: 'grapheme' }), fc.emailAddress(), fc.tuple(fc.string(), fc.domain()));
    fc.assert(
      fc.property(anything, (input) => {
        const text = typeof input === 'string' ? input : input.join('@');
        const address = attempt(() => parseAddress(text));
        if (address === undefined) return;
        expect(formatAddress(address)).toMatch(/^[\x21-\x7e]{5,254}$/);
        expect(parseAddress(formatAddress(address))).toEqual(address);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('parseHostedAddress', () => {
  it.each(['mallory@example.org', "o'brien@example.org", 'a_b-c.d~e&f@example.org'])('accepts %s', (text) => {
    expect(parseHostedAddress(text)).toBe(text);
  });

  it('is canonical', () => {
    expect(parseHostedAddress('Mallory@BÜCHER.de')).toBe('mallory@xn--bcher-kva.de');
  });

  it.each([
    ['mallory+news@example.org', 'has a "+"'],
    ['+mallory@example.org', 'must be an address such as'],
    ['host!user@example.org', 'must be an address such as'],
    ['user%host@example.org', 'must be an address such as'],
    ['-f@example.org', 'must be an address such as'],
    ['srs0=a=b=c=d@example.org', 'must be an address such as'],
    ['../x@example.org', 'dot-atom'],
    ['a/b@example.org', 'must be an address such as'],
    ['mallory', 'has no @'],
  ])('refuses %s: %s', (text, problem) => {
    expect(() => parseHostedAddress(text)).toThrow(problem);
  });

  it('accepts nothing that the pattern of the schema refuses, and its results match it too', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.emailAddress(),
          fc.tuple(local, fc.domain()).map((parts) => parts.join('@')),
        ),
        (text) => {
          const canonical = attempt(() => parseHostedAddress(text));
          if (canonical === undefined) return;
          expect(text).toMatch(HOSTED_ADDRESS_PATTERN);
          expect(canonical).toMatch(HOSTED_ADDRESS_PATTERN);
          expect(parseHostedAddress(canonical)).toBe(canonical);
        },
      ),
    );
  });
});

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectedRecords, quoted } from './records.js';

describe('expectedRecords', () => {
  const facts = { domain: 'example.org', hostname: 'mx.example.net' };

  it('are MX, SPF and DMARC, and DKIM when there is a key', () => {
    const plain = expectedRecords(facts);
    expect(plain.map(({ name, type }) => `${type} ${name}`)).toEqual([
      'MX example.org',
      'TXT example.org',
      'TXT _dmarc.example.org',
    ]);
    expect(plain[0]?.value).toBe('10 mx.example.net.');
    const signed = expectedRecords({ ...facts, dkim: { selector: 's1', record: 'v=DKIM1; p=abc' } });
    expect(signed.map(({ name }) => name)).toContain('s1._domainkey.example.org');
  });

  it('has reports sent to the postmaster', () => {
    const dmarc = expectedRecords({ ...facts, postmaster: 'postmaster@example.org' }).at(-1);
    expect(dmarc?.value).toBe('"v=DMARC1; p=none; aspf=s; rua=mailto:postmaster@example.org"');
  });

  it('lets only its very domain prove by SPF who wrote: senders of forwarded mail have the organisational domain in common', () => {
    const dmarc = expectedRecords({ domain: 'example.org', hostname: 'mail.example.org' }).at(-1);
    expect(dmarc?.value.slice(1, -1).split('; ')).toContain('aspf=s');
  });
});

describe('quoted', () => {
  it('cuts into strings of at most 255 octets that say the same together', () => {
    const ascii = fc.string({ unit: 'grapheme-ascii', maxLength: 900 });
    fc.assert(
      fc.property(ascii, (text) => {
        const parts = [...quoted(text).matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, part]) =>
          (part ?? '').replace(/\\(.)/g, '$1'),
        );
        expect(parts.join('')).toBe(text);
        for (const part of parts) expect(part.length).toBeLessThanOrEqual(255);
      }),
    );
  });
});

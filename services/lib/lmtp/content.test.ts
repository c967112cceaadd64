import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Collector, createCollector, stuff, unstuff, withLineEnds } from './content.js';

/** Messages of awkward lines. */
const content = fc
  .array(fc.constantFrom('', '.', '..', '.a', 'a.', 'a', '\r', '.\r', ' ', '\u00e9\u0000'), { maxLength: 12 })
  .map((lines) => Buffer.from(lines.map((line) => `${line}\r\n`).join(''), 'latin1'));

/** A buffer cut at any places. */
const pieces = (whole: Buffer, cuts: readonly number[]): Buffer[] => {
  const places = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((from, n) => Buffer.from(whole.subarray(from, places[n] ?? whole.length)));
};

/** What is left over after the end. */
const feed = (collector: Collector, parts: readonly Buffer[]): Buffer | undefined => {
  let left: Buffer | undefined;
  for (const part of parts.filter(({ length }) => length > 0)) {
    left = left ? Buffer.concat([left, part]) : collector.push(part);
  }
  return left;
};

describe('content after DATA', () => {
  it('comes back as it was, however it is cut, with what follows it', () => {
    fc.assert(
      fc.property(content, fc.array(fc.nat(200), { maxLength: 20 }), (message, cuts) => {
        const wire = Buffer.concat([stuff(message), Buffer.from('.\r\nMAIL FROM:<>\r\n')]);
        const collector = createCollector();
        const left = feed(collector, pieces(wire, cuts));
        expect(left?.toString('latin1')).toBe('MAIL FROM:<>\r\n');
        expect(collector.length).toBeGreaterThanOrEqual(message.length);
        expect(collector.take()?.equals(message)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('is not ended by anything but CRLF.CRLF', () => {
    for (const almost of ['a\n.\n', 'a\r.\r', 'a\n.\r\n', 'a\r\n.\n', 'a\r\n.\r', 'a\r\n..\r\n']) {
      expect(createCollector().push(Buffer.from(`${almost}b\r\n`)), JSON.stringify(almost)).toBeUndefined();
    }
  });

  it('is not copied when no line begins with a dot', () => {
    const message = Buffer.from('a\r\nb.\r\n');
    expect(stuff(message)).toBe(message);
    expect(unstuff(message)).toBe(message);
    expect(withLineEnds(message)).toBe(message);
  });

  it('gets line ends where they are missing', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', '.', '\r\n', '\n', '\r'), { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        const result = withLineEnds(Buffer.from(text)).toString();
        expect(result).not.toMatch(/(^|[^\r])\n/);
        const ended = text === '' || text.endsWith('\n') ? text : `${text}\r\n`;
        expect(result).toBe(ended.replace(/\r?\n/g, '\r\n'));
      }),
    );
  });

  it('is forgotten when it is too much, and its end is found', () => {
    const collector = createCollector();
    collector.push(Buffer.from('aaaa\r\n'));
    collector.discard();
    expect(collector.push(Buffer.from('bb\r\n.\r\nQUIT\r\n'))?.toString()).toBe('QUIT\r\n');
    expect(collector.length).toBe(10);
    expect(collector.take()).toBeUndefined();
  });
});

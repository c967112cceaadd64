import { describe, expect, it } from 'vitest';
import { declaredScript, translateLines } from './sieve.js';

const own = ['ann@example.org', 'a@example.org'];
const vacation = { message: 'Away.\n.signature', everyDays: 7 };
const script = '# sort\nrequire ["fileinto"];\nrequire "copy";\n\nif true {\n  fileinto "x";\n}\n';

describe('declaredScript', () => {
  it('is the declared one as it is, or nothing', () => {
    expect(declaredScript({ sieve: script }, own)).toBe(script);
    expect([declaredScript({}, own), declaredScript({ sieve: ' \n' }, own)]).toEqual([null, null]);
  });

  it('answers while somebody is away, in text that can not end the block', () => {
    const text = declaredScript({ vacation: { ...vacation, subject: 'Say "hi" \\o/' } }, own);
    expect(text).toBe(
      [
        'require ["vacation"]; ',
        'if allof (not header :is "X-Spam" "Yes", true) {',
        'vacation :days 7 :subject "Say \\"hi\\" \\\\o/" :addresses ["ann@example.org", "a@example.org"] text:',
        'Away.',
        '..signature',
        '.',
        ';',
        '}',
        '',
      ].join('\n'),
    );
  });

  it('answers from the first to the last day', () => {
    const text = declaredScript({ vacation: { ...vacation, from: '2026-12-24', until: '2027-01-02' } }, own);
    expect(text).toContain('require ["vacation", "date", "relational"];');
    expect(text).toContain('currentdate :zone "+0000" :value "ge" "date" "2026-12-24"');
    expect(text).toContain('currentdate :zone "+0000" :value "le" "date" "2027-01-02"');
  });

  it('puts the answer behind what the script requires, and before what it does', () => {
    const text = declaredScript({ sieve: script, vacation }, own) ?? '';
    const at = (part: string) => text.indexOf(part);
    expect(at('require "copy";')).toBeGreaterThan(0);
    expect(at('if allof')).toBeGreaterThan(at('require "copy";'));
    expect(at('fileinto "x"')).toBeGreaterThan(at('if allof'));
    expect(text.lastIndexOf('require')).toBeLessThan(at('if allof'));
  });

  it.each([
    ['/* a */ require ["fileinto"]; keep;', 'keep;'],
    ['require "a;b\\"];"; keep;', 'keep;'],
    ['# require "x";\nkeep;', '# require "x";'],
    ['requirement; keep;', 'requirement;'],
  ])('finds the end of the requires of %j', (sieve, first) => {
    const text = declaredScript({ sieve, vacation }, own) ?? '';
    const rest = text.slice(text.indexOf('\n}\n') + 3).trimStart();
    expect(rest.startsWith(first)).toBe(true);
  });
});

describe('translateLines', () => {
  const broken = script.replace('fileinto "x"', 'oops "x"');
  const compiled = (declaredScript({ sieve: broken, vacation }, own) ?? '').split('\n');

  it('gives a line of the declared script its own number', () => {
    const line = compiled.findIndex((text) => text.includes('oops')) + 1;
    expect(line).not.toBe(6);
    expect(translateLines(`declared: line ${line}: error: unknown command 'oops'`, { sieve: broken, vacation })).toBe(
      "declared: line 6: error: unknown command 'oops'",
    );
    const before = compiled.findIndex((text) => text.includes('copy')) + 1;
    expect(translateLines(`line ${before}:`, { sieve: broken, vacation })).toBe('line 3:');
  });

  it('leaves it when there is nothing in front', () => {
    expect(translateLines('line 6: error', { sieve: broken })).toBe('line 6: error');
  });
});

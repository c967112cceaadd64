import type { MailboxResolved } from '../../crds/mailbox.js';

type Declared = Pick<MailboxResolved, 'sieve' | 'vacation'>;

/**
 * The script that runs before the person's own: the declared one, with the vacation action in front. Null: nothing is
 * declared. Sieve wants every `require` first (RFC 5228, 3.2), so those of the declared script are passed over.
 *
 * @param addresses own addresses: only mail to one of them is answered (RFC 5230, 4.5)
 */
export function declaredScript({ sieve, vacation }: Declared, addresses: readonly string[]): string | null {
  if (vacation === undefined) return sieve === undefined || sieve.trim() === '' ? null : sieve;
  const script = sieve ?? '';
  const { head, rest } = split(script);
  const needs = vacation.from === undefined && vacation.until === undefined ? [] : ['date', 'relational'];
  const requires = `require [${['vacation', ...needs].map(quote).join(', ')}]; `;
  return `${requires}${head}\n${vacationBlock(vacation, addresses)}${rest}`;
}

/**
 * What the compiler said, with the lines of the declared script in the place of those that were compiled.
 * A line of the vacation action becomes line 0, which a person never wrote.
 */
export function translateLines(error: string, declared: Declared): string {
  if (declared.vacation === undefined) return error;
  const { head } = split(declared.sieve ?? '');
  const before = lines(head);
  const added = lines(`\n${vacationBlock(declared.vacation, [])}`);
  return error.replace(/\bline (\d+)/g, (_, digits: string) => `line ${original(Number(digits), before, added)}`);
}

function original(line: number, before: number, added: number): number {
  if (line <= before + 1) return line;
  return line > before + added ? line - added : 0;
}

function lines(text: string): number {
  return text.split('\n').length - 1;
}

const BLANK = /\s+|#[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\//y;
const REQUIRE = /require\s*(?:"(?:[^"\\]|\\.)*"|\[[^\]]*\])\s*;/iy;

/** Blanks, comments and requires at the start of a script, and the rest of it. */
function split(script: string): { head: string; rest: string } {
  let end = 0;
  let position = 0;
  for (;;) {
    const blank = lengthAt(BLANK, script, position);
    const require = blank > 0 ? 0 : lengthAt(REQUIRE, script, position);
    if (blank + require === 0) return { head: script.slice(0, end), rest: script.slice(end) };
    position += blank + require;
    if (require > 0) end = position;
  }
}

function lengthAt(pattern: RegExp, text: string, position: number): number {
  pattern.lastIndex = position;
  return pattern.exec(text)?.[0].length ?? 0;
}

/** Ends in a line break. Suspected spam is not answered: its sender is seldom the one that it names. */
function vacationBlock(vacation: NonNullable<Declared['vacation']>, addresses: readonly string[]): string {
  const { subject, message, from, until, everyDays } = vacation;
  const tests = [
    'not header :is "X-Spam" "Yes"',
    ...(from === undefined ? [] : [dateTest('ge', from)]),
    ...(until === undefined ? [] : [dateTest('le', until)]),
  ];
  const about = subject === undefined ? '' : ` :subject ${quote(subject)}`;
  return [
    `if allof (${tests.join(', ')}, true) {`,
    `vacation :days ${everyDays}${about} :addresses [${addresses.map(quote).join(', ')}] text:`,
    ...message.split(/\r?\n/).map((line) => (line.startsWith('.') ? `.${line}` : line)),
    '.',
    ';',
    '}',
    '',
  ].join('\n');
}

function dateTest(relation: 'ge' | 'le', day: string): string {
  return `currentdate :zone "+0000" :value "${relation}" "date" "${day}"`;
}

/** A quoted string (RFC 5228, 2.4.2). */
function quote(text: string): string {
  return `"${text.replace(/[\\"]/g, '\\$&')}"`;
}

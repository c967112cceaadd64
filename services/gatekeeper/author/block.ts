/**
 * A raw header block as fields (RFC 5322, sections 2.2 and 3.6.8), strictly: whatever another reader could take for
 * something else (a bare CR, a name with a space before its colon, a line that is no field) is refused, not guessed.
 */
import { refuse } from './problem.js';

/** One header field. */
export interface Field {
  /** In lower case. */
  readonly name: string;
  /** What follows the colon, folded lines and all (broken by LF alone), without the last line break. */
  readonly body: string;
}

/** Longest header block, in characters: much more than any client writes, and readable in a few milliseconds. */
export const BLOCK_LIMIT = 256 * 1024;

/** RFC 5322, 3.6.8: printable ASCII but for the colon, which follows at once. */
const FIELD = /^([!-9;-~]+):/;
const SPACE_BEFORE_COLON = /^[!-9;-~]+[ \t]+:/;

/**
 * Splits a header block. It may end with the empty line, and must not go on after it.
 * @throws AuthorProblem
 */
export function parseBlock(raw: string): Field[] {
  checkCharacters(raw);
  const lines = raw.split(/\r?\n/);
  while (lines.at(-1) === '') lines.pop();
  const fields: { name: string; body: string }[] = [];
  for (const line of lines) {
    if (line === '') refuse('empty-line', 'the header has an empty line in its middle; remove it');
    if (/^[ \t]/.test(line)) fold(fields, line);
    else fields.push(readField(line));
  }
  return fields;
}

function checkCharacters(raw: string): void {
  if (raw.length > BLOCK_LIMIT) {
    refuse('too-long', `the header is longer than ${BLOCK_LIMIT / 1024} KiB; send it with fewer header fields`);
  }
  if (raw.includes('\0')) refuse('nul', 'the header holds a NUL character; remove it');
  if (/\r(?!\n)/.test(raw)) {
    refuse('bare-cr', 'the header holds a carriage return that ends no line; end lines with CR LF');
  }
}

function fold(fields: { body: string }[], line: string): void {
  const last = fields.at(-1);
  if (!last) refuse('fold-first', 'the header begins with a folded line; begin it with a field name');
  last.body += `\n${line}`;
}

function readField(line: string): { name: string; body: string } {
  const match = FIELD.exec(line);
  if (match) return { name: (match[1] as string).toLowerCase(), body: line.slice(match[0].length) };
  if (SPACE_BEFORE_COLON.test(line)) {
    refuse('space-before-colon', 'a header field has a space before its colon; write "From:", not "From :"');
  }
  return refuse('not-a-field', 'a line of the header is neither a field nor folded; write "Name: value"');
}

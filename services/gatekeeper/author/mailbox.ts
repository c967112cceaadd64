/**
 * The one mailbox of an author field: `[display-name] <addr-spec>` or `addr-spec` (RFC 5322, 3.4), and nothing of what
 * readers disagree about: no comments, groups, lists, routes, quoted or folded addresses, octets outside ASCII.
 * The only obsolete form that is taken is a dot in an unquoted display name ("John Q. Public"), which is harmless.
 */
import { decodePhrase } from './encoded-word.js';
import { refuse } from './problem.js';

/** What an author field says. */
export interface Author {
  /** In lower case. */
  readonly address: string;
  /** What a mail reader shows as the name, decoded; '' without one. */
  readonly display: string;
}

interface Token {
  readonly type: 'space' | 'atom' | 'quoted' | 'special';
  /** Of a quoted string: its content, unescaped. Of white space: one space. */
  readonly text: string;
}

/** RFC 5321, 4.5.3.1.3, without the brackets. */
const ADDRESS_LIMIT = 254;
/** Longest field, in characters. */
const BODY_LIMIT = 2_000;

const FORM = 'write it as: Name <address@domain>';

/**
 * Reads the body of From, Sender, Resent-From or Resent-Sender.
 * @throws AuthorProblem
 */
export function parseAuthor(body: string): Author {
  checkCharacters(body);
  const tokens = trim(tokenise(body));
  if (tokens.length === 0) refuse('empty', `it is empty; ${FORM}`);
  checkSpecials(tokens);
  const open = tokens.findIndex((token) => isSpecial(token, '<'));
  if (open === -1) return { display: '', address: readAddress(tokens) };
  if (!isSpecial(tokens.at(-1), '>')) refuse('after-address', `something follows the address; ${FORM}`);
  const address = readAddress(tokens.slice(open + 1, -1));
  return { display: readName(tokens.slice(0, open), address), address };
}

/** Octets that have no place in these fields, and white space that is no folding white space (RFC 5322, 3.2.2). */
function checkCharacters(body: string): void {
  if (body.length > BODY_LIMIT) refuse('long-field', 'it is too long; shorten the name');
  if (/[^\0-\x7f]/.test(body)) {
    refuse('non-ascii', 'it holds characters outside ASCII; encode the name by RFC 2047');
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\0-\x08\x0b-\x1f\x7f]/.test(body)) refuse('control', 'it holds a control character; remove it');
  if (/\n[ \t]*(\n|$)/.test(body)) refuse('blank-fold', 'it is folded onto an empty line; put it on one line');
}

const TOKEN = /([ \t\n]+)|([A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)|"((?:[^"\\]|\\[\s\S])*)"|([()<>[\]:;@\\,."])/y;

function tokenise(body: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  for (let at = 0; at < body.length; at = TOKEN.lastIndex) {
    const match = TOKEN.exec(body);
    if (!match) refuse('syntax', `it can't be read; ${FORM}`);
    tokens.push(tokenOf(match));
  }
  return tokens;
}

function tokenOf([, space, atom, quoted, special]: RegExpExecArray): Token {
  if (space !== undefined) return { type: 'space', text: ' ' };
  if (atom !== undefined) return { type: 'atom', text: atom };
  // Folding inside a quoted string: the line break goes, the white space stays (3.2.4).
  if (quoted !== undefined) return { type: 'quoted', text: quoted.replaceAll('\n', '').replace(/\\([\s\S])/g, '$1') };
  return { type: 'special', text: special ?? '' };
}

function trim(tokens: Token[]): Token[] {
  const from = tokens[0]?.type === 'space' ? 1 : 0;
  const to = tokens.at(-1)?.type === 'space' ? tokens.length - 1 : tokens.length;
  return tokens.slice(from, Math.max(to, from));
}

const isSpecial = (token: Token | undefined, text: string): boolean => token?.type === 'special' && token.text === text;

const BRACKET = 'it holds a square bracket; an address here has a domain name, and a name with brackets has quotes';

/** Each special character that makes it something else than one plain mailbox: kind, text. */
const FORBIDDEN: ReadonlyArray<readonly [string, string, string]> = [
  ['"', 'open-quote', 'a quote is opened and not closed; close it'],
  ['\\', 'backslash', `it holds a backslash outside quotes; ${FORM}`],
  ['(', 'comment', `it holds a comment in parentheses; ${FORM}`],
  [')', 'comment', `it holds a comment in parentheses; ${FORM}`],
  [';', 'group', `it uses the syntax of groups; ${FORM}`],
  [':', 'group', `it uses the syntax of groups or routes; ${FORM}`],
  [',', 'several', 'it names more than one author, or a name with a comma that is not in quotes; name one author'],
  ['[', 'domain-literal', BRACKET],
  [']', 'domain-literal', BRACKET],
];

function checkSpecials(tokens: Token[]): void {
  for (const [character, kind, text] of FORBIDDEN) {
    if (tokens.some((token) => isSpecial(token, character))) refuse(kind, text);
  }
  const count = (text: string) => tokens.filter((token) => isSpecial(token, text)).length;
  if (count('<') > 1 || count('>') > 1) refuse('several', 'it holds more than one address; name one author');
  if (count('<') < count('>')) refuse('syntax', `it can't be read; ${FORM}`);
}

function readName(tokens: Token[], address: string): string {
  const words = trim(tokens).map(({ text }) => text);
  const name = words.join('');
  // Some programs put the address itself in the place of a missing name: whichever is read, it is the same.
  if (name.toLowerCase() === address) return '';
  if (tokens.some((token) => isSpecial(token, '@'))) {
    refuse('address-as-name', 'an address stands where the name belongs; leave it out, or put it in quotes');
  }
  return decodePhrase(name);
}

const DOMAIN = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Tokens between the angle brackets, or all there are. */
function readAddress(tokens: Token[]): string {
  if (tokens.length === 0) refuse('empty', `it has no address; ${FORM}`);
  if (tokens.some(({ type }) => type === 'space')) {
    refuse('space-in-address', `there is white space inside the address, or no <> around it; ${FORM}`);
  }
  if (tokens.some(({ type }) => type === 'quoted')) refuse('quoted-local-part', `the address holds quotes; ${FORM}`);
  const words = tokens.map(({ text }) => text);
  return checkAddress(words.join('').toLowerCase());
}

function checkAddress(address: string): string {
  const [local = '', domain, ...more] = address.split('@');
  if (domain === undefined) refuse('no-domain', `the address has no @domain; ${FORM}`);
  if (more.length > 0) refuse('several', 'the address has more than one @; name one author');
  if (address.includes('=?')) refuse('encoded-address', 'the address itself is encoded; encode the name only');
  if (local.split('.').includes('')) {
    refuse('dots', `the part before @ is empty, or has a dot at an end or two in a row; ${FORM}`);
  }
  if (!DOMAIN.test(domain) || address.length > ADDRESS_LIMIT) {
    refuse('domain', `the part after @ is no domain name; ${FORM}`);
  }
  return address;
}

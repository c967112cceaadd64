/** Who a message says that it is from: every address in its author fields, from a strict reading of the raw header. */
import { domainToASCII } from 'node:url';
import { type Field, parseBlock } from './block.js';
import { type Author, parseAuthor } from './mailbox.js';
import { AuthorProblem, refuse } from './problem.js';

/** One author field. */
export interface Claim {
  /** As people write it: "From", "Resent-Sender". */
  readonly field: string;
  readonly address: string;
  /** Other addresses that the display name shows, in lower case; to be checked if their domain is ours. */
  readonly shown: readonly string[];
}

/** Resent fields stand once per time that the message was resent (RFC 5322, 3.6.6); the others once. */
const FIELDS = new Map([
  ['from', { title: 'From', most: 1 }],
  ['sender', { title: 'Sender', most: 1 }],
  ['resent-from', { title: 'Resent-From', most: 10 }],
  ['resent-sender', { title: 'Resent-Sender', most: 10 }],
]);

/** More addresses in one display name than this are refused: no name needs them, and each costs a look-up. */
const SHOWN_LIMIT = 4;

/**
 * Reads all author fields of a header block. There is exactly one From, and each field has exactly one mailbox.
 * @throws AuthorProblem
 */
export function readClaims(raw: string): Claim[] {
  const fields = parseBlock(raw);
  const claims = [...FIELDS].flatMap(([name, { title, most }]) => {
    const found = fields.filter((field) => field.name === name);
    if (found.length > most) refuse('repeated', `the message has more than one ${title} field; send it with one`);
    return found.map((field) => readClaim(title, field));
  });
  if (claims[0]?.field !== 'From') refuse('no-from', 'the message has no From field; add one with your address');
  return claims;
}

function readClaim(title: string, field: Field): Claim {
  const author = readAuthor(title, field);
  const shown = addressesShown(author);
  if (shown.length > SHOWN_LIMIT) {
    refuse('addresses-in-name', `the name in ${title} holds ${shown.length} addresses; leave them out of the name`);
  }
  return { field: title, address: author.address, shown };
}

function readAuthor(title: string, { body }: Field): Author {
  try {
    return parseAuthor(body);
  } catch (error) {
    if (error instanceof AuthorProblem) refuse(error.kind, `${title} can't be accepted: ${error.message}`);
    throw error;
  }
}

/**
 * What looks like an address in a display name, to a person: compatibility forms (fullwidth letters, other at signs)
 * are made plain, invisible characters and white space around @ are left out.
 */
function addressesShown({ display, address }: Author): string[] {
  const plain = display
    .normalize('NFKC')
    .replace(/\p{Cf}/gu, '')
    .toLowerCase()
    .replace(/\s*@\s*/g, '@');
  const words = plain.split(/[\s<>()[\]{}"'`,;:|/\\]+/).filter((word) => word.includes('@'));
  return [...new Set(words.flatMap(addressOf))].filter((found) => found !== address);
}

/** Every `local@domain` of a word: `a@b.example@c.example` holds two. */
function addressOf(word: string): string[] {
  const parts = word.split('@');
  return parts.slice(1).flatMap((domain, before) => {
    const local = parts[before] ?? '';
    const ascii = domainToASCII(domain.replace(/[^\p{L}\p{N}]+$/u, ''));
    return ascii === '' || local === '' ? [] : [`${local}@${ascii}`];
  });
}

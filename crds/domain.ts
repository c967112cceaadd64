import { domainToASCII } from 'node:url';

/** Longest domain in octets, without the root's dot (RFC 1035, 2.3.4). */
export const DOMAIN_MAX_LENGTH = 253;

// A letter, digit or anything beyond ASCII; written as the complement because JavaScript and RE2
// share no other notation for "beyond ASCII".
const ALNUM = '[^\\x00-\\x2F\\x3A-\\x40\\x5B-\\x60\\x7B-\\x7F]';
const ALNUM_OR_HYPHEN = '[^\\x00-\\x2C\\x2E\\x2F\\x3A-\\x40\\x5B-\\x60\\x7B-\\x7F]';
// The top level has no digits only: 192.0.2.1 is an address, not a domain.
const NOT_A_NUMBER = '[^\\x00-\\x2F\\x30-\\x40\\x5B-\\x60\\x7B-\\x7F]';
const LABEL = `${ALNUM}(?:${ALNUM_OR_HYPHEN}{0,61}${ALNUM})?`;
const TOP_LABEL = `${NOT_A_NUMBER}(?:${ALNUM_OR_HYPHEN}{0,61}${ALNUM})?`;

/** Source of a regular expression (JavaScript and RE2) without anchors, for use in longer ones. */
export const DOMAIN_PATTERN_SOURCE = `(?:${LABEL}\\.)+${TOP_LABEL}`;

/**
 * What the API server checks: shape only. Internationalised names may be written in Unicode or in A-labels;
 * `parseDomain` also checks what a regular expression can't (IDNA mapping, total length).
 */
export const DOMAIN_PATTERN = new RegExp(`^${DOMAIN_PATTERN_SOURCE}$`);

/** What is wrong when DOMAIN_PATTERN does not match. */
export const DOMAIN_MESSAGE =
  'must be a domain with at least two labels of letters, digits and inner hyphens, such as example.org';

const ASCII_DOMAIN = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Canonical form of a domain: IDNA A-labels (UTS #46, non-transitional), lower case, no dot at the end.
 *
 * @param text a domain of at least two labels; one dot at the end is accepted
 * @throws Error that says what is wrong with which domain
 */
export function parseDomain(text: string): string {
  const name = text.endsWith('.') ? text.slice(0, -1) : text;
  // domainToASCII parses hosts of URLs: it would decode %41, cut at "/", and read 0x7f.1 as 127.0.0.1.
  if (!DOMAIN_PATTERN.test(name)) throw invalid(text, DOMAIN_MESSAGE);
  const ascii = domainToASCII(name);
  if (ascii === '') throw invalid(text, 'is not a valid internationalised domain (IDNA)');
  if (ascii.length > DOMAIN_MAX_LENGTH) throw invalid(text, `is longer than ${DOMAIN_MAX_LENGTH} octets`);
  if (!ASCII_DOMAIN.test(ascii)) throw invalid(text, DOMAIN_MESSAGE);
  return ascii;
}

function invalid(text: string, problem: string): Error {
  return new Error(`domain ${JSON.stringify(text)} ${problem}`);
}

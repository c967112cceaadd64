import { DOMAIN_PATTERN_SOURCE, parseDomain } from './domain.js';

/** Longest local part in octets (RFC 5321, 4.5.3.1.1). */
export const LOCAL_MAX_LENGTH = 64;

/** Longest address in octets: a path of 256 without its angle brackets (RFC 5321, 4.5.3.1.3). */
export const ADDRESS_MAX_LENGTH = 254;

/** An e-mail address in canonical form. */
export interface Address {
  /** Local part without the detail, lower case. */
  readonly local: string;
  /** What follows the first "+" of the local part (RFC 5233), lower case; absent when there is no "+". */
  readonly detail?: string;
  /** Domain in A-labels, lower case. */
  readonly domain: string;
}

// RFC 5322, 3.2.3
const DOT_ATOM = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/;

// Left out of dot-atom on purpose: "+" starts a detail, "!" and "%" are routes to Postfix, "=" belongs to
// rewritten senders (SRS, BATV), a leading "-" is refused by Postfix, the rest is trouble in shells and paths.
/** What may stand before the @ of an address that is hosted here. */
export const HOSTED_LOCAL_SOURCE = "[A-Za-z0-9_'&~][A-Za-z0-9_'&~-]*(?:\\.[A-Za-z0-9_'&~-]+)*";

/** What the API server checks for an address that can be hosted here: shape only (JavaScript and RE2). */
export const HOSTED_ADDRESS_PATTERN = new RegExp(`^${HOSTED_LOCAL_SOURCE}@${DOMAIN_PATTERN_SOURCE}$`);

/**
 * What may stand before the @ of another server's address: details (Gmail's) and more, but no routes, so "!", "%" and a
 * leading "-" stay out.
 */
export const TARGET_LOCAL_SOURCE = "[A-Za-z0-9_'&~+=/#][A-Za-z0-9_'&~+=/#-]*(?:\\.[A-Za-z0-9_'&~+=/#-]+)*";

/** What the API server checks for an address that mail may be forwarded to: shape only (JavaScript and RE2). */
export const TARGET_ADDRESS_PATTERN = new RegExp(`^${TARGET_LOCAL_SOURCE}@${DOMAIN_PATTERN_SOURCE}$`);

/** What is wrong when TARGET_ADDRESS_PATTERN does not match. */
export const TARGET_ADDRESS_MESSAGE =
  "must be an address such as ariel.fundraiser@gmail.example: before the @ letters, digits and _ ' & ~ + = / # - with single dots between, after it a domain";

/** What is wrong when HOSTED_ADDRESS_PATTERN does not match. */
export const HOSTED_ADDRESS_MESSAGE =
  "must be an address such as mallory@example.org: before the @ letters, digits and _ ' & ~ - with single dots between, after it a domain";

/**
 * Parses any address that mail may be sent to or from: a dot-atom, "@", a domain. Quoted local parts, comments,
 * address literals and UTF-8 local parts are refused.
 *
 * @throws Error that says what is wrong with which address
 */
export function parseAddress(text: string): Address {
  const at = text.lastIndexOf('@');
  if (at < 0) throw invalid(text, 'has no @: write it as name@example.org');
  const written = text.slice(0, at);
  checkLocal(text, written);
  const domain = domainOf(text, text.slice(at + 1));
  const canonical = `${written.toLowerCase()}@${domain}`;
  if (canonical.length > ADDRESS_MAX_LENGTH) throw invalid(text, `is longer than ${ADDRESS_MAX_LENGTH} octets`);
  return { ...splitDetail(written.toLowerCase()), domain };
}

/**
 * Canonical form of an address that a mailbox or alias may have. Stricter than `parseAddress`: no detail, and no
 * characters that mean something else to a mail server.
 *
 * @throws Error that says what is wrong with which address
 */
export function parseHostedAddress(text: string): string {
  const address = parseAddress(text);
  if (address.detail !== undefined) {
    throw invalid(text, 'has a "+": what follows it is a detail that senders choose, so leave it out');
  }
  if (!HOSTED_ADDRESS_PATTERN.test(text)) throw invalid(text, HOSTED_ADDRESS_MESSAGE);
  return formatAddress(address);
}

/** The inverse of `parseAddress`, up to case and IDNA. */
export function formatAddress({ local, detail, domain }: Address): string {
  return detail === undefined ? `${local}@${domain}` : `${local}+${detail}@${domain}`;
}

function checkLocal(text: string, local: string): void {
  if (local === '') throw invalid(text, 'has nothing before the @');
  if (local.startsWith('"')) throw invalid(text, 'has a quoted local part, which is not supported');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is ASCII
  if (/[^\x00-\x7f]/.test(local)) throw invalid(text, 'has a local part beyond ASCII, which is not supported');
  if (local.length > LOCAL_MAX_LENGTH) throw invalid(text, `has more than ${LOCAL_MAX_LENGTH} octets before the @`);
  if (!DOT_ATOM.test(local)) {
    throw invalid(text, 'has a local part that is not made of words with single dots between (RFC 5322 dot-atom)');
  }
}

function domainOf(text: string, domain: string): string {
  if (domain === '') throw invalid(text, 'has no domain after the @');
  if (domain.startsWith('[')) throw invalid(text, 'has an address literal for a domain, which is not supported');
  if (domain.endsWith('.')) throw invalid(text, 'ends in a dot');
  try {
    return parseDomain(domain);
  } catch (error) {
    throw invalid(text, `is invalid: ${(error as Error).message}`);
  }
}

function splitDetail(local: string): { local: string; detail?: string } {
  const plus = local.indexOf('+');
  // "+x" has no base: the plus is then part of the name.
  return plus < 1 ? { local } : { local: local.slice(0, plus), detail: local.slice(plus + 1) };
}

function invalid(text: string, problem: string): Error {
  return new Error(`address ${JSON.stringify(text)} ${problem}`);
}

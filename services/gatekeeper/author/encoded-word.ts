/** Encoded words (RFC 2047) in a display name: read as a mail reader shows them, or refused. */
import { refuse } from './problem.js';

/** Charset (a language after `*` is RFC 2231), encoding, text. */
const WORD = /=\?([A-Za-z0-9._:-]+)(?:\*[A-Za-z0-9-]*)?\?([BbQq])\?([^?\s]*)\?=/g;
/** White space between two encoded words is not shown (RFC 2047, 6.2). */
const BETWEEN = /(\?=)\s+(?==\?[A-Za-z0-9._*:-]+\?[BbQq]\?[^?\s]*\?=)/g;

/** What a reader would show as something else than it is: control and direction characters, non-characters. */
const MISLEADING = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ufffe\uffff]/u;

interface Part {
  /** Plain text, or the charset of `octets`. */
  readonly charset: string | undefined;
  readonly octets: Buffer;
}

/**
 * The text of a display name. Encoded words count in quotes too: by the rules they mean nothing there, but many readers
 * decode them all the same, and many clients write them so.
 * @throws AuthorProblem
 */
export function decodePhrase(phrase: string): string {
  const shown = phrase.includes('=?') ? joined(split(phrase)).map(decode).join('') : phrase;
  // Encoded twice, or not to its end.
  if (shown.includes('=?')) unreadable();
  if (MISLEADING.test(shown.replaceAll('\t', ' '))) {
    refuse('hidden-characters', 'the name hides line breaks, control or direction characters; remove them');
  }
  return shown.replace(/\s+/g, ' ').trim();
}

function unreadable(): never {
  refuse('encoded-word', 'the name is encoded in a way that cannot be read; encode it in UTF-8 by RFC 2047');
}

function split(phrase: string): Part[] {
  const text = phrase.replace(BETWEEN, '$1');
  const parts: Part[] = [];
  const plain = (from: number, to?: number): void => {
    const slice = text.slice(from, to);
    // White space must stand around an encoded word (RFC 2047, 5): without it, some readers decode and others don't.
    if ((from > 0 && /^\S/.test(slice)) || (to !== undefined && /\S$/.test(slice))) unreadable();
    if (slice !== '') parts.push({ charset: undefined, octets: Buffer.from(slice) });
  };
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    const [whole, charset = '', encoding = '', content = ''] = match;
    plain(end, match.index);
    parts.push({
      charset: charset.toLowerCase(),
      octets: /b/i.test(encoding) ? Buffer.from(content, 'base64') : fromQ(content),
    });
    end = match.index + whole.length;
  }
  plain(end);
  return parts;
}

/** RFC 2047, 4.2. */
function fromQ(content: string): Buffer {
  const text = content
    .replaceAll('_', ' ')
    .replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(text, 'latin1');
}

/** Octets of one character may be split between two words, against the rules: join first, then decode. */
function joined(parts: Part[]): Part[] {
  const result: Part[] = [];
  for (const part of parts) {
    const last = result.at(-1);
    if (last?.charset !== undefined && last.charset === part.charset) {
      result[result.length - 1] = { charset: last.charset, octets: Buffer.concat([last.octets, part.octets]) };
    } else {
      result.push(part);
    }
  }
  return result;
}

/** Refuses a charset that is unknown (UTF-7 among them), and octets that are no text in it. */
function decode({ charset, octets }: Part): string {
  try {
    return new TextDecoder(charset ?? 'utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    return unreadable();
  }
}

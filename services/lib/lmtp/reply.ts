/** A reply of LMTP (RFC 2033, RFC 5321 section 4.2): its code and the text of its lines, enhanced status code included. */
export interface Reply {
  readonly code: number;
  readonly lines: readonly string[];
}

/** The reply of one line; a character that would end the line becomes a space. */
export function reply(code: number, text: string): Reply {
  return { code, lines: [text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 400)] };
}

/** It says that the thing is done. */
export function isPositive({ code }: Reply): boolean {
  return code >= 200 && code < 300;
}

/** As it goes over the wire. */
export function formatReply({ code, lines }: Reply): string {
  const last = lines.length - 1;
  return lines.map((line, n) => `${code}${n < last ? '-' : ' '}${line}\r\n`).join('');
}

/** Longest line of a reply; RFC 5321 asks for 512 octets. */
const LINE_LIMIT = 4096;
const LINES_LIMIT = 200;

/** What a reader has made of the octets so far. */
export interface ReplyReader {
  /** Complete replies in these octets and what came before. @throws Error for what is no reply. */
  push(chunk: Buffer): Reply[];
}

/** Reads replies, in whatever pieces they come. Octets are kept one by one (latin1), so that they can be passed on. */
export function createReplyReader(): ReplyReader {
  let rest = '';
  let code: string | undefined;
  let lines: string[] = [];
  const take = (line: string): Reply | undefined => {
    const match = /^([2-5]\d\d)(?:([ -])(.*))?$/.exec(line);
    if (match === null || (code !== undefined && code !== match[1]))
      throw new Error(`not a reply: ${line.slice(0, 80)}`);
    lines.push(match[3] ?? '');
    code = match[1];
    if (lines.length > LINES_LIMIT) throw new Error('a reply without an end');
    if (match[2] === '-') return undefined;
    const complete = { code: Number(code), lines };
    code = undefined;
    lines = [];
    return complete;
  };
  return {
    push: (chunk) => {
      const replies: Reply[] = [];
      const parts = (rest + chunk.toString('latin1')).split('\n');
      rest = parts.pop() ?? '';
      if (rest.length > LINE_LIMIT) throw new Error('a reply without an end');
      for (const part of parts) {
        const complete = take(part.replace(/\r$/, ''));
        if (complete) replies.push(complete);
      }
      return replies;
    },
  };
}

/** The octets of a message between DATA and its end (RFC 5321, section 4.5.2). */

const DOT = 0x2e;
const LF = 0x0a;
const CR = 0x0d;
const DOT_LINE = Buffer.from('\r\n.');
/** What ends a message, with the end of its last line. */
export const END = Buffer.from('\r\n.\r\n');

/** Where lines begin with a dot. */
function* dotLines(content: Buffer): Generator<number> {
  if (content[0] === DOT) yield 0;
  for (let at = content.indexOf(DOT_LINE); at !== -1; at = content.indexOf(DOT_LINE, at + 3)) yield at + 2;
}

/**
 * As it has to be sent: a second dot where a line begins with one. The same buffer when there is none, as nearly always.
 * The content is taken to begin a line.
 */
export function stuff(content: Buffer): Buffer {
  let dots = 0;
  for (const _ of dotLines(content)) dots += 1;
  if (dots === 0) return content;
  const target = Buffer.allocUnsafe(content.length + dots);
  let [from, to] = [0, 0];
  for (const at of dotLines(content)) {
    to += content.copy(target, to, from, at);
    target[to] = DOT;
    to += 1;
    from = at;
  }
  content.copy(target, to, from);
  return target;
}

/** Takes away what {@link stuff} adds; in place. */
export function unstuff(content: Buffer): Buffer {
  let [from, to] = [0, 0];
  for (const at of [...dotLines(content)]) {
    content.copyWithin(to, from, at);
    to += at - from;
    from = at + 1;
  }
  if (from === 0) return content;
  content.copyWithin(to, from);
  return content.subarray(0, to + content.length - from);
}

/**
 * Every line ends with CRLF, the last one too. The same buffer when that is so already: mail servers send nothing else, and
 * what a single LF is taken for differs between programs, which is how messages are smuggled.
 */
export function withLineEnds(content: Buffer): Buffer {
  let bare = 0;
  for (let at = content.indexOf(LF); at !== -1; at = content.indexOf(LF, at + 1)) {
    if (content[at - 1] !== CR) bare += 1;
  }
  const ended = content.length === 0 || content[content.length - 1] === LF;
  if (bare === 0 && ended) return content;
  const pieces: Buffer[] = [];
  let from = 0;
  for (let at = content.indexOf(LF); at !== -1; at = content.indexOf(LF, from)) {
    pieces.push(content.subarray(from, content[at - 1] === CR ? at - 1 : at), CRLF);
    from = at + 1;
  }
  if (from < content.length) pieces.push(content.subarray(from), CRLF);
  return Buffer.concat(pieces);
}

const CRLF = Buffer.from('\r\n');

/** Collects what a client sends after DATA, until its end. */
export interface Collector {
  /** Takes octets; what is left over after the end, or undefined when the end has not come. */
  push(chunk: Buffer): Buffer | undefined;
  /** Octets so far. */
  readonly length: number;
  /** Keeps nothing of what came and will come; its end is still found. */
  discard(): void;
  /** The content, as it came but for doubled dots; undefined when it was discarded. Call it once, after the end. */
  take(): Buffer | undefined;
}

export function createCollector(): Collector {
  let chunks: Buffer[] | undefined = [];
  let length = 0;
  // As if a line had just ended: a message may be empty.
  let tail: Buffer = Buffer.from('\r\n');
  return {
    push: (chunk) => {
      const end = endOf(tail, chunk);
      if (end === undefined) {
        chunks?.push(chunk);
        length += chunk.length;
        tail = lastOctets(tail, chunk);
        return undefined;
      }
      // The content ends with its last line, which may be in an earlier chunk.
      chunks?.push(chunk.subarray(0, Math.max(end + 2, 0)));
      length += end + 2;
      return chunk.subarray(end + END.length);
    },
    get length() {
      return length;
    },
    discard: () => {
      chunks = undefined;
    },
    take: () => chunks && unstuff(gather(chunks, length)),
  };
}

/** Where in the chunk `\r\n.\r\n` begins; negative when it does so in what was before. */
function endOf(tail: Buffer, chunk: Buffer): number | undefined {
  const across = Buffer.concat([tail, chunk.subarray(0, 4)]).indexOf(END);
  if (across !== -1) return across - tail.length;
  const within = chunk.indexOf(END);
  return within === -1 ? undefined : within;
}

function gather(chunks: readonly Buffer[], length: number): Buffer {
  return chunks.length === 1 && chunks[0] ? chunks[0].subarray(0, length) : Buffer.concat(chunks, length);
}

function lastOctets(tail: Buffer, chunk: Buffer): Buffer {
  return chunk.length >= 4 ? chunk.subarray(chunk.length - 4) : Buffer.concat([tail, chunk]).subarray(-4);
}

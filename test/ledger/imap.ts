/**
 * An IMAP client that hides nothing: what counts as acknowledged are the untagged answers to a command as well as its OK,
 * since a command for a UID that isn't there is answered with OK too.
 */
import { connect, type TLSSocket } from 'node:tls';

export interface Target {
  host: string;
  port: number;
  ca: string;
  servername: string;
}

export interface Answer {
  status: 'OK' | 'NO' | 'BAD';
  /** Of the tagged line. */
  text: string;
  /** Untagged answers, literals included. */
  lines: string[];
}

export interface Session {
  /** Sends a command, perhaps with a literal at its end (LITERAL+). Rejects when the connection ends or nothing comes for `timeoutMs`. */
  command(text: string, literal?: string): Promise<Answer>;
  close(): void;
  readonly ended: boolean;
}

/** Connects and logs in. Rejects with what the server says. */
export async function logIn(target: Target, user: string, pass: string, timeoutMs = 10_000): Promise<Session> {
  const session = open(target, timeoutMs);
  try {
    await session.greeting;
    const { status, text } = await session.command(`LOGIN "${user}" "${pass}"`);
    if (status !== 'OK') throw new Error(`LOGIN: ${status} ${text}`);
    return session;
  } catch (error) {
    session.close();
    throw error;
  }
}

function open(target: Target, timeoutMs: number): Session & { greeting: Promise<Answer> } {
  const socket: TLSSocket = connect(target);
  socket.setNoDelay(true);
  let buffer = '';
  let tags = 0;
  let ended = false;
  let pending:
    | { tag: string; lines: string[]; resolve: (answer: Answer) => void; reject: (error: Error) => void }
    | undefined;
  const end = (error: Error): void => {
    ended = true;
    socket.destroy();
    pending?.reject(error);
    pending = undefined;
  };
  const read = (): void => {
    while (pending !== undefined) {
      const line = takeLine(buffer);
      if (line === undefined) return;
      buffer = buffer.slice(line.length + 2);
      const answer = tagged(pending.tag, line);
      if (answer === undefined) {
        pending.lines.push(line);
        continue;
      }
      const { resolve, lines } = pending;
      pending = undefined;
      resolve({ ...answer, lines });
    }
  };
  const wait = (tag: string): Promise<Answer> => {
    if (ended) return Promise.reject(new Error('the connection has ended'));
    const timer = setTimeout(() => end(new Error(`no answer for ${timeoutMs} ms`)), timeoutMs);
    return new Promise<Answer>((resolve, reject) => {
      pending = { tag, lines: [], resolve, reject };
      read();
    }).finally(() => clearTimeout(timer));
  };
  socket.on('data', (chunk) => {
    buffer += chunk.toString('latin1');
    read();
  });
  socket.on('error', end);
  socket.on('close', () => end(new Error('the server hung up')));
  return {
    greeting: wait('*'),
    command: (text, literal) => {
      tags += 1;
      const tag = `t${tags}`;
      const answer = wait(tag);
      if (!ended) {
        const octets = literal === undefined ? '' : ` {${Buffer.byteLength(literal)}+}\r\n${literal}`;
        socket.write(`${tag} ${text}${octets}\r\n`);
      }
      return answer;
    },
    close: () => end(new Error('closed')),
    get ended() {
      return ended;
    },
  };
}

/** The answer that ends a command; the greeting is the one without a tag. */
function tagged(tag: string, line: string): Omit<Answer, 'lines'> | undefined {
  const match = new RegExp(`^${tag === '*' ? '\\*' : tag} (OK|NO|BAD|BYE|PREAUTH)(?: |$)(.*)`, 's').exec(line);
  if (match === null) return undefined;
  return { status: match[1] === 'OK' || match[1] === 'NO' ? match[1] : 'BAD', text: match[2] ?? '' };
}

/** The first answer of the buffer without its CRLF, literals included; undefined when it isn't complete. */
export function takeLine(buffer: string): string | undefined {
  let from = 0;
  for (;;) {
    const end = buffer.indexOf('\r\n', from);
    if (end < 0) return undefined;
    const literal = /\{(\d+)\}$/.exec(buffer.slice(from, end));
    if (literal === null) return buffer.slice(0, end);
    from = end + 2 + Number(literal[1]);
    if (buffer.length < from) return undefined;
  }
}

export interface Folder {
  name: string;
  uidValidity: number;
  messages: { uid: number; id: string; flags: string[] }[];
}

/** Selects a folder and reads which messages are in it. */
export async function select(session: Session, name: string): Promise<Folder> {
  const opened = await session.command(`SELECT ${name}`);
  if (opened.status !== 'OK') throw new Error(`SELECT ${name}: ${opened.status} ${opened.text}`);
  const uidValidity = Number(/UIDVALIDITY (\d+)/.exec(opened.lines.join('\n'))?.[1] ?? 0);
  const exists = Number(/^\* (\d+) EXISTS/m.exec(opened.lines.join('\n'))?.[1] ?? 0);
  if (exists === 0) return { name, uidValidity, messages: [] };
  const answer = await session.command('UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])');
  if (answer.status !== 'OK') throw new Error(`FETCH of ${name}: ${answer.status} ${answer.text}`);
  return { name, uidValidity, messages: answer.lines.flatMap(fetched) };
}

function fetched(line: string): Folder['messages'] {
  const uid = /^\* \d+ FETCH .*?\bUID (\d+)/s.exec(line)?.[1];
  const id = /Message-ID:\s*(<[^>\s]*>)/i.exec(line)?.[1];
  if (uid === undefined || id === undefined) return [];
  return [
    {
      uid: Number(uid),
      id,
      flags: (/FLAGS \(([^)]*)\)/.exec(line)?.[1] ?? '').split(' ').filter((flag) => flag !== ''),
    },
  ];
}

/** Names of all folders. */
export async function folders(session: Session): Promise<string[]> {
  const answer = await session.command('LIST "" "*"');
  if (answer.status !== 'OK') throw new Error(`LIST: ${answer.status} ${answer.text}`);
  return answer.lines.flatMap((line) => {
    const name = /^\* LIST \([^)]*\) \S+ ("?)(.*)\1$/.exec(line)?.[2];
    return name === undefined ? [] : [name.includes(' ') ? `"${name}"` : name];
  });
}

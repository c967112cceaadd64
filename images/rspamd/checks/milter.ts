import { connect, type Socket } from 'node:net';

/** What a mail server would say of a session. */
export interface Session {
  readonly ip?: string;
  readonly host?: string;
  readonly helo?: string;
  readonly login?: string;
  /** Which of the mail server's listeners it is. */
  readonly daemon?: string;
  readonly from: string;
  readonly to: readonly string[];
}

/** What the milter wants done. */
export interface Outcome {
  /** `accept`, or the reply for the client, for example `554 5.7.1 Spam message rejected`. */
  readonly reply: string;
  /** The message as it goes on; the one that came in when it was refused. */
  readonly message: string;
}

type Header = [name: string, value: string];

const HOSTNAME = 'mail.example.org';
/** Version 6, all actions, all of the protocol, as Postfix offers them. */
const OFFER = Buffer.from([0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff]);
/** Flags by which a milter says that it won't answer a step. */
const NO_ANSWER: Readonly<Record<string, number>> = {
  L: 0x80,
  C: 0x1000,
  H: 0x2000,
  M: 0x4000,
  R: 0x8000,
  T: 0x10000,
  N: 0x40000,
  B: 0x80000,
};

/** Plays a message to the milter at 127.0.0.1:11332 as Postfix does (milter protocol 6), and applies what it answers. */
export async function deliver(session: Session, raw: string): Promise<Outcome> {
  const wire = await open();
  try {
    wire.send('O', OFFER);
    wire.protocol = (await wire.read())[1].readUInt32BE(8);
    const refused = await envelope(wire, session);
    if (refused !== undefined) return { reply: refused, message: raw };
    const { headers, body } = parse(raw);
    for (const [name, value] of headers) {
      if (!(await goesOn(wire, 'L', text(name), text(value)))) throw new Error('refused at a header');
    }
    await goesOn(wire, 'N');
    if (body !== '') await goesOn(wire, 'B', Buffer.from(body, 'latin1'));
    wire.send('E');
    return await finish(wire, headers, body, raw);
  } finally {
    wire.close();
  }
}

async function envelope(wire: Wire, session: Session): Promise<string | undefined> {
  const { ip = '192.0.2.1', host = 'client.outside.test', helo = host, login, daemon = HOSTNAME, from, to } = session;
  macros(wire, 'C', { j: HOSTNAME, '{daemon_name}': daemon, v: 'Postfix 3.10' });
  const port = Buffer.from([0x30, 0x39]);
  if (!(await goesOn(wire, 'C', text(host), Buffer.from(ip.includes(':') ? '6' : '4'), port, text(ip)))) {
    return 'refused at connect';
  }
  if (!(await goesOn(wire, 'H', text(helo)))) return 'refused at HELO';
  macros(wire, 'M', {
    i: 'QUEUEID',
    ...(login === undefined ? {} : { '{auth_type}': 'PLAIN', '{auth_authen}': login }),
  });
  if (!(await goesOn(wire, 'M', text(`<${from}>`)))) return 'refused at MAIL';
  for (const recipient of to) {
    if (!(await goesOn(wire, 'R', text(`<${recipient}>`)))) return 'refused at RCPT';
  }
  macros(wire, 'T', { i: 'QUEUEID' });
  await goesOn(wire, 'T');
  return undefined;
}

const text = (value: string): Buffer => Buffer.from(`${value}\0`, 'latin1');

function macros(wire: Wire, command: string, values: Readonly<Record<string, string>>): void {
  wire.send('D', Buffer.from(command), ...Object.entries(values).flatMap(([name, value]) => [text(name), text(value)]));
}

async function goesOn(wire: Wire, command: string, ...data: Buffer[]): Promise<boolean> {
  wire.send(command, ...data);
  if ((wire.protocol & (NO_ANSWER[command] ?? 0)) !== 0) return true;
  const [answer] = await wire.read();
  return answer === 'c';
}

function parse(raw: string): { headers: Header[]; body: string } {
  const end = raw.indexOf('\r\n\r\n');
  const head = end < 0 ? raw : raw.slice(0, end);
  const headers = head.split(/\r\n(?![ \t])/).map((line): Header => {
    const colon = line.indexOf(':');
    return [
      line.slice(0, colon),
      line
        .slice(colon + 1)
        .replace(/^ /, '')
        .replaceAll('\r\n', '\n'),
    ];
  });
  return { headers, body: end < 0 ? '' : raw.slice(end + 4) };
}

async function finish(wire: Wire, headers: Header[], body: string, raw: string): Promise<Outcome> {
  for (;;) {
    const [answer, data] = await wire.read();
    const reply = lastWord(answer, data);
    if (reply !== undefined) return { reply, message: answer === 'r' || answer === 't' ? raw : compose(headers, body) };
    change(headers, answer, data);
  }
}

/** The reply that ends it; undefined when the milter goes on changing the message. */
function lastWord(answer: string, data: Buffer): string | undefined {
  if (answer === 'y') return data.toString('latin1').replace(/\0$/, '');
  return { a: 'accept', c: 'accept', r: '550', t: '451' }[answer];
}

const compose = (headers: readonly Header[], body: string): string =>
  [...headers.map(([name, value]) => `${name}: ${value.replaceAll(/\r?\n/g, '\r\n')}`), '', body].join('\r\n');

function change(headers: Header[], action: string, data: Buffer): void {
  const strings = (from: number): string[] => data.toString('latin1', from).split('\0');
  if (action === 'h') {
    const [name = '', value = ''] = strings(0);
    headers.push([name, value]);
  } else if (action === 'i') {
    const [name = '', value = ''] = strings(4);
    // the mail server's own Received line, which a milter never sees, counts as the first
    headers.splice(Math.max(0, data.readUInt32BE(0) - 1), 0, [name, value]);
  } else if (action === 'm') {
    const [name = '', value = ''] = strings(4);
    changeHeader(headers, data.readUInt32BE(0), name, value);
  } else {
    throw new Error(`the milter asked for ${JSON.stringify(action)}`);
  }
}

/** The `index`th header of a name gets another value, or goes when that is empty; a missing one is added. */
function changeHeader(headers: Header[], index: number, name: string, value: string): void {
  const found = headers.filter(([other]) => other.toLowerCase() === name.toLowerCase())[index - 1];
  if (found === undefined) {
    if (value !== '') headers.push([name, value]);
  } else if (value === '') {
    headers.splice(headers.indexOf(found), 1);
  } else {
    found[1] = value;
  }
}

interface Wire {
  /** The steps that the milter wants, and whether it answers them. */
  protocol: number;
  send(command: string, ...data: Buffer[]): void;
  read(): Promise<[answer: string, data: Buffer]>;
  close(): void;
}

async function open(): Promise<Wire> {
  const socket: Socket = connect({ host: '127.0.0.1', port: 11332 });
  let buffer = Buffer.alloc(0);
  let failed: Error | undefined;
  let wake = (): void => undefined;
  socket.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk]);
    wake();
  });
  socket.on('error', (error) => {
    failed = error;
  });
  socket.on('close', () => {
    failed ??= new Error('the milter closed the connection');
    wake();
  });
  socket.setTimeout(60_000, () => socket.destroy(new Error('the milter did not answer in 60 s')));
  return {
    protocol: 0,
    send: (command, ...data) => {
      const content = Buffer.concat([Buffer.from(command), ...data]);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(content.length);
      socket.write(Buffer.concat([length, content]));
    },
    read: async () => {
      while (buffer.length < 4 || buffer.length < 4 + buffer.readUInt32BE(0)) {
        if (failed) throw failed;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const length = buffer.readUInt32BE(0);
      const packet = buffer.subarray(4, 4 + length);
      buffer = buffer.subarray(4 + length);
      return [packet.toString('latin1', 0, 1), packet.subarray(1)];
    },
    close: () => socket.destroy(),
  };
}

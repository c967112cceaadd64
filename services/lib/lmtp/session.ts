import type { Socket } from 'node:net';
import { type Command, mailObstacle, type Path, parseCommand, parsePath } from './command.js';
import { type Collector, createCollector, withLineEnds } from './content.js';
import { formatReply, type Reply, reply } from './reply.js';
import type { Shared } from './transaction.js';

const LINE_LIMIT = 4096;
const RECIPIENTS_LIMIT = 1000;
const ERRORS_LIMIT = 20;
const IDLE_MS = 300_000;

const OK = reply(250, '2.0.0 ok');
const TOO_LARGE = reply(552, '5.3.4 the message is too large');
const BUSY = reply(451, '4.3.1 too much mail at once');
const FAILED = reply(451, '4.3.0 temporary failure');
const ENDING = reply(421, '4.3.2 shutting down');

interface Envelope {
  readonly mail: Path;
  readonly recipients: string[];
}

/** What a session is doing. */
interface Session {
  readonly socket: Socket;
  readonly shared: Shared;
  greeted: boolean;
  envelope: Envelope | undefined;
  collector: Collector | undefined;
  /** Of its message, in the shared memory. */
  held: number;
  tooMuch: Reply | undefined;
  errors: number;
  busy: boolean;
  ended: boolean;
}

/** Speaks LMTP with one client. */
export function serve(socket: Socket, shared: Shared): { endSoon(): void } {
  const session: Session = {
    socket,
    shared,
    greeted: false,
    envelope: undefined,
    collector: undefined,
    held: 0,
    tooMuch: undefined,
    errors: 0,
    busy: false,
    ended: false,
  };
  let rest: Buffer = Buffer.alloc(0);
  const pump = (): void => {
    consume(session, rest).then(
      (left) => {
        rest = left;
        session.busy = false;
        if (session.shared.closing && !session.collector) end(session, ENDING);
        if (!session.ended) socket.resume();
      },
      (error: Error) => socket.destroy(error),
    );
  };
  socket.on('data', (chunk: Buffer) => {
    // One chunk at a time: what is pipelined behind a message waits for its answer.
    socket.pause();
    session.busy = true;
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    pump();
  });
  socket.setTimeout(shared.options.idleMs ?? IDLE_MS, () => {
    if (!session.busy) end(session, reply(421, '4.4.2 no command for too long'));
  });
  socket.on('error', (error) => shared.options.log.debug({ err: error }, 'an LMTP connection ended with an error'));
  socket.once('close', () => {
    session.ended = true;
    // A message that is being delivered is let go of when that is done.
    if (session.collector) letGo(session);
  });
  say(session, reply(220, `${shared.options.name} LMTP`));
  return {
    endSoon: () => {
      if (!session.busy && !session.collector) end(session, ENDING);
    },
  };
}

function say({ socket, ended }: Session, ...replies: readonly Reply[]): void {
  if (!ended && socket.writable) socket.write(replies.map(formatReply).join(''), 'latin1');
}

function end(session: Session, answer: Reply): void {
  if (session.ended) return;
  say(session, answer);
  session.ended = true;
  session.socket.end();
  setTimeout(() => session.socket.destroy(), 1_000).unref();
}

/** Takes commands and content; what is left is a line that has not ended. */
async function consume(session: Session, input: Buffer): Promise<Buffer> {
  let rest = input;
  while (!session.ended && rest.length > 0) {
    const next = session.collector ? await collect(session, session.collector, rest) : commandIn(session, rest);
    if (next === undefined) return rest;
    rest = next;
  }
  return rest;
}

function commandIn(session: Session, input: Buffer): Buffer | undefined {
  const at = input.indexOf(0x0a);
  if (at === -1 || at > LINE_LIMIT) {
    if (input.length > LINE_LIMIT) end(session, reply(500, '5.5.2 the line is too long'));
    return undefined;
  }
  const command = parseCommand(input.toString('latin1', 0, at));
  answer(session, command);
  return input.subarray(at + 1);
}

function answer(session: Session, command: Command): void {
  const said = Object.hasOwn(VERBS, command.verb)
    ? (VERBS[command.verb] as (session: Session, rest: string) => Reply)(session, command.rest)
    : reply(500, '5.5.2 no such command');
  session.errors += said.code >= 500 && said.code <= 503 ? 1 : 0;
  if (session.errors > ERRORS_LIMIT) end(session, reply(421, '4.7.0 too many errors'));
  else if (said.code === 221) end(session, said);
  else say(session, said);
}

const VERBS: Readonly<Record<string, (session: Session, rest: string) => Reply>> = {
  LHLO: (session, rest) => {
    if (rest === '') return reply(501, '5.5.4 LHLO needs a name');
    session.greeted = true;
    session.envelope = undefined;
    const { name, sizeLimit } = session.shared.options;
    const lines = [name, 'PIPELINING', 'ENHANCEDSTATUSCODES', '8BITMIME', 'SMTPUTF8', `SIZE ${sizeLimit}`];
    return { code: 250, lines };
  },
  MAIL: (session, rest) => {
    const path = parsePath(rest, 'FROM');
    if (!session.greeted) return reply(503, '5.5.1 say LHLO first');
    if (session.envelope) return reply(503, '5.5.1 a message is under way');
    if (!path) return reply(501, '5.5.4 MAIL FROM:<address> is expected');
    const obstacle = session.shared.options.refuse?.() ?? mailObstacle(path, session.shared.options.sizeLimit);
    if (obstacle) return obstacle;
    session.envelope = { mail: path, recipients: [] };
    return reply(250, '2.1.0 ok');
  },
  RCPT: (session, rest) => {
    if (!session.envelope) return reply(503, '5.5.1 say MAIL first');
    const path = parsePath(rest, 'TO');
    if (!path || path.address === '') return reply(501, '5.5.4 RCPT TO:<address> is expected');
    if (path.parameters.size > 0) return reply(555, '5.5.4 parameters are not taken here');
    if (session.envelope.recipients.length >= RECIPIENTS_LIMIT) return reply(452, '4.5.3 too many recipients');
    session.envelope.recipients.push(path.address);
    return reply(250, '2.1.5 ok');
  },
  DATA: (session, rest) => {
    if (rest !== '') return reply(501, '5.5.4 DATA has no parameter');
    if (!session.envelope?.recipients.length) return reply(503, '5.5.1 no recipient');
    session.collector = createCollector();
    session.tooMuch = undefined;
    return reply(354, 'go on');
  },
  RSET: (session) => {
    session.envelope = undefined;
    return OK;
  },
  NOOP: () => OK,
  VRFY: () => reply(252, '2.5.0 send it and see'),
  QUIT: () => reply(221, '2.0.0 bye'),
};

/** Takes content; when its end is there, delivers and answers before anything else is looked at. */
async function collect(session: Session, collector: Collector, input: Buffer): Promise<Buffer> {
  const left = collector.push(input);
  hold(session, collector);
  if (left === undefined) return Buffer.alloc(0);
  const envelope = session.envelope as Envelope;
  session.collector = undefined;
  session.envelope = undefined;
  const replies = session.tooMuch
    ? envelope.recipients.map(() => session.tooMuch as Reply)
    : await deliver(session, envelope, collector);
  letGo(session);
  say(session, ...replies);
  return left;
}

/** Counts what is held, and stops holding what is too large, or too much beside other messages. */
function hold(session: Session, collector: Collector): void {
  const { options, memory } = session.shared;
  if (session.tooMuch) return;
  memory.used += collector.length - session.held;
  session.held = collector.length;
  const others = memory.used - session.held;
  if (collector.length > options.sizeLimit) session.tooMuch = TOO_LARGE;
  else if (others > 0 && memory.used > options.memoryLimit) session.tooMuch = BUSY;
  if (!session.tooMuch) return;
  collector.discard();
  letGo(session);
}

function letGo(session: Session): void {
  session.shared.memory.used -= session.held;
  session.held = 0;
}

async function deliver(
  session: Session,
  { mail, recipients }: Envelope,
  collector: Collector,
): Promise<readonly Reply[]> {
  const { options } = session.shared;
  const content = withLineEnds(collector.take() ?? Buffer.alloc(0));
  const eightBit = /^8BITMIME$/i.test(mail.parameters.get('BODY') ?? '');
  const utf8 = mail.parameters.has('SMTPUTF8');
  try {
    const replies = await options.deliver({ sender: mail.address, recipients, eightBit, utf8, content });
    if (replies.length === recipients.length) return replies;
    throw new Error(`${replies.length} replies for ${recipients.length} recipients`);
  } catch (error) {
    options.log.error({ err: error }, 'a delivery failed unexpectedly');
    return recipients.map(() => FAILED);
  }
}

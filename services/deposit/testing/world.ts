/** What a deposit has around it: a primary that speaks LMTP, peers with journals behind mutual TLS, an agent and a directory. */
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { SMTPServer } from 'smtp-server';
import { silentLog } from '../../../operator/runtime/log.js';
import { type Authority, createAuthority } from '../../../operator/runtime/testing/certificates.js';
import type { AgentState, Peer } from '../../agent/ports.js';
import { createLmtpClient } from '../../lib/lmtp/client.js';
import { type LmtpServer, startLmtpServer } from '../../lib/lmtp/server.js';
import { createPeerClient, type PeerClient } from '../../lib/peer.js';
import { createDeposit, type DepositOptions, type Result } from '../deposit.js';
import { createJournal } from '../journal.js';
import { createMemory } from '../memory.js';

/** A store that takes mail: smtp-server in LMTP mode. */
export interface Primary {
  readonly port: number;
  /** What it has, per recipient. */
  readonly stored: { to: string; from: string; content: Buffer }[];
  readonly connections: () => number;
  /** What it says to a recipient after the message; default 250. */
  answers: Record<string, { code: number; text: string } | 'drop' | 'hang' | 'store-and-drop'>;
  /** What it says to RCPT. */
  refuses: Record<string, { code: number; text: string }>;
  /** Parameters of the last MAIL. */
  parameters: unknown;
  close(): Promise<void>;
}

function settle(primary: Primary, clients: ReadonlySet<Socket>, message: Primary['stored'][number]): string | Error {
  const answer = primary.answers[message.to];
  const drops = answer === 'drop' || answer === 'store-and-drop';
  const stores = answer === undefined || answer === 'store-and-drop';
  if (stores) primary.stored.push(message);
  if (drops) for (const client of clients) client.destroy();
  if (answer === undefined) return `2.0.0 <${message.to}> stored`;
  return typeof answer === 'string' ? answer : Object.assign(new Error(answer.text), { responseCode: answer.code });
}

export async function startPrimary(): Promise<Primary> {
  let connections = 0;
  const server = new SMTPServer({
    lmtp: true,
    size: 64 * 1024 * 1024,
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    closeTimeout: 50,
    onConnect: (_session, callback) => {
      connections += 1;
      callback();
    },
    onMailFrom: (address, _session, callback) => {
      primary.parameters = address.args;
      callback();
    },
    onRcptTo: ({ address }, _session, callback) => {
      const refusal = primary.refuses[address];
      callback(refusal ? Object.assign(new Error(refusal.text), { responseCode: refusal.code }) : null);
    },
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const content = Buffer.concat(chunks);
        const { mailFrom, rcptTo } = session.envelope;
        const from = mailFrom ? mailFrom.address : '';
        const results = rcptTo.map(({ address }) => settle(primary, sockets, { to: address, from, content }));
        if (!results.includes('hang')) callback(null, results as never);
      });
    },
  });
  const sockets = new Set<Socket>();
  server.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('error', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const primary: Primary = {
    port: (server.server.address() as AddressInfo).port,
    stored: [],
    connections: () => connections,
    answers: {},
    refuses: {},
    parameters: undefined,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return primary;
}

/** A peer that keeps what it is given. */
export interface JournalPeer {
  readonly member: number;
  readonly port: number;
  readonly kept: Map<string, { epoch: string; recipient: string; sender: string; content: Buffer }>;
  handshakes(): number;
  /** Status to answer, or how to fail. */
  mode: number | 'hang' | 'reset';
  close(): Promise<void>;
}

export async function startPeer(authority: Authority, member: number): Promise<JournalPeer> {
  const { cert, key } = await authority.issue({ cn: 'posthorn_store', names: ['localhost'] });
  let handshakes = 0;
  const server: Server = createServer({ cert, key, ca: authority.cert, requestCert: true }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (peer.mode === 'reset') request.socket.destroy();
      if (typeof peer.mode === 'string') return;
      if (peer.mode === 201) keepEntry(peer, request, Buffer.concat(chunks));
      response.writeHead(peer.mode).end();
    });
  });
  server.on('secureConnection', () => {
    handshakes += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const peer: JournalPeer = {
    member,
    port: (server.address() as AddressInfo).port,
    kept: new Map(),
    handshakes: () => handshakes,
    mode: 201,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return peer;
}

function keepEntry(peer: JournalPeer, { url, headers }: IncomingMessage, content: Buffer): void {
  const text = (name: string): string => decodeURIComponent(String(headers[name]));
  const entry = { epoch: text('x-epoch'), recipient: text('x-recipient'), sender: text('x-sender'), content };
  peer.kept.set((url ?? '').replace('/v1/journal/', ''), entry);
}

export interface World {
  readonly primary: Primary;
  readonly peers: readonly JournalPeer[];
  readonly state: { -readonly [K in keyof AgentState]: AgentState[K] };
  /** Searches that were made; the mailboxes are those of the primary. */
  readonly searches: string[];
  readonly gaps: string[];
  readonly notes: string[];
  /** The agent doesn't answer. */
  silent: boolean;
  readonly results: Result[];
  /** Addresses and their mailboxes; a rejected look-up is 'down'. */
  readonly mailboxes: Record<string, string>;
  readonly options: { -readonly [K in keyof DepositOptions]?: DepositOptions[K] };
  /** The deposit's clock. */
  now: () => number;
  /** The deposit that takes mail. */
  server(): LmtpServer;
  /** The deposit's process ends and starts again: it remembers nothing. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export async function startWorld(): Promise<World> {
  const authority = await createAuthority();
  const primary = await startPrimary();
  const peers = [await startPeer(authority, 1), await startPeer(authority, 2)];
  const { cert, key } = await authority.issue({ cn: 'posthorn_store' });
  const client: PeerClient = createPeerClient({ ca: authority.cert, cert, key });
  const lmtp = createLmtpClient({ port: primary.port, name: 'deposit' });
  let server: LmtpServer;
  const start = async (): Promise<void> => {
    const memory = createMemory({ most: 1000, clock: () => world.now() });
    const journal = createJournal({ client, timeoutMs: 400, log: silentLog });
    const deliver: DepositOptions['primary']['deliver'] = (...given) => lmtp.deliver(...given);
    const deposit = createDeposit({
      state: () => world.state,
      agent: {
        search: async (user, _mailbox, id) => {
          if (world.silent) throw new Error('no answer');
          world.searches.push(user);
          return primary.stored.some(({ to, content }) => to === user && content.includes(`X-Delivery-Id: ${id}`));
        },
        gap: async (user) => void world.gaps.push(user),
        note: async (user) => void world.notes.push(user),
      },
      primary: { deliver },
      journal,
      memory,
      mailboxOf: async (address) => {
        if (world.mailboxes[address] === 'down') throw new Error('down');
        return world.mailboxes[address];
      },
      onResult: (result) => world.results.push(result),
      log: silentLog,
      timeoutMs: 5_000,
      degradeAfterMs: 500,
      ...world.options,
    });
    server = await startLmtpServer({
      host: '127.0.0.1',
      port: 0,
      name: 'deposit',
      sizeLimit: 30 * 1024 * 1024,
      memoryLimit: 64 * 1024 * 1024,
      deliver: deposit,
      log: silentLog,
    });
  };
  const world: World = {
    primary,
    peers,
    state: stateOf(peers),
    searches: [],
    gaps: [],
    notes: [],
    silent: false,
    results: [],
    mailboxes: { 'amy@example.org': 'uuid-amy', 'bob@example.org': 'uuid-bob', 'amy+x@example.org': 'uuid-amy' },
    options: {},
    // It has been running for an hour.
    now: () => Date.now() - 3_600_000,
    server: () => server,
    restart: async () => {
      await server.close();
      await start();
    },
    close: async () => {
      lmtp.close();
      client.close();
      await server.close();
      await Promise.all([primary.close(), ...peers.map((peer) => peer.close())]);
    },
  };
  await start();
  world.now = Date.now;
  return world;
}

function stateOf(peers: readonly JournalPeer[]): World['state'] {
  const others: Peer[] = peers.map(({ member, port }) => ({
    member,
    host: 'localhost',
    port,
    volume: `volume-${member}`,
    seeded: true,
    inSync: true,
  }));
  return {
    shard: 'a',
    member: 0,
    role: 'primary',
    epoch: 7,
    // Long ago: what is queued now can't have been delivered before.
    openedAt: 1,
    volume: 'volume-0',
    seeded: true,
    replicas: 3,
    peers: others,
    durability: 'Replicated',
    withoutReplica: 'Defer',
    lmtp: 0,
    promotion: 'restart',
    moves: 0,
  };
}

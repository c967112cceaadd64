/** A shard in memory, behind a real HTTP server that speaks like the agent: for tests of what the replicator makes of it. */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { createAgentClient } from '../agent.js';
import { openDirtyLog } from '../dirty-log.js';
import { createLocks } from '../locks.js';
import { openMemory } from '../memory.js';
import { createReplicatorMetrics } from '../metrics.js';
import type { Names } from '../names.js';
import { createReplicator, type Replicator } from '../replicator.js';
import { DEFAULT_TIMING } from '../schedule.js';
import { createVerbs } from '../verbs.js';

export const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const userOf = (id: string): string => `u${Number(id.slice(-12))}@example.org`;

/** A message: its GUID, and the delivery that brought it. */
type Box = Map<string, string>;

interface Side {
  volume: string;
  away: boolean;
  seeded: boolean;
  readonly boxes: Map<string, Box>;
  /** Deliveries in the journal, per mailbox. */
  readonly journal: Map<string, Set<string>>;
  readonly sieve: Map<string, string>;
}

const newSide = (volume: string, seeded: boolean): Side => ({
  volume,
  away: false,
  seeded,
  boxes: new Map(),
  journal: new Map(),
  sieve: new Map(),
});

export interface World {
  readonly folder: string;
  readonly sides: Side[];
  epoch: number;
  role: string;
  promotion: string;
  /** Mailboxes whose next syncs fail, and how often. */
  readonly failing: Map<string, number>;
  /** `MEMBER UUID` of copies that can't be read. */
  readonly damaged: Set<string>;
  /** Requests by path. */
  readonly calls: Map<string, number>;
  /** What was reported, in order. */
  readonly reports: { member: number; inSync: boolean; lagChanges: number; lagSeconds: number }[][];
  /** Something was wrong: a sync that hides what differs, a request that the agent doesn't know. */
  readonly wrong: string[];
  /** Removed from the directory. */
  readonly gone: Set<string>;
  box(member: number, id: string): Box;
  /** Changes the primary's copy, and says so, as Dovecot does; not `silently`: the process died in between. */
  deliver(id: string, delivery: string, options?: { silently?: boolean; journal?: number }): void;
  expunge(id: string): void;
  start(): Replicator;
  /** As kill -9: no step of it runs any more (as far as that can be had in one process). */
  kill(): Promise<void>;
  equal(): boolean;
  close(): Promise<void>;
}

export async function createWorld(peers: number): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'replicator-'));
  mkdirSync(join(folder, 'dirty'));
  const syncing = new Set<string>();
  let guid = 0;
  let abort = new AbortController();
  let running: Promise<void> = Promise.resolve();
  const world: World = {
    folder,
    sides: Array.from({ length: peers + 1 }, (_, n) => newSide(`volume-${n}`, true)),
    epoch: 1,
    role: 'primary',
    promotion: 'planned',
    failing: new Map(),
    damaged: new Set(),
    calls: new Map(),
    reports: [],
    wrong: [],
    gone: new Set(),
    box: (member, id) => {
      const { boxes } = world.sides[member] as Side;
      if (!boxes.has(id)) boxes.set(id, new Map());
      return boxes.get(id) as Box;
    },
    deliver: (id, delivery, { silently = false, journal } = {}) => {
      world.box(0, id).set(`g${++guid}`, delivery);
      if (journal !== undefined) journalOf(world, journal, id).add(delivery);
      if (!silently) say(folder, id);
    },
    expunge: (id) => {
      const box = world.box(0, id);
      for (const key of box.keys()) {
        box.delete(key);
        break;
      }
      say(folder, id);
    },
    start: () => {
      abort = new AbortController();
      const replicator = open(world, port);
      running = replicator.run(abort.signal);
      return replicator;
    },
    kill: async () => {
      abort.abort(new Error('killed'));
      await running;
    },
    equal: () => world.sides.slice(1).every((_, n) => sameBoxes(world, n + 1)),
    close: async () => {
      await world.kill();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  };
  const server = createServer((request, response) => {
    void body(request).then(async (fields) => {
      const url = new URL(request.url ?? '', 'http://agent');
      world.calls.set(url.pathname, (world.calls.get(url.pathname) ?? 0) + 1);
      const [status, answer] = await respond(world, syncing, url, fields);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return world;
}

function say(folder: string, id: string): void {
  appendFileSync(join(folder, 'dirty', 'log'), `${id} ${userOf(id)}\n`);
}

function journalOf(world: World, member: number, id: string): Set<string> {
  const { journal } = world.sides[member] as Side;
  if (!journal.has(id)) journal.set(id, new Set());
  return journal.get(id) as Set<string>;
}

function open(world: World, port: number): Replicator {
  const clock = (): number => performance.now();
  const log = pino({ level: process.env.REPLICATOR_TEST_LOG ?? 'silent' });
  const agent = createAgentClient({ port });
  return createReplicator({
    agent,
    verbs: createVerbs(agent),
    memory: openMemory(join(world.folder, 'replication')),
    names: namesOf(world),
    dirty: openDirtyLog({ folder: join(world.folder, 'dirty'), clock, most: 2_000, graceMs: 20 }),
    locks: createLocks(),
    metrics: createReplicatorMetrics(),
    log: log as never,
    volume: world.folder,
    timing: { ...DEFAULT_TIMING, quickMs: 5, slowMs: 50, backoffMs: [10, 50], awayMs: [10, 50] },
    compare: { workers: 1, fillWorkers: 2, everyMs: 3_600_000, retryMs: [10, 50] },
    clock,
    lookMs: 20,
    waitMs: 20,
  });
}

function namesOf(world: World): Names {
  return {
    livesHere: async (id) => !world.gone.has(id),
    uuidOf: async (user) => uuid(Number(/^u(\d+)@/.exec(user)?.[1])),
    all: async () => {
      const ids = new Set(world.sides.flatMap(({ boxes }) => [...boxes.keys()]));
      return [...ids].filter((id) => !world.gone.has(id));
    },
  };
}

function sameBoxes(world: World, member: number): boolean {
  const ids = new Set([...(world.sides[0] as Side).boxes.keys(), ...(world.sides[member] as Side).boxes.keys()]);
  return [...ids].every((id) => digest(world.box(0, id)) === digest(world.box(member, id)));
}

const digest = (box: Box): string => [...box.keys()].sort().join(' ');

async function body(request: IncomingMessage): Promise<Fields> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return chunks.length === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

interface Fields {
  user?: string;
  uuid?: string;
  peer?: number;
  state?: string;
  full?: boolean;
  member?: number;
  volume?: string;
  members?: World['reports'][number];
  files?: unknown;
}
type Answer = [number, unknown];

type Verb = (world: World, id: string, fields: Fields) => Answer | Promise<Answer>;

async function respond(world: World, syncing: Set<string>, url: URL, fields: Fields): Promise<Answer> {
  if (url.pathname === '/v1/state') return stateOf(world, url);
  if (world.role !== 'primary') return [409, { error: 'not primary' }];
  const id = fields.uuid ?? url.searchParams.get('uuid') ?? '';
  if (url.pathname === '/v1/sync') return sync(world, syncing, id, fields);
  const peer = /^\/v1\/peers\/(\d+)\/(.*)$/.exec(url.pathname);
  if (peer) return peerVerb(world, Number(peer[1]), peer[2] as string, id, fields);
  const verb = VERBS[url.pathname];
  if (verb !== undefined) return verb(world, id, fields);
  world.wrong.push(`unknown path ${url.pathname}`);
  return [404, {}];
}

const VERBS: Readonly<Record<string, Verb>> = {
  '/v1/inventory': (world, id) => [200, inventory(world.box(0, id))],
  '/v1/dedupe': (world, id) => [200, { removed: dedupe(world.box(0, id)) }],
  '/v1/sieve': (world, id) => [200, { files: [], active: world.sides[0]?.sieve.get(id) ?? '' }],
  '/v1/seeded': (world, _id, { member = -1, volume }) => {
    const side = world.sides[member];
    if (side?.volume === volume) (side as Side).seeded = true;
    return [200, { ok: true }];
  },
  '/v1/report': (world, _id, { members = [] }) => {
    world.reports.push(members);
    return [200, { ok: true }];
  },
};

async function stateOf(world: World, url: URL): Promise<Answer> {
  const end = Date.now() + Number(url.searchParams.get('wait') ?? 0);
  const known = (): boolean =>
    url.searchParams.get('epoch') === String(world.epoch) && url.searchParams.get('role') === world.role;
  while (known() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  const { epoch, role, promotion } = world;
  const peers = world.sides
    .map(({ volume, seeded }, member) => ({ member, volume, seeded, inSync: false, host: '', port: 1 }))
    .slice(1);
  return [200, { shard: 'a', member: 0, volume: 'volume-0', role, epoch, promotion, peers, seeded: true }];
}

function peerVerb(world: World, member: number, verb: string, id: string, fields: Fields): Answer {
  const side = world.sides[member] as Side;
  if (side.away) return [503, { ok: false, error: 'away' }];
  switch (verb) {
    case 'inventory':
      if (world.damaged.has(`${member} ${id}`)) return [502, { ok: false, error: 'answers 503' }];
      return [200, inventory(world.box(member, id))];
    case 'reset':
      return [200, { reset: world.damaged.delete(`${member} ${id}`) }];
    case 'journal/mark':
      return [200, { mark: 'x.1' }];
    case 'sieve':
      side.sieve.set(id, (fields as { active?: string }).active ?? '');
      return [200, { ok: true }];
    default:
      world.wrong.push(`unknown verb ${verb}`);
      return [404, {}];
  }
}

/** dsync itself waits for another sync of the mailbox: one whose asker has died may still be running. */
async function sync(world: World, syncing: Set<string>, id: string, fields: Fields): Promise<Answer> {
  while (syncing.has(id)) await new Promise((resolve) => setTimeout(resolve, 1));
  syncing.add(id);
  try {
    return await syncNow(world, id, fields);
  } finally {
    syncing.delete(id);
  }
}

async function syncNow(world: World, id: string, { peer = 0, state = '', full = false }: Fields): Promise<Answer> {
  const side = world.sides[peer] as Side;
  const { volume } = side;
  const marked = [...journalOf(world, peer, id)];
  const snapshot = new Map(world.box(0, id));
  await new Promise((resolve) => setTimeout(resolve, 2));
  if (world.gone.has(id)) return [200, { ok: false, code: 67, error: 'no such user' }];
  if (side.away || side.volume !== volume) return [503, { ok: false, error: 'cannot connect' }];
  if (world.damaged.has(`${peer} ${id}`)) return [200, { ok: false, code: 75, error: 'lost uid' }];
  const failures = world.failing.get(id) ?? 0;
  if (failures > 0) {
    world.failing.set(id, failures - 1);
    return [200, { ok: false, code: 75, error: 'failed' }];
  }
  if (!full && state === '') world.wrong.push('a sync without a state that is not full misses things');
  merge(world.box(0, id), snapshot, world.box(peer, id), new Set(state.split(',').filter(Boolean)));
  for (const delivery of marked) journalOf(world, peer, id).delete(delivery);
  return [200, { ok: true, state: [...world.box(peer, id).keys()].join(','), purged: marked.length }];
}

/** Two-way, as dsync: what both are known to have had, and the primary has removed since, goes; otherwise it is the union. */
function merge(here: Box, snapshot: Box, there: Box, known: ReadonlySet<string>): void {
  for (const [key, delivery] of [...there]) {
    if (snapshot.has(key)) continue;
    if (known.has(key)) there.delete(key);
    else if (!here.has(key)) here.set(key, delivery);
  }
  for (const [key, delivery] of snapshot) there.set(key, delivery);
}

function inventory(box: Box): object {
  if (box.size === 0) return { folders: [] };
  return {
    folders: [{ name: 'INBOX', guid: 'x', uidvalidity: 1, uidnext: 1, messages: box.size, digest: digest(box) }],
  };
}

function dedupe(box: Box): number {
  const seen = new Set<string>();
  let removed = 0;
  for (const [key, delivery] of [...box]) {
    if (seen.has(delivery)) {
      box.delete(key);
      removed++;
    }
    seen.add(delivery);
  }
  return removed;
}

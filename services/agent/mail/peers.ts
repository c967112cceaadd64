/** Requests to other members, as this one. */
import type { Duplex } from 'node:stream';
import type { PeerAddress, PeerAnswer, PeerClient } from '../../lib/peer.js';
import { HttpError } from '../http.js';
import type { Core, Peer } from '../ports.js';
import type { Delivery, EntryName, Summary } from './journal.js';
import type { Who } from './name.js';
import type { Source } from './replay.js';
import type { Scripts } from './sieve.js';

/** To which peer, and in which epoch. */
export interface Target extends PeerAddress {
  readonly epoch: number;
  /** Ours; where a mailbox moves to it is said by `move` alone. */
  readonly shard?: string | undefined;
  /** The person whose mailbox moves to this other shard; otherwise it is a peer of our own shard. */
  readonly move?: string | undefined;
}

export interface Peers {
  mark(target: Target, uuid: string): Promise<{ mark: string }>;
  purge(target: Target, uuid: string, mark: string): Promise<{ removed: number }>;
  summary(target: Target): Promise<Summary>;
  inventory(target: Target, who: Who): Promise<unknown>;
  /** Puts the peer's copy of a mailbox aside, if the peer can't read it. */
  reset(target: Target, user: string, uuid: string): Promise<{ reset: boolean }>;
  sieve(target: Target, uuid: string, scripts: Scripts): Promise<unknown>;
  dsync(target: Target, signal: AbortSignal): Promise<Duplex>;
  /** The peer's journal, to be replayed here. */
  journal(target: Target): Source;
}

const TIMEOUT_MS = 10_000;
/** A comparison of a large mailbox. */
const INVENTORY_MS = 120_000;

export function createPeers(client: PeerClient): Peers {
  const json = async <T>(
    target: Target,
    method: 'GET' | 'POST',
    path: string,
    body?: object,
    timeoutMs = TIMEOUT_MS,
  ) => {
    const answer = await client.request(target, {
      method,
      path,
      headers: headersFor(target),
      ...(body === undefined ? {} : { body }),
      timeoutMs,
    });
    return read<T>(target, answer);
  };
  return {
    mark: (target, uuid) => json(target, 'POST', '/v1/journal/mark', { uuid }),
    purge: (target, uuid, mark) => json(target, 'POST', '/v1/journal/purge', { uuid, mark }),
    summary: (target) => json(target, 'GET', '/v1/journal'),
    inventory: (target, who) => json(target, 'POST', '/v1/inventory', who, INVENTORY_MS),
    reset: (target, user, uuid) => json(target, 'POST', '/v1/reset', { user, uuid }, INVENTORY_MS),
    sieve: (target, uuid, scripts) => json(target, 'POST', '/v1/sieve', { uuid, ...scripts }),
    dsync: (target, signal) =>
      client.upgrade(target, 'dsync', { path: '/v1/dsync', headers: headersFor(target), timeoutMs: 5_000, signal }),
    journal: (target) => ({
      list: async () => (await json<Summary>(target, 'GET', '/v1/journal?users=0', undefined, 2_000)).earlier,
      read: (entry) => readEntry(client, target, entry),
      done: async ({ mailbox: uuid, id }) => void (await json(target, 'POST', '/v1/journal/confirm', { uuid, id })),
    }),
  };
}

function headersFor({ epoch, move, shard }: Target): Record<string, string> {
  return {
    'x-epoch': String(epoch),
    ...(shard === undefined ? {} : { 'x-shard': shard }),
    ...(move === undefined ? {} : { 'x-move': encodeURIComponent(move) }),
  };
}

function read<T>({ host }: Target, { status, body }: PeerAnswer): T {
  const text = body.toString('utf8');
  if (status === 200) return JSON.parse(text) as T;
  throw new HttpError(status === 409 ? 409 : 502, `${host} answers ${status}: ${text.slice(0, 300)}`);
}

async function readEntry(client: PeerClient, target: Target, entry: EntryName): Promise<Delivery | undefined> {
  const path = `/v1/journal/${entry.mailbox}/${entry.id}`;
  const answer = await client.request(target, { method: 'GET', path, headers: headersFor(target), timeoutMs: 30_000 });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw new Error(`${target.host} answers ${answer.status} for an entry of its journal`);
  const text = (name: string): string => decodeURIComponent(String(answer.headers[name] ?? ''));
  return { ...entry, recipient: text('x-recipient'), sender: text('x-sender'), content: answer.body };
}

/** A peer of our own shard, in the epoch that is now. */
export function targetOf(core: Core, { host, port }: Peer): Target {
  const { epoch, shard } = core.state();
  return { host, port, epoch, shard };
}

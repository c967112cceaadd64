/** What the agent does for the replicator, with what can go wrong told apart. */
import type { AgentClient, Answer } from './agent.js';
import { type Inventory, inventorySchema } from './inventory.js';

/** The peer can't be reached, or refuses everything: nothing is wrong with the mailbox. */
export class PeerAway extends Error {
  override readonly name = 'PeerAway';
}

/** This member is no longer the primary. */
export class NotPrimary extends Error {
  override readonly name = 'NotPrimary';
}

/** It is about this mailbox. */
export class VerbFailed extends Error {
  override readonly name = 'VerbFailed';
}

export interface SyncRequest {
  readonly user: string;
  readonly uuid: string;
  readonly peer: number;
  /** dsync's state; empty: none, and the mailboxes are compared in full. */
  readonly state: string;
  readonly full: boolean;
}

export interface Verbs {
  /** The new state. */
  sync(request: SyncRequest, signal: AbortSignal): Promise<string>;
  inventory(user: string, signal: AbortSignal): Promise<Inventory>;
  peerInventory(peer: number, user: string, signal: AbortSignal): Promise<Inventory>;
  /** Where the journal at the peer ends for this mailbox. */
  mark(peer: number, uuid: string, epoch: number, signal: AbortSignal): Promise<string>;
  /** Entries up to the mark are no longer needed. */
  purge(peer: number, uuid: string, epoch: number, mark: string, signal: AbortSignal): Promise<void>;
  /** Messages removed that were there twice with one delivery id. */
  dedupe(user: string, uuid: string, signal: AbortSignal): Promise<number>;
  copySieve(peer: number, uuid: string, signal: AbortSignal): Promise<void>;
  seeded(peer: number, volume: string, seeded: boolean): Promise<void>;
  report(members: readonly object[]): Promise<void>;
}

/** A first sync of a large mailbox takes long. */
const SYNC_MS = 30 * 60_000;
const SHORT_MS = 15_000;
const INVENTORY_MS = 5 * 60_000;

export function createVerbs(agent: AgentClient): Verbs {
  const post = async (path: string, body: object, signal?: AbortSignal, timeoutMs = SHORT_MS): Promise<Fields> =>
    check(path, await agent.post(path, body, { timeoutMs, signal }));
  return {
    sync: async ({ user, uuid, peer, state, full }, signal) => {
      const answer = await post('/v1/sync', { user, uuid, peer, state, full }, signal, SYNC_MS);
      return typeof answer.state === 'string' ? answer.state : '';
    },
    inventory: async (user, signal) =>
      inventorySchema.parse(await post('/v1/inventory', { user }, signal, INVENTORY_MS)),
    peerInventory: async (peer, user, signal) =>
      inventorySchema.parse(await post(`/v1/peers/${peer}/inventory`, { user }, signal, INVENTORY_MS)),
    mark: async (peer, uuid, epoch, signal) =>
      String((await post(`/v1/peers/${peer}/journal/mark`, { uuid, epoch }, signal)).mark ?? ''),
    purge: async (peer, uuid, epoch, mark, signal) => {
      await post(`/v1/peers/${peer}/journal/purge`, { uuid, epoch, mark }, signal);
    },
    dedupe: async (user, uuid, signal) => {
      const answer = await post('/v1/dedupe', { user, uuid }, signal, INVENTORY_MS);
      return typeof answer.removed === 'number' ? answer.removed : 0;
    },
    copySieve: async (peer, uuid, signal) => {
      const path = `/v1/sieve?uuid=${uuid}`;
      const { files, active } = check(path, await agent.get(path, { timeoutMs: SHORT_MS, signal }));
      await post(`/v1/peers/${peer}/sieve`, { uuid, files, active }, signal);
    },
    seeded: async (member, volume, seeded) => {
      await post('/v1/seeded', { member, volume, seeded });
    },
    report: async (members) => {
      await post('/v1/report', { members });
    },
  };
}

type Fields = Record<string, unknown>;

/** 409: not primary. 502, 503, 504: the peer, or Dovecot as a whole. `ok: false`: this mailbox, unless `peer` says "away". */
function check(path: string, { status, body }: Answer): Fields {
  const fields: Fields = typeof body === 'object' && body !== null ? (body as Fields) : {};
  const said = `${path}: status ${status}${typeof fields.error === 'string' ? `: ${fields.error}` : ''}`;
  if (status === 409) throw new NotPrimary(said);
  if (status >= 502 && status <= 504) throw new PeerAway(said);
  if (fields.unreachable === true) throw new PeerAway(said);
  if (status !== 200 || fields.ok === false) throw new VerbFailed(said);
  return fields;
}

/** What the agent does for the replicator, with what can go wrong told apart. */
import type { AgentClient, Answer } from './agent.js';
import { type Inventory, inventorySchema } from './inventory.js';
import { nameOf } from './names.js';

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
  /** Of a sync: 2 when changes came in between, and it has to be made again. 0: none. */
  readonly code: number;

  constructor(message: string, code = 0) {
    super(message);
    this.code = code;
  }
}

export interface SyncRequest {
  readonly uuid: string;
  readonly peer: number;
  /** dsync's state; empty: none, and the mailboxes are compared in full. */
  readonly state: string;
  readonly full: boolean;
}

export interface Verbs {
  /** @throws PeerAway. Cheap. */
  probe(peer: number, signal: AbortSignal): Promise<void>;
  /**
   * The new state. What the peer's journal had of this mailbox before the sync is removed from it after its success, entries of
   * this epoch only: one of an earlier epoch may be the only copy.
   */
  sync(request: SyncRequest, signal: AbortSignal): Promise<string>;
  inventory(uuid: string, signal: AbortSignal): Promise<Inventory>;
  peerInventory(peer: number, uuid: string, signal: AbortSignal): Promise<Inventory>;
  /** Messages removed that were there twice with one delivery id. */
  dedupe(uuid: string, signal: AbortSignal): Promise<number>;
  /** Has the peer put aside its copy if it can't read it; whether it has. Then a full sync makes it anew. */
  reset(peer: number, uuid: string, signal: AbortSignal): Promise<boolean>;
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
    probe: async (peer, signal) => {
      await post(`/v1/peers/${peer}/journal/mark`, { uuid: NOBODY }, signal);
    },
    sync: async ({ uuid, peer, state, full }, signal) => {
      const answer = await post('/v1/sync', { user: nameOf(uuid), uuid, peer, state, full }, signal, SYNC_MS);
      return typeof answer.state === 'string' ? answer.state : '';
    },
    inventory: async (uuid, signal) =>
      inventorySchema.parse(await post('/v1/inventory', { user: nameOf(uuid), uuid }, signal, INVENTORY_MS)),
    peerInventory: async (peer, uuid, signal) =>
      inventorySchema.parse(
        await post(`/v1/peers/${peer}/inventory`, { user: nameOf(uuid), uuid }, signal, INVENTORY_MS),
      ),
    dedupe: async (uuid, signal) => {
      const answer = await post('/v1/dedupe', { user: nameOf(uuid), uuid }, signal, INVENTORY_MS);
      return typeof answer.removed === 'number' ? answer.removed : 0;
    },
    reset: async (peer, uuid, signal) => {
      const path = `/v1/peers/${peer}/reset`;
      return (await post(path, { user: nameOf(uuid), uuid }, signal, INVENTORY_MS)).reset === true;
    },
    copySieve: async (peer, uuid, signal) => {
      const path = `/v1/sieve?uuid=${uuid}`;
      const { files, active } = check(path, await agent.get(path, { timeoutMs: SHORT_MS, signal }));
      await post(`/v1/peers/${peer}/sieve`, { uuid, files, active }, signal);
    },
    seeded: async (member, volume, seeded) => {
      const { ok } = await post('/v1/seeded', { member, volume, seeded });
      if (ok !== true) throw new NotPrimary(`the directory did not take member ${member} as seeded`);
    },
    report: async (members) => {
      await post('/v1/report', { members });
    },
  };
}

const NOBODY = '00000000-0000-0000-0000-000000000000';

type Fields = Record<string, unknown>;

/**
 * 409: not the primary, or the peer knows of a later epoch. 503 of a verb that goes to a peer, 504 and 404: there is no way to
 * it. Anything else, 502 (the peer has answered with an error) among them, is about the mailbox.
 */
function check(path: string, { status, body }: Answer): Fields {
  const fields: Fields = typeof body === 'object' && body !== null ? (body as Fields) : {};
  if (status === 200 && fields.ok !== false) return fields;
  const said = `${path}: status ${status}${typeof fields.error === 'string' ? `: ${fields.error}` : ''}`;
  if (status === 409) throw new NotPrimary(said);
  if (isToPeer(path) && NO_WAY.has(status)) throw new PeerAway(said);
  throw new VerbFailed(said, typeof fields.code === 'number' ? fields.code : 0);
}

const NO_WAY = new Set([404, 503, 504]);

function isToPeer(path: string): boolean {
  return path === '/v1/sync' || path.startsWith('/v1/peers/');
}

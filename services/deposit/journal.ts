/** The journal of a peer, seen from the primary: `PUT /v1/journal/MAILBOX/ID` over mutual TLS, on connections that are kept. */
import type { Log } from '../../operator/runtime/log.js';
import type { AgentState, Peer } from '../agent/ports.js';
import { type Circuit, circuitOrder, failed, newCircuit, succeeded } from '../lib/circuit.js';
import type { PeerClient } from '../lib/peer.js';

/** A delivery as the journal keeps it. */
export interface Entry {
  /** UUID. */
  readonly mailbox: string;
  readonly id: string;
  /** Address and envelope sender; octets. */
  readonly recipient: string;
  readonly sender: string;
  /** As it came in, without the id's field. */
  readonly content: Buffer;
}

export interface Journal {
  /** True when a peer has the entry on its disk. Never rejects. */
  keep(entry: Entry, state: AgentState, deadline: number): Promise<boolean>;
  /** For how long no peer has kept anything though asked to, ms; 0 when the last entry was kept. */
  aloneFor(): number;
}

export interface JournalOptions {
  readonly client: PeerClient;
  readonly onPut?: (result: 'kept' | 'refused' | 'failed', seconds: number) => void;
  /** For one peer, in addition to what a large message takes. Default 5 s. */
  readonly timeoutMs?: number;
  readonly log: Log;
}

export function createJournal(options: JournalOptions): Journal {
  const circuits = new Map<string, Circuit>();
  const tryPeer = async (peer: Peer, entry: Entry, state: AgentState, deadline: number): Promise<boolean> => {
    // A network and a disk that are slow, and a large message.
    const allowed = (options.timeoutMs ?? 5_000) + entry.content.length / SLOWEST;
    const timeoutMs = Math.min(deadline - performance.now(), allowed);
    if (timeoutMs <= 0) return false;
    const result = await put(options, peer, entry, state, timeoutMs);
    const circuit = circuits.get(keyOf(peer)) ?? newCircuit();
    circuits.set(keyOf(peer), result === 'failed' ? failed(circuit, Date.now()) : succeeded());
    return result === 'kept';
  };
  let aloneSince: number | undefined;
  return {
    keep: async (entry, state, deadline) => {
      for (const peer of candidates(state.peers, circuits)) {
        if (!(await tryPeer(peer, entry, state, deadline))) continue;
        aloneSince = undefined;
        return true;
      }
      aloneSince ??= performance.now();
      return false;
    },
    aloneFor: () => (aloneSince === undefined ? 0 : performance.now() - aloneSince),
  };
}

/**
 * Peers in the order in which to ask them: those in sync before those that are only seeded, the same one as long as it
 * answers (its connections are warm), one that has just failed last. One that has never had everything is not asked: it can't be
 * promoted, and what it alone has would not be found.
 */
export function candidates(peers: readonly Peer[], circuits: ReadonlyMap<string, Circuit>, now = Date.now()): Peer[] {
  const ranked = peers
    .filter(({ seeded }) => seeded)
    .map((peer) => ({ peer, circuit: circuits.get(keyOf(peer)) ?? newCircuit() }))
    .sort((a, b) => Number(b.peer.inSync) - Number(a.peer.inSync) || a.peer.member - b.peer.member);
  return circuitOrder(ranked, now, () => 0).map(({ peer }) => peer);
}

/** Octets a ms. */
const SLOWEST = 5_000;

const keyOf = ({ host, port }: Peer): string => `${host}:${port}`;

async function put(
  { client, onPut, log }: JournalOptions,
  peer: Peer,
  entry: Entry,
  { epoch, shard }: AgentState,
  timeoutMs: number,
): Promise<'kept' | 'refused' | 'failed'> {
  const started = performance.now();
  let result: 'kept' | 'refused' | 'failed' = 'failed';
  try {
    const { status } = await client.request(peer, {
      method: 'PUT',
      path: `/v1/journal/${entry.mailbox}/${entry.id}`,
      headers: {
        'x-epoch': String(epoch),
        'x-shard': shard,
        'x-recipient': encodeURIComponent(entry.recipient),
        'x-sender': encodeURIComponent(entry.sender),
      },
      body: entry.content,
      timeoutMs,
    });
    result = status === 201 ? 'kept' : status === 409 ? 'refused' : 'failed';
    if (result !== 'kept') log.warn({ peer: peer.host, status, delivery: entry.id }, 'a peer does not keep a message');
  } catch (error) {
    log.warn({ peer: peer.host, delivery: entry.id, err: error }, 'a peer could not be given a message');
  }
  onPut?.(result, (performance.now() - started) / 1000);
  return result;
}

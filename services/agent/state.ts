/** What others see of the agent. */
import type { LeaseView } from './directory.js';
import { wanted } from './lease.js';
import type { Lease } from './lease-state.js';
import type { AgentState, Peer, Role } from './ports.js';
import type { Current } from './supervise.js';

export interface StateParts {
  readonly shard: string;
  readonly lmtp: number;
  readonly lease: Lease;
  /** The directory's last word. */
  readonly view: LeaseView | undefined;
  readonly dovecot: Current;
  readonly openedAt: number;
  readonly promotion: AgentState['promotion'];
}

/** `GET /v1/state`. */
export function stateOf(parts: StateParts): AgentState {
  const { shard, lmtp, lease, view, openedAt, promotion } = parts;
  const own = view?.members.find(({ member }) => member === lease.me);
  return {
    shard,
    member: lease.me,
    role: roleOf(parts),
    epoch: lease.term?.epoch ?? lease.known,
    openedAt,
    volume: lease.volume,
    seeded: own?.volume === lease.volume && own.seeded,
    replicas: view?.replicas ?? (lease.sole ? 1 : 0),
    peers: peersOf(lease, view),
    durability: view?.durability ?? 'Replicated',
    withoutReplica: view?.withoutReplica ?? 'Defer',
    moves: view?.moves ?? 0,
    lmtp,
    promotion,
  };
}

/** A role is what the lease allows and Dovecot does: a primary whose Dovecot is being started takes nothing yet. */
function roleOf({ lease, dovecot }: StateParts): Role {
  const { mode } = wanted(lease);
  if (mode === 'primary') return dovecot.up && dovecot.mode === 'primary' ? 'primary' : 'opening';
  if (mode === 'opening') return 'opening';
  return mode === 'replica' && dovecot.up && dovecot.mode === 'replica' ? 'replica' : 'stopped';
}

function peersOf({ me }: Lease, view: LeaseView | undefined): readonly Peer[] {
  const others = view?.members.filter(({ member }) => member !== me) ?? [];
  return others.map(({ member, host, port, volume, seeded, inSync }) => ({
    member,
    host,
    port,
    volume,
    seeded,
    inSync,
  }));
}

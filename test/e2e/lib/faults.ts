/** What can happen to a copy of a shard, its node, its disk and its network. Each fault ends by itself or by its undo, which may be called twice. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../ledger/random.js';
import { kubectlOk } from './kube.js';
import { claimOf, cluster, nodeOf, podOf, type Shard } from './shard.js';
import { directoryLeader } from './sql.js';

export interface Struck {
  /** What was done, for the log. */
  detail: string;
  /** How long to let it last, ms. */
  lastsMs: number;
  undo(): Promise<unknown>;
  /** The volume of this member is gone: what only it had is lost. */
  destroyed?: boolean;
}

export interface Fault {
  name: string;
  /** It takes a whole node or disk away: not together with another such. */
  heavy?: boolean;
  strike(shard: Shard, member: number, chance: Random): Promise<Struck>;
}

const nothing = async (): Promise<void> => undefined;
const ended = (detail: string): Struck => ({ detail, lastsMs: 0, undo: nothing });

const MASTER = '^(/usr/sbin/)?dovecot -F';
const ALL_OF_DOVECOT = '(^|/)dovecot[/ ]';
const AGENT = 'services/agent/main';
const REPLICATOR = 'services/replicator/main';

/** Ports of the servers on the other side, or of the pod itself. */
const DIRECTORY = '5432,6432,8008';
const PEERS = '10028';
const CLIENTS = '10024,10143,14190';

const signal = (shard: Shard, member: number, ...more: string[]): Promise<string> =>
  cluster('pod', 'signal', shard.namespace, podOf(shard, member), ...more);

function killed(name: string, container: string, pattern: (chance: Random) => string): Fault {
  return {
    name,
    strike: async (shard, member, chance) => {
      const wanted = pattern(chance);
      const count = await signal(shard, member, 'KILL', container, wanted);
      return ended(`${count} processes like ${wanted} of member ${member}`);
    },
  };
}

function cut(name: string, ports: string, direction: 'both' | 'in' | 'out'): Fault {
  return {
    name,
    strike: async (shard, member, chance) => {
      const pod = podOf(shard, member);
      await cluster('pod', 'cut', shard.namespace, pod, ports, direction);
      // A pod that is gone has taken its cut along.
      const undo = () => cluster('pod', 'heal', shard.namespace, pod).catch(() => undefined);
      return { detail: `member ${member}`, lastsMs: chance.whole(6_000, 14_000), undo };
    },
  };
}

function stopped(name: string, ...which: string[]): Fault {
  return {
    name,
    strike: async (shard, member, chance) => {
      const count = await signal(shard, member, 'STOP', ...which);
      const undo = () => signal(shard, member, 'CONT', ...which).catch(() => undefined);
      return { detail: `${count} processes of member ${member}`, lastsMs: chance.whole(6_000, 12_000), undo };
    },
  };
}

const deletePod = (shard: Shard, pod: string, ...more: string[]): Promise<string> =>
  kubectlOk(['delete', 'pod', '-n', shard.namespace, pod, '--wait=false', ...more]);

async function powerOff(shard: Shard, pod: string): Promise<{ node: number; undo: () => Promise<unknown> }> {
  const node = await nodeOf(shard.namespace, pod);
  await cluster('node', 'kill', String(node));
  return { node, undo: () => cluster('node', 'start', String(node)) };
}

const cutFromAll = cut('cut from everything', 'all', 'both');

const named = <Name extends string>(faults: Record<Name, Fault>): Record<Name, Fault> => faults;

export const FAULTS = named({
  dovecotKilled: killed('Dovecot killed', 'dovecot', (chance) => chance.pick([MASTER, ALL_OF_DOVECOT])),
  agentKilled: killed('agent killed', 'dovecot', () => AGENT),
  replicatorAndAgentKilled: {
    name: 'replicator and agent killed again and again',
    strike: async (shard, member, chance) => {
      for (let i = 0; i < 4; i += 1) {
        await signal(shard, member, 'KILL', '-', `${AGENT}|${REPLICATOR}`).catch(() => '0');
        await sleep(chance.whole(200, 1_500));
      }
      return ended(`four times, member ${member}`);
    },
  },
  podDeleted: {
    name: 'pod deleted',
    strike: async (shard, member) => {
      await deletePod(shard, podOf(shard, member));
      return ended(podOf(shard, member));
    },
  },
  podDeletedByForce: {
    name: 'pod deleted by force',
    strike: async (shard, member) => {
      await deletePod(shard, podOf(shard, member), '--grace-period=0', '--force');
      return ended(podOf(shard, member));
    },
  },
  podKilled: {
    name: 'all processes of the pod killed',
    strike: async (shard, member) => ended(`${await signal(shard, member, 'KILL')} of member ${member}`),
  },
  nodeKilled: {
    name: 'node killed',
    heavy: true,
    strike: async (shard, member, chance) => {
      const { node, undo } = await powerOff(shard, podOf(shard, member));
      return { detail: `n${node}, member ${member}`, lastsMs: chance.whole(15_000, 25_000), undo };
    },
  },
  nodeFlaps: {
    name: 'node killed and started, twice',
    heavy: true,
    strike: async (shard, member, chance) => {
      const { node, undo } = await powerOff(shard, podOf(shard, member));
      await sleep(chance.whole(3_000, 8_000));
      await undo();
      await sleep(chance.whole(2_000, 8_000));
      await cluster('node', 'kill', String(node));
      return { detail: `n${node}, member ${member}`, lastsMs: chance.whole(5_000, 10_000), undo };
    },
  },
  volumeDestroyed: {
    name: 'volume destroyed',
    heavy: true,
    strike: async (shard, member) => {
      await cluster('volume', 'destroy', shard.namespace, claimOf(shard, member));
      return { ...ended(claimOf(shard, member)), destroyed: true };
    },
  },
  cutFromDirectory: cut('cut from the directory', DIRECTORY, 'out'),
  cutFromPeers: cut('cut from its peers', PEERS, 'both'),
  cutFromClients: cut('cut from proxies and mx', CLIENTS, 'in'),
  cutFromAll,
  networkFlaps: {
    name: 'cut and healed again and again',
    strike: async (shard, member, chance) => {
      const struck = await cutFromAll.strike(shard, member, chance);
      for (let i = 0; i < 4; i += 1) {
        await sleep(chance.whole(500, 3_500));
        await struck.undo();
        await sleep(chance.whole(500, 3_000));
        await cutFromAll.strike(shard, member, chance);
      }
      return { ...struck, lastsMs: 2_000 };
    },
  },
  podStopped: stopped('pod frozen'),
  agentStopped: stopped('agent frozen', 'dovecot', AGENT),
  leaderDeleted: {
    name: "database's leader deleted by force",
    strike: async (shard) => {
      const leader = await directoryLeader(shard.namespace);
      await deletePod(shard, leader, '--grace-period=0', '--force');
      return ended(leader);
    },
  },
});

/** One fault on the primary, and another on a copy or on the database at the same time. */
export function two(first: Fault, second: Fault): Fault {
  return {
    name: `${first.name}, and on another copy: ${second.name}`,
    heavy: first.heavy === true || second.heavy === true,
    strike: async (shard, member, chance) => {
      const other = (member + chance.whole(1, shard.replicas - 1)) % shard.replicas;
      const struck: Struck[] = [];
      const undo = () => Promise.all(struck.map((each) => each.undo()));
      try {
        struck.push(await first.strike(shard, member, chance));
        await sleep(chance.whole(0, 2_000));
        struck.push(await second.strike(shard, other, chance));
      } catch (error) {
        await undo();
        throw error;
      }
      return {
        detail: struck.map(({ detail }) => detail).join('; '),
        lastsMs: Math.max(...struck.map(({ lastsMs }) => lastsMs)),
        undo,
        ...(struck.some(({ destroyed }) => destroyed) ? { destroyed: true } : {}),
      };
    },
  };
}

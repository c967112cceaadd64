/** The copies of a shard as they are: what their agents say, and the directory's lease. */

import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import type { AgentState } from '../../../services/agent/ports.js';
import { exec, kube, waitFor } from './kube.js';
import { sql } from './sql.js';

export interface Shard {
  namespace: string;
  system: string;
  shard: string;
  replicas: number;
}

export const podOf = ({ system, shard }: Shard, member: number): string => `${system}-store-${shard}-${member}`;
export const claimOf = (shard: Shard, member: number): string => `mail-${podOf(shard, member)}`;
export const membersOf = ({ replicas }: Shard): number[] => Array.from({ length: replicas }, (_, member) => member);

/** hack/cluster; throws what it says. */
export async function cluster(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await exec('./hack/cluster', args, { timeoutMs: 150_000 });
  if (code !== 0) throw new Error(`hack/cluster ${args.join(' ')}: ${stderr.trim() || stdout.trim()}`);
  return stdout.trim();
}

/** A request to an API on a pod's loopback; undefined when there is no answer. Needs no API server. */
export async function askLoopback<T>(
  { namespace }: Pick<Shard, 'namespace'>,
  pod: string,
  url: string,
  body?: object,
  seconds = 3,
): Promise<T | undefined> {
  const post =
    body === undefined ? [] : ['-X', 'POST', '-H', 'Content-Type: application/json', '-d', JSON.stringify(body)];
  const args = ['pod', 'net', namespace, pod, 'curl', '-sS', '-m', String(seconds), ...post, url];
  const { code, stdout } = await exec('./hack/cluster', args);
  if (code !== 0) return undefined;
  try {
    return JSON.parse(stdout) as T;
  } catch {
    return undefined;
  }
}

const AGENT = 'http://127.0.0.1:24010';

export function stateOf(shard: Shard, member: number): Promise<AgentState | undefined> {
  return askLoopback<AgentState>(shard, podOf(shard, member), `${AGENT}/v1/state`);
}

export function statesOf(shard: Shard): Promise<(AgentState | undefined)[]> {
  return Promise.all(membersOf(shard).map((member) => stateOf(shard, member)));
}

/** A planned switch, as the operator asks for one. @returns the new epoch */
export async function handOver(shard: Shard, to?: number): Promise<void> {
  const { member } = await primaryOf(shard);
  const answer = await askLoopback(
    shard,
    podOf(shard, member),
    `${AGENT}/v1/handover`,
    to === undefined ? {} : { to },
    40,
  );
  if (answer === undefined) throw new Error(`${podOf(shard, member)} did not answer to a handover`);
}

/** The member that says that it is the primary. Two at a time are an error, whatever else is asked. */
export async function primaryNow(shard: Shard): Promise<AgentState | undefined> {
  const states = await statesOf(shard);
  const primaries = states.filter((state) => state?.role === 'primary');
  const [first, second] = primaries.toSorted((a, b) => (b?.epoch ?? 0) - (a?.epoch ?? 0));
  // Asked one after the other, so an old and a new one may both have said so; of the same epoch never.
  if (first !== undefined && second !== undefined && first.epoch === second.epoch) {
    throw new Error(`members ${first.member} and ${second.member} are both primary of epoch ${first.epoch}`);
  }
  return first;
}

export function primaryOf(shard: Shard, timeoutMs = 60_000): Promise<AgentState> {
  return waitFor('a primary', () => primaryNow(shard), timeoutMs);
}

/** Waits until there is a primary and all others are seeded replicas in sync with it, all pods ready. */
export async function waitUntilWhole(shard: Shard, timeoutMs = 120_000): Promise<AgentState> {
  let problem = '';
  return waitFor(
    'all copies of the shard to be in sync',
    async () => {
      problem = await notWhole(shard);
      return problem === '' ? primaryNow(shard) : undefined;
    },
    timeoutMs,
    () => problem,
  );
}

/** What is missing; empty when nothing is. */
async function notWhole(shard: Shard): Promise<string> {
  const states = await statesOf(shard);
  const primary = states.find((state) => state?.role === 'primary');
  if (primary === undefined) return `no primary: ${states.map((state) => state?.role ?? 'silent').join(', ')}`;
  const behind = membersOf(shard).filter((member) => member !== primary.member && !follows(states[member], primary));
  if (behind.length > 0) return `member ${behind.join(', ')}: ${JSON.stringify(primary.peers)}`;
  const unready = await unreadyPods(shard.namespace);
  return unready.length === 0 ? '' : `not ready: ${unready.join(', ')}`;
}

/** Whether this member is a replica that the primary calls in sync. */
function follows(state: AgentState | undefined, primary: AgentState): boolean {
  const peer = primary.peers.find(({ member }) => member === state?.member);
  return state?.role === 'replica' && peer?.seeded === true && peer.inSync;
}

type Pod = KubeObject & {
  spec?: { nodeName?: string };
  status?: { conditions?: { type: string; status: string }[] };
};

async function unreadyPods(namespace: string): Promise<string[]> {
  const { items } = await kube().list<Pod>(builtin.pod, { namespace });
  return items
    .filter((pod) => !pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'))
    .map((pod) => pod.metadata.name);
}

/** Number of the node that a pod runs on. */
export async function nodeOf(namespace: string, pod: string): Promise<number> {
  const { spec } = await kube().get<Pod>(builtin.pod, { namespace, name: pod });
  const number = /^n(\d+)$/.exec(spec?.nodeName ?? '')?.[1];
  if (number === undefined) throw new Error(`${pod} runs on ${spec?.nodeName ?? 'no node'}`);
  return Number(number);
}

/** Where the files of a member's volume are on this machine. */
export async function volumeOf(shard: Shard, member: number): Promise<string> {
  const claim = await kube().get<KubeObject & { spec?: { volumeName?: string } }>(builtin.persistentVolumeClaim, {
    namespace: shard.namespace,
    name: claimOf(shard, member),
  });
  const volume = await kube().get<KubeObject & { spec?: { local?: { path?: string } } }>(builtin.persistentVolume, {
    name: claim.spec?.volumeName ?? '',
  });
  const path = volume.spec?.local?.path;
  if (path === undefined) throw new Error(`volume ${volume.metadata.name} is not a disk of this machine`);
  return path;
}

export interface Lease {
  primary: number | null;
  holder: string | null;
  epoch: number;
}

export async function leaseOf({ namespace, shard }: Shard): Promise<Lease> {
  const row = await sql(
    `SELECT json_build_object('primary', primary_member, 'holder', holder, 'epoch', epoch) FROM posthorn.leases WHERE shard = '${shard}'`,
    namespace,
  );
  return JSON.parse(row) as Lease;
}

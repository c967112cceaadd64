import { describe, expect, it } from 'vitest';
import type { MailSystem } from '../../../crds/mailsystem.js';
import type { ShardState } from '../../directory/rows.js';
import type { PodObject } from '../observe.js';
import { type NodeObject, nodeState, shardOf, storePods, trimNode } from './observe.js';
import { shard } from './testing/shard.js';
import { acceptedVolumes } from './volume.js';

const node = (spec: NodeObject['spec']): NodeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'n', labels: { many: 'labels' } },
  spec: spec ?? {},
});
const taint = (key: string, effect = 'NoSchedule') => node({ taints: [{ key, effect }] });

function pod(name: string, fields: Partial<PodObject> = {}): PodObject {
  const labels = { 'posthorn.dev/shard': 'a', 'controller-revision-hash': 'r1' };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, uid: name, labels }, ...fields };
}

describe('nodeState', () => {
  it('knows who is leaving, and whom nothing should move to', () => {
    expect(nodeState(undefined)).toBe('fine');
    expect(nodeState(node({}))).toBe('fine');
    expect(nodeState(node({ unschedulable: true }))).toBe('leaving');
    expect(nodeState(taint('ToBeDeletedByClusterAutoscaler'))).toBe('leaving');
    expect(nodeState(taint('karpenter.sh/disrupted'))).toBe('leaving');
    expect(nodeState(taint('node.kubernetes.io/unreachable', 'NoExecute'))).toBe('doubtful');
    expect(nodeState(taint('node.kubernetes.io/not-ready'))).toBe('doubtful');
    expect(nodeState(taint('dedicated'))).toBe('fine');
  });

  it('needs no more of a node than is kept', () => {
    const full = node({ unschedulable: true, taints: [{ key: 'k', effect: 'NoExecute' }] });
    const kept = trimNode(full);
    expect(nodeState(kept)).toBe(nodeState(full));
    expect(kept.metadata).not.toHaveProperty('labels');
  });
});

describe('storePods', () => {
  it("takes the shard's pods alone", () => {
    const other = pod('mail-store-a-b-0');
    const names = storePods('mail', 'a', [pod('mail-store-a-1'), other, pod('mail-mx-0')]).map(({ name }) => name);
    expect(names).toEqual(['mail-store-a-1']);
  });

  it('sees what matters', () => {
    const waiting = pod('mail-store-a-0', { status: { conditions: [{ type: 'PodScheduled', status: 'False' }] } });
    expect(storePods('mail', 'a', [waiting])[0]).toMatchObject({ member: 0, unschedulable: true, ready: false });
    const since = '2026-11-24T18:00:00Z';
    const running = pod('mail-store-a-2', {
      spec: { nodeName: 'n', containers: [{ name: 'dovecot' }, { name: 'replicator' }] },
      status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: since }] },
    });
    expect(storePods('mail', 'a', [running])[0]).toMatchObject({
      member: 2,
      ready: true,
      readySince: Date.parse(since),
      node: 'n',
      replicates: true,
      unschedulable: false,
      labelled: false,
    });
  });
});

describe('shardOf', () => {
  const state = { name: 'a', replicas: 2, primary: 1, members: [0, 1, 2].map((member) => ({ member })) };

  it('leaves out members that are no longer declared, and a primary that does not renew', () => {
    const of = (alive: boolean) => shardOf('mail', state as unknown as ShardState, alive, [], () => undefined);
    expect(of(true)).toMatchObject({ primary: 1, set: 'mail-store-a' });
    expect(of(true).copies.map(({ member }) => member)).toEqual([0, 1]);
    expect(of(false).primary).toBeNull();
  });
});

describe('acceptedVolumes', () => {
  const system = (value?: string) =>
    ({ metadata: { name: 'mail', annotations: { 'posthorn.dev/accept-volume': value } } }) as unknown as MailSystem;

  it('are those that the annotation names, pod and volume', () => {
    const of = shard([{}, {}]);
    expect(acceptedVolumes(system(), of)).toEqual([]);
    expect(acceptedVolumes(system('mail-store-a-0=volume-1'), of)).toEqual([]);
    expect(acceptedVolumes(system('x=y, mail-store-a-1=volume-1'), of)).toEqual([{ member: 1, volume: 'volume-1' }]);
  });
});

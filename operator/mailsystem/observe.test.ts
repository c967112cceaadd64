import { describe, expect, it } from 'vitest';
import { resolveMailSystem } from '../../crds/mailsystem.js';
import { observeEndpoints, observePod, observeWorkload, systemOfChild, type WorkloadObject } from './observe.js';

const labels = { 'app.kubernetes.io/instance': 'mail', 'app.kubernetes.io/component': 'mx' };
const workload = (fields: Partial<WorkloadObject> = {}): WorkloadObject => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name: 'mail-mx', namespace: 'mail', generation: 3, labels },
  spec: { replicas: 3 },
  status: { observedGeneration: 3, readyReplicas: 2, updatedReplicas: 1 },
  ...fields,
});

describe('observeWorkload', () => {
  it('counts pods', () => {
    expect(observeWorkload(workload())).toEqual({
      condition: 'MxReady',
      name: 'StatefulSet/mail-mx',
      desired: 3,
      ready: 2,
      outdated: 2,
    });
  });

  it('takes every pod for outdated until the controller has seen the object', () => {
    const status = { observedGeneration: 2, readyReplicas: 5, updatedReplicas: 3 };
    expect(observeWorkload(workload({ status }))).toMatchObject({ ready: 3, outdated: 3 });
  });

  it('ignores what is not ours', () => {
    expect(observeWorkload({ ...workload(), metadata: { name: 'x' } })).toBeUndefined();
    expect(systemOfChild({ ...workload(), metadata: { name: 'x', namespace: 'mail' } })).toEqual([]);
    expect(systemOfChild(workload())).toEqual(['mail/mail']);
  });
});

describe('observePod', () => {
  it('knows leader, revision and readiness', () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', labels: { role: 'primary', 'controller-revision-hash': 'r2' } },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    };
    const expected = { name: 'p', revision: 'r2', ready: true, terminating: false, leader: true };
    expect(observePod(pod)).toEqual(expected);
    expect(observePod({ ...pod, status: {} }).ready).toBe(false);
  });
});

describe('observeEndpoints', () => {
  const spec = resolveMailSystem({ hostname: 'mx.example.org' });
  const service = (type: string, ingress?: { ip?: string; hostname?: string }) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'mail-mx' },
    spec: { type, clusterIP: '10.96.1.1', ports: [{ port: 25, nodePort: 30025 }, { port: 10025 }] },
    ...(ingress ? { status: { loadBalancer: { ingress: [ingress] } } } : {}),
  });

  it.each([
    ['ClusterIP', undefined, { name: 'smtp', host: '10.96.1.1', port: 25 }],
    ['NodePort', undefined, { name: 'smtp', host: 'mx.example.org', port: 30025 }],
    ['LoadBalancer', undefined, { name: 'smtp', host: '10.96.1.1', port: 25 }],
    ['LoadBalancer', { ip: '192.0.2.7' }, { name: 'smtp', host: '192.0.2.7', port: 25 }],
    ['LoadBalancer', { hostname: 'lb.example' }, { name: 'smtp', host: 'lb.example', port: 25 }],
  ])('of type %s with %o: public ports only', (type, ingress, endpoint) => {
    expect(observeEndpoints([service(type, ingress)], spec)).toEqual([endpoint]);
  });
});

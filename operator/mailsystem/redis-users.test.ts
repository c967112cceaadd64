import { describe, expect, it } from 'vitest';
import { componentLabel, type PodObject } from './observe.js';
import { missingFields } from './redis-users.js';

const USERS = ['operator', 'mx', 'submission', 'egress', 'proxy'];
let made = 0;

/** `volumes`: those of this release, or of the one before. */
function pod(component: string, volumes = ['tls', 'redis-user']): PodObject {
  made += 1;
  const metadata = { name: `${component}-${made}`, labels: { [componentLabel]: component } };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: { volumes: volumes.map((name) => ({ name })) } };
}
const old = (component: string): PodObject => pod(component, ['tls']);
const all = ['mx', 'submission', 'egress', 'proxy'].map((component) => pod(component));

describe('the passwords for Redis', () => {
  it('are made for the operator and each pod that comes, those that are missing too', () => {
    expect(missingFields([], all)).toEqual(USERS);
    expect(missingFields(['operator', 'mx', 'egress'], all)).toEqual(['submission', 'proxy']);
  });

  it('are asked of everybody once every pod shows one', () => {
    expect(missingFields(USERS, [...all, pod('mx'), old('store'), old('redis')])).toEqual(['closed']);
    expect(missingFields([...USERS, 'closed'], all)).toEqual([]);
  });

  it.each([
    ['there are no pods yet', []],
    ['a component has none yet', all.slice(1)],
    ['one of two is of the release before', [...all, old('egress')]],
    ['a pod shows nothing of its volumes', [...all, { ...pod('proxy'), spec: {} }]],
  ])('are not yet asked of everybody while %s', (_, pods) => {
    expect(missingFields(USERS, pods)).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { differences } from './drift.js';

const paths = (desired: object, live: object): string[] => differences(desired, live).map(({ path }) => path);

describe('what counts as drift', () => {
  it.each([
    ['a changed scalar', { spec: { replicas: 2 } }, { spec: { replicas: 3 } }, ['spec.replicas']],
    ['a missing field', { metadata: { labels: { a: 'b' } } }, { metadata: {} }, ['metadata.labels']],
    ['a shorter plain list', { spec: { args: ['a', 'b'] } }, { spec: { args: ['a'] } }, ['spec.args']],
    ['a longer plain list', { spec: { args: ['a'] } }, { spec: { args: ['a', 'b'] } }, ['spec.args']],
    ['a false that is not the default', { automountServiceAccountToken: false }, {}, ['automountServiceAccountToken']],
    ['another order', { spec: { args: ['a', 'b'] } }, { spec: { args: ['b', 'a'] } }, ['spec.args[0]', 'spec.args[1]']],
    [
      'a field of a named item, wherever it stands',
      { containers: [{ name: 'a', image: '1' }] },
      { containers: [{ name: 'sidecar' }, { name: 'a', image: '2' }] },
      ['containers[a].image'],
    ],
    ['a named item that is gone', { env: [{ name: 'A', value: '1' }] }, { env: [] }, ['env[A]']],
    ['another quantity', { requests: { cpu: '1' } }, { requests: { cpu: '900m' } }, ['requests.cpu']],
    [
      'a port',
      { ports: [{ name: 'smtp', port: 25, targetPort: 25 }] },
      { ports: [{ name: 'smtp', port: 25, protocol: 'TCP', targetPort: 26 }] },
      ['ports[25/TCP].targetPort'],
    ],
    [
      'one port of a network policy',
      { ports: [{ port: 25 }] },
      { ports: [{ port: 25, protocol: 'TCP' }, { port: 26 }] },
      ['ports'],
    ],
  ])('%s', (_name, desired, live, expected) => {
    expect(paths(desired, live)).toEqual(expected);
  });
});

describe('what does not', () => {
  it.each([
    ['fields of others', { spec: { a: 1 } }, { spec: { a: 1, b: 2 }, status: { c: 3 } }],
    [
      'items of others in lists with names',
      { volumes: [{ name: 'a' }] },
      { volumes: [{ name: 'b' }, { name: 'a', emptyDir: {} }] },
    ],
    [
      'empty values that the server drops',
      { spec: { a: [], b: {}, c: null, d: undefined, e: '', tty: false } },
      { spec: {} },
    ],
    [
      'the same quantity in other words',
      { requests: { cpu: '1000m', memory: '1Gi' } },
      { requests: { cpu: '1', memory: '1024Mi' } },
    ],
    ['a number for a quantity', { limits: { cpu: 2 } }, { limits: { cpu: '2' } }],
    ['default protocols', { ports: [{ containerPort: 25 }] }, { ports: [{ containerPort: 25, protocol: 'TCP' }] }],
    [
      'what the server sets',
      { metadata: { creationTimestamp: 'x', resourceVersion: '1' }, status: {} },
      { metadata: { resourceVersion: '2' } },
    ],
  ])('%s', (_name, desired, live) => {
    expect(paths(desired, live)).toEqual([]);
  });
});

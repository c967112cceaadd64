import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nameServer, readConfig } from './config.js';

describe('readConfig', () => {
  it('has a default for everything but the DNS, which the pod has from kubelet', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'posthorn-config-')), 'resolv.conf');
    writeFileSync(file, 'search mail.svc.cluster.local\nnameserver 10.96.0.10\nnameserver 10.96.0.11\n');
    expect(readConfig({}, file)).toMatchObject({
      clusterDns: '10.96.0.10',
      clusterDomain: 'cluster.local',
      watchNamespaces: [],
      metricsPort: 8080,
      images: { prefix: 'localhost/posthorn', tag: 'dev', pullPolicy: 'IfNotPresent' },
    });
  });

  it('reads lists of namespaces', () => {
    const env = { POSTHORN_CLUSTER_DNS: '10.0.0.1', POSTHORN_WATCH_NAMESPACES: ' mail, shop ,' };
    expect(readConfig(env).watchNamespaces).toEqual(['mail', 'shop']);
  });

  it.each([
    ['POSTHORN_METRICS_PORT', 'ninety'],
    ['POSTHORN_METRICS_PORT', '70000'],
    ['POSTHORN_LOG_LEVEL', 'loud'],
    ['POSTHORN_IMAGE_PULL_POLICY', 'Sometimes'],
  ])('names %s when it is %s', (name, value) => {
    expect(() => readConfig({ POSTHORN_CLUSTER_DNS: '10.0.0.1', [name]: value })).toThrow(name);
  });

  it('says what to set when there is no name server', () => {
    expect(() => nameServer('search example.org\n# nameserver 10.0.0.1\n')).toThrow('POSTHORN_CLUSTER_DNS');
  });
});

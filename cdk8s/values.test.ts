import { describe, expect, it } from 'vitest';
import { EXTERNAL_SPEC, FULL_SPEC, sampleContext } from './testing/sample.js';
import { resolverConfig, templateValues } from './values.js';

describe('templateValues', () => {
  it('names hosts in full', () => {
    expect(templateValues(sampleContext())).toMatchObject({
      DIRECTORY_HOSTS: [0, 1, 2]
        .map((i) => `mail-postgres-${i}.mail-postgres-members.mail.svc.cluster.local`)
        .join(','),
      DIRECTORY_LEADER: 'mail-postgres.mail.svc.cluster.local',
      DATABASE_STRICT: 'true',
      MX_INTERNAL_HOST: 'mail-mx-internal.mail.svc.cluster.local',
      EGRESS_HOST: 'mail-egress.mail.svc.cluster.local',
      REDIS_HOST: 'mail-redis.mail.svc.cluster.local',
      MESSAGE_SIZE_LIMIT: '52428800',
    });
  });

  it('gives a single database member the right to commit alone', () => {
    expect(templateValues(sampleContext(FULL_SPEC))).toMatchObject({
      DIRECTORY_URI_HOSTS: 'mail-postgres-0.mail-postgres-members.mail.svc.cluster.local:6432',
      DATABASE_STRICT: 'false',
      MESSAGE_SIZE_LIMIT: '25000000',
    });
  });

  it("goes through the pooler to somebody else's database", () => {
    const pooler = 'mail-pooler.mail.svc.cluster.local';
    expect(templateValues(sampleContext(EXTERNAL_SPEC))).toMatchObject({
      DIRECTORY_HOSTS: pooler,
      DIRECTORY_LEADER: pooler,
    });
  });
});

describe('resolverConfig', () => {
  it('knows the Internet by what the image brings', () => {
    expect(resolverConfig({ forwarders: [], rootServers: [], trustAnchors: [] }).split('\n')).toEqual([
      'server:',
      '    root-hints: "/usr/share/dns/root.hints"',
      '    trust-anchor-file: "/usr/share/dns/root.key"',
    ]);
  });

  it('takes forwarders and anchors', () => {
    expect(resolverConfig(FULL_SPEC.resolver).split('\n')).toEqual([
      'server:',
      '    unblock-lan-zones: yes',
      '    root-hints: "/usr/share/dns/root.hints"',
      `    trust-anchor: "${FULL_SPEC.resolver.trustAnchors[0]}"`,
      'forward-zone:',
      '    name: "."',
      '    forward-addr: 192.0.2.53',
      '    forward-addr: 2001:db8::53@5353',
    ]);
  });

  it('takes root servers where there is no forwarder', () => {
    expect(resolverConfig({ ...FULL_SPEC.resolver, forwarders: [], trustAnchors: [] }).split('\n')).toEqual([
      'server:',
      '    unblock-lan-zones: yes',
      '    trust-anchor-file: "/usr/share/dns/root.key"',
      'stub-zone:',
      '    name: "."',
      '    stub-prime: no',
      '    stub-addr: 192.0.2.1',
    ]);
  });

  it('lets nobody smuggle a directive', () => {
    for (const text of ['1.1.1.1"\n', '1.1.1.1\nserver:', '. DS 1 "', '# x', 'a\\b']) {
      expect(() => resolverConfig({ forwarders: [text], rootServers: [], trustAnchors: [] }), text).toThrow(
        'unbound.conf',
      );
      expect(() => resolverConfig({ forwarders: [], rootServers: [], trustAnchors: [text] }), text).toThrow(
        'unbound.conf',
      );
    }
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MailSystemResolved, resolveMailSystem } from '../crds/mailsystem.js';
import type { KubernetesObject } from './context.js';
import { mailSystemObjects } from './mailsystem.js';
import { RESTART_HASH } from './pod.js';
import { loadTemplates, type Templates } from './template.js';
import { bytes, containers, cpu, ingressOf, named, podsOf, type Workload, workloads } from './testing/objects.js';
import { DEFAULT_SPEC, EXTERNAL_SPEC, FULL_SPEC, sampleContext } from './testing/sample.js';
import { FIXTURE_TEMPLATES } from './testing/templates.js';

const SPECS: Record<string, MailSystemResolved> = { default: DEFAULT_SPEC, full: FULL_SPEC, external: EXTERNAL_SPEC };

function objects(spec: MailSystemResolved, rest = {}): KubernetesObject[] {
  return mailSystemObjects(sampleContext(spec, { templates: FIXTURE_TEMPLATES, ...rest }));
}

describe.each(Object.entries(SPECS))('children of a MailSystem with the %s spec', (_, spec) => {
  const all = objects(spec);

  it('have a name each, of which none looks generated', () => {
    const keys = all.map((o) => `${o.kind}/${o.metadata.name}`);
    expect(new Set(keys).size).toBe(keys.length);
    for (const { metadata } of all) {
      expect(metadata.name).toMatch(/^mail-[a-z0-9-]+$/);
      expect(metadata.name).not.toMatch(/c8[0-9a-f]{6}/);
      expect(metadata.name.length).toBeLessThan(53);
    }
  });

  it('belong to the MailSystem, its namespace and its labels', () => {
    for (const { metadata } of all) {
      expect(metadata.namespace).toBe('mail');
      expect(metadata.ownerReferences).toMatchObject([{ kind: 'MailSystem', name: 'mail', controller: true }]);
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/name': 'posthorn',
        'app.kubernetes.io/instance': 'mail',
        'app.kubernetes.io/managed-by': 'posthorn',
      });
    }
  });

  it('select pods that exist, by labels that these carry', () => {
    for (const workload of workloads(all)) {
      expect(workload.spec.template.metadata?.labels).toMatchObject(workload.spec.selector.matchLabels ?? {});
    }
    for (const object of all) {
      for (const selector of ingressOf(object).selectors) {
        expect(
          podsOf(all, selector),
          `${object.kind} ${object.metadata.name}: ${JSON.stringify(selector)}`,
        ).not.toEqual([]);
      }
    }
  });

  it('never select the pods of two components', () => {
    for (const workload of workloads(all)) {
      expect(podsOf(all, workload.spec.selector.matchLabels ?? {})).toEqual([workload.metadata.name]);
    }
  });

  it('send Services to ports that the containers name', () => {
    for (const service of all.filter((o) => o.kind === 'Service')) {
      const { selector, ports } = service.spec as { selector: Record<string, string>; ports: { targetPort: string }[] };
      const [name] = podsOf(all, selector);
      const offered = containers(named<Workload>(all, name ?? '')).flatMap((c) => c.ports?.map((p) => p.name) ?? []);
      for (const { targetPort } of ports) expect(offered, service.metadata.name).toContain(targetPort);
    }
  });

  it('let the network in to every port of a Service, and to no other', () => {
    for (const policy of all.filter((o) => o.kind === 'NetworkPolicy')) {
      for (const port of ingressOf(policy).ports) {
        const offered = podsOf(all, ingressOf(policy).selectors[0] ?? {}).flatMap((name) =>
          containers(named<Workload>(all, name)).flatMap((c) => c.ports?.map((p) => p.containerPort) ?? []),
        );
        expect(offered, policy.metadata.name).toContain(port);
      }
    }
  });

  it('check every container, bound its memory and take its rights away', () => {
    for (const workload of workloads(all)) {
      for (const c of containers(workload)) {
        const where = `${workload.metadata.name}/${c.name}`;
        expect(c.startupProbe?.exec?.command?.[0], where).toBe('/usr/local/bin/healthcheck');
        expect(c.livenessProbe?.exec?.command?.at(-1), where).toBe('live');
        expect(c.readinessProbe?.exec?.command?.at(-1), where).toBe('ready');
        expect(bytes(c.resources?.limits?.memory), where).toBeGreaterThanOrEqual(bytes(c.resources?.requests?.memory));
        expect(cpu(c.resources?.requests?.cpu), where).toBeGreaterThan(0);
        expect(c.securityContext, where).toMatchObject({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
        if (c.name === 'postfix') continue;
        expect(c.securityContext?.runAsNonRoot, where).toBe(true);
        expect(c.securityContext?.capabilities?.add, where).toBeUndefined();
      }
      expect(workload.spec.template.spec?.securityContext?.seccompProfile).toEqual({ type: 'RuntimeDefault' });
    }
  });

  it('mount volumes that the pod has, and use every volume', () => {
    for (const workload of workloads(all)) {
      const claims = workload.spec.volumeClaimTemplates?.map((c) => c.metadata?.name) ?? [];
      const volumes = [...claims, ...(workload.spec.template.spec?.volumes?.map((v) => v.name) ?? [])];
      const mounted = containers(workload).flatMap((c) => c.volumeMounts?.map((m) => m.name) ?? []);
      expect(new Set(mounted), workload.metadata.name).toEqual(new Set(volumes));
      expect(new Set(volumes).size, workload.metadata.name).toBe(volumes.length);
    }
  });

  it('mount ConfigMaps that are among them, and leave none unused', () => {
    const made = all.filter((o) => o.kind === 'ConfigMap').map((o) => o.metadata.name);
    const used = workloads(all).flatMap((w) =>
      (w.spec.template.spec?.volumes ?? []).flatMap((v) => v.configMap?.name ?? []),
    );
    expect([...new Set(used)].sort()).toEqual(made.sort());
  });

  it('give a token for the API server to nobody but the database and the courier', () => {
    for (const workload of workloads(all)) {
      const { name } = workload.metadata;
      const { automountServiceAccountToken } = workload.spec.template.spec ?? {};
      expect(automountServiceAccountToken, name).toBe(['mail-postgres', 'mail-courier'].includes(name));
    }
  });
});

describe('mailSystemObjects', () => {
  it('asks for less than one CPU and 2.3 GiB for a whole system', () => {
    const all = workloads(objects(DEFAULT_SPEC)).flatMap((w) =>
      containers(w).map((c) => ({ n: w.spec.replicas ?? 1, r: c.resources?.requests })),
    );
    expect(all.reduce((sum, { n, r }) => sum + n * cpu(r?.cpu), 0)).toBeLessThan(1);
    expect(all.reduce((sum, { n, r }) => sum + n * bytes(r?.memory), 0)).toBeLessThan(2.3 * 2 ** 30);
  });

  it('gives the same children in the same order every time', () => {
    expect(JSON.stringify(objects(FULL_SPEC))).toBe(JSON.stringify(objects(structuredClone(FULL_SPEC))));
  });

  it('is indifferent to the order of peers', () => {
    const context = sampleContext(DEFAULT_SPEC, { templates: FIXTURE_TEMPLATES });
    const turned = { ...context, peers: [...context.peers].reverse() };
    expect(mailSystemObjects(turned)).toEqual(mailSystemObjects(context));
  });

  it('keeps names, selectors and volume claims whatever else changes', () => {
    const identity = (spec: MailSystemResolved) =>
      workloads(objects(spec)).map((w) => [
        w.kind,
        w.metadata.name,
        w.spec.selector,
        w.spec.serviceName,
        w.spec.volumeClaimTemplates?.map((c) => c.metadata),
      ]);
    const changed = resolveMailSystem({
      hostname: 'other.example.net',
      mx: { replicas: 5 },
      filter: { rejectAbove: 9, tagAbove: 5, greylistAbove: 0 },
      exposure: { type: 'NodePort' },
      images: { tag: 'next' },
      database: { members: 1 },
      limits: { messageSize: '10Mi' },
    });
    expect(identity(changed)).toEqual(identity(DEFAULT_SPEC));
  });

  it('rolls exactly the pods whose configuration changed', () => {
    const rolled = (spec: MailSystemResolved) => {
      const before = hashes(objects(DEFAULT_SPEC));
      const after = hashes(objects(spec));
      return Object.keys(before).filter((name) => before[name] !== after[name]);
    };
    expect(rolled({ ...DEFAULT_SPEC, limits: { ...DEFAULT_SPEC.limits, messageSize: '10Mi' } })).toEqual([
      'mail-egress',
    ]);
    expect(rolled({ ...DEFAULT_SPEC, filter: { ...DEFAULT_SPEC.filter, rejectAbove: 12 } })).toEqual(['mail-mx']);
    expect(rolled({ ...DEFAULT_SPEC, exposure: { type: 'NodePort' } })).toEqual([]);
  });

  it('rolls nothing for a changed peer, and the named component for a changed hash', () => {
    const hash = (rest: object) => hashes(objects(DEFAULT_SPEC, rest));
    expect(hash({ peers: [] })).toEqual(hash({}));
    const changed = hash({ restartHashes: { redis: 'x' } });
    expect(Object.keys(changed).filter((name) => changed[name] !== hash({})[name])).toEqual(['mail-redis']);
  });

  it('makes no child for a peer that Postfix could never match', () => {
    const peers = [{ role: 'mx' as const, fingerprint: 'aa:bb' }];
    expect(() => objects(DEFAULT_SPEC, { peers })).toThrow('"aa:bb" (mx) is not a SHA-256 fingerprint');
  });

  it('names the template and the placeholder when one is unknown', () => {
    const templates = { ...FIXTURE_TEMPLATES, redis: { redis: { 'redis.conf': 'bind @NOBODY@\n' } } };
    expect(() => objects(DEFAULT_SPEC, { templates })).toThrow(
      'images/redis/config/redis/redis.conf: no value for placeholder @NOBODY@',
    );
  });

  it('fits any system name and shard that the API accepts', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$/),
        fc.uniqueArray(fc.stringMatching(/^[a-z]([a-z0-9-]{0,14}[a-z0-9])?$/), { minLength: 1, maxLength: 4 }),
        (name, shards) => {
          const spec = resolveMailSystem({
            hostname: 'mail.example.org',
            store: { shards: shards.map((s) => ({ name: s })) },
          });
          const all = objects(spec, { name });
          const keys = all.map((o) => `${o.kind}/${o.metadata.name}`);
          expect(new Set(keys).size).toBe(keys.length);
          for (const o of all) expect(o.metadata.name).toMatch(/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('who may connect', () => {
  const all = objects(DEFAULT_SPEC);
  const component = (name: string) => ({ 'app.kubernetes.io/component': name });

  /** Whether some policy of the target lets the source in; every pod of the system is denied by default. */
  function allowed(from: string, to: string, port: number): boolean {
    const policies = all.filter(
      (o) => o.kind === 'NetworkPolicy' && o.metadata.labels?.['app.kubernetes.io/component'] === to,
    );
    const rules = policies.flatMap((o) => (o.spec as { ingress: IngressRule[] }).ingress);
    return rules.some(
      (rule) =>
        rule.ports.some((p) => p.port === port) &&
        (!rule.from || rule.from.some((peer) => isMatch(peer.podSelector.matchLabels, component(from)))),
    );
  }

  it.each<Flow>([
    ['anyone', 'mx', 25],
    ['anyone', 'submission', 587],
    ['anyone', 'submission', 465],
    ['anyone', 'proxy', 10993],
    ['anyone', 'proxy', 14190],
    ['submission', 'mx', 10025],
    ['egress', 'mx', 10025],
    ['mx', 'egress', 10025],
    ['submission', 'egress', 10025],
    ['store', 'egress', 10025],
    ['forward', 'egress', 10026],
    ['mx', 'forward', 10025],
    ['forward', 'courier', 10024],
    ['store', 'mx', 11335],
    ['mx', 'store', 10024],
    ['proxy', 'store', 10143],
    ['proxy', 'store', 14190],
    ['store', 'store', 10028],
    ['mx', 'redis', 6379],
    ['egress', 'redis', 6379],
    ['submission', 'redis', 6379],
    ['proxy', 'redis', 6379],
    ['operator', 'redis', 6379],
    ...['mx', 'submission', 'egress', 'forward', 'courier', 'proxy', 'store', 'operator'].map(
      (from): Flow => [from, 'postgres', 6432],
    ),
    ['postgres', 'postgres', 5432],
    ['postgres', 'postgres', 8008],
  ])('%s reaches %s on %i', (from, to, port) => {
    expect(allowed(from, to, port)).toBe(true);
  });

  it.each<Flow>([
    ['anyone', 'mx', 10025],
    ['proxy', 'mx', 10025],
    ['anyone', 'egress', 10025],
    ['forward', 'egress', 10025],
    ['proxy', 'egress', 10025],
    ['mx', 'egress', 10026],
    ['submission', 'egress', 10026],
    ['anyone', 'egress', 10026],
    ['forward', 'mx', 10025],
    ['anyone', 'forward', 10025],
    ['submission', 'forward', 10025],
    ['anyone', 'courier', 10024],
    ['mx', 'courier', 10024],
    ['anyone', 'mx', 11335],
    ['proxy', 'mx', 11335],
    ['mx', 'store', 10143],
    ['proxy', 'store', 10024],
    ['mx', 'store', 10028],
    ['proxy', 'store', 10028],
    ['anyone', 'store', 10028],
    ['anyone', 'store', 10143],
    ['forward', 'redis', 6379],
    ['courier', 'redis', 6379],
    ['store', 'redis', 6379],
    ['anyone', 'redis', 6379],
    ['anyone', 'postgres', 6432],
    ['mx', 'postgres', 5432],
  ])('%s does not reach %s on %i', (from, to, port) => {
    expect(allowed(from, to, port)).toBe(false);
  });
});

describe('a shard', () => {
  const all = objects(FULL_SPEC);
  const spec = (name: string) => named(all, name).spec.template.spec;
  const data = (name: string) => JSON.stringify(all.find((o) => o.metadata.name === name)?.data);

  it('of several copies keeps messages on two, copies what changes, and has its pods on different nodes', () => {
    expect(spec('mail-store-b')?.containers.map((c) => c.name)).toEqual(['dovecot', 'reaper', 'deposit', 'replicator']);
    expect(data('mail-tunnel-b-config')).toContain('24001');
    expect(data('mail-store-b-config')).toContain('executable = imap post-login');
    expect(spec('mail-store-b')?.affinity?.podAntiAffinity).toEqual({
      requiredDuringSchedulingIgnoredDuringExecution: [
        {
          topologyKey: 'kubernetes.io/hostname',
          labelSelector: { matchLabels: named(all, 'mail-store-b').spec.selector.matchLabels },
        },
      ],
    });
  });

  it('of one copy has nothing of that', () => {
    expect(spec('mail-store-a')?.containers.map((c) => c.name)).toEqual(['dovecot', 'reaper']);
    expect(data('mail-tunnel-a-config')).toContain('24000');
    expect(data('mail-store-a-config')).toContain('executable = imap \\n');
    expect(spec('mail-store-a')?.affinity).toBeUndefined();
  });

  it('of three copies lets one be evicted, but never the primary; no two budgets are for one pod', () => {
    const budgets = all.filter(
      (o) => o.kind === 'PodDisruptionBudget' && o.metadata.labels?.['posthorn.dev/shard'] === 'b',
    );
    const of = (object: KubernetesObject) => object.spec as Record<string, unknown> & { selector: object };
    expect(budgets.map((o) => [o.metadata.name, of(o).minAvailable, of(o).maxUnavailable, of(o).selector])).toEqual([
      [
        'mail-store-b',
        1,
        undefined,
        expect.objectContaining({
          matchExpressions: [{ key: 'posthorn.dev/store-role', operator: 'NotIn', values: ['primary'] }],
        }),
      ],
      [
        'mail-store-b-primary',
        undefined,
        0,
        expect.objectContaining({
          matchExpressions: [{ key: 'posthorn.dev/store-role', operator: 'In', values: ['primary'] }],
        }),
      ],
    ]);
  });
});

describe.each(Object.entries({ DEFAULT_SPEC, FULL_SPEC }))("the images' templates with %s", (_, spec) => {
  const configs = () =>
    mailSystemObjects(sampleContext(spec, { templates: loadTemplates() })).filter((o) => o.kind === 'ConfigMap');

  it('leave no placeholder', () => {
    for (const { data, metadata } of configs()) {
      expect(JSON.stringify(data), metadata.name).not.toMatch(/@[A-Z][A-Z0-9_]*@/);
    }
  });

  it('put no secret into a ConfigMap', () => {
    const secret = /PRIVATE KEY-----\\n[A-Za-z0-9+/]{20}|\$argon2id\$v=|password\s*=\s*\\?["'][^"'%$<\\]+["'\\]/i;
    for (const { data, metadata } of configs()) expect(JSON.stringify(data), metadata.name).not.toMatch(secret);
  });
});

describe("the images' templates", () => {
  it('are those that the fixtures stand for', () => {
    const roles = (templates: Templates) =>
      Object.entries(templates)
        .flatMap(([component, folders]) => Object.keys(folders).map((role) => `${component}/${role}`))
        .filter((role) => !role.endsWith('/common'))
        .sort();
    expect(roles(loadTemplates())).toEqual(roles(FIXTURE_TEMPLATES));
  });

  it('leave no placeholder in any configuration, with an external database too', () => {
    for (const spec of Object.values(SPECS)) {
      const text = JSON.stringify(mailSystemObjects(sampleContext(spec, { templates: loadTemplates() })));
      expect(text.match(/@[A-Z_]{3,}@/g)).toBeNull();
    }
  });
});

describe('snapshots', () => {
  it.each(Object.entries(SPECS))('%s spec', async (name, spec) => {
    const all = objects(spec);
    for (const component of new Set(all.map((o) => o.metadata.labels?.['app.kubernetes.io/component'] ?? 'system'))) {
      const own = all.filter((o) => (o.metadata.labels?.['app.kubernetes.io/component'] ?? 'system') === component);
      await expect(`${JSON.stringify(own, null, 2)}\n`).toMatchFileSnapshot(`__snapshots__/${name}/${component}.json`);
    }
  });
});

function hashes(all: KubernetesObject[]): Record<string, string | undefined> {
  return Object.fromEntries(
    workloads(all).map((w) => [w.metadata.name, w.spec.template.metadata?.annotations?.[RESTART_HASH]]),
  );
}

/** Who, to whom, on which port. */
type Flow = [from: string, to: string, port: number];

interface IngressRule {
  ports: { port: number }[];
  from?: { podSelector: { matchLabels: Record<string, string> } }[];
}

function isMatch(selector: Record<string, string>, labels: Record<string, string>): boolean {
  return Object.entries(labels).every(([name, value]) => selector[name] === value);
}

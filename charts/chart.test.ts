import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { helmProgram } from '../cdk8s/testing/helm.js';

const CHART = join(import.meta.dirname, 'posthorn');
const HELM = helmProgram() ?? '';
const KUBE = ['--kube-version', '1.35.4'];
const withHelm = HELM ? describe : describe.skip;

interface Rendered {
  kind: string;
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> };
  [field: string]: unknown;
}

function helm(...args: string[]) {
  return spawnSync(HELM, args, { encoding: 'utf8' });
}

function template(...args: string[]): Rendered[] {
  const { stdout, stderr, status } = helm('template', 'posthorn', CHART, '--namespace', 'ops', ...KUBE, ...args);
  expect(stderr).not.toContain('Error');
  expect(status).toBe(0);
  return parseAllDocuments(stdout)
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null);
}

function refusal(...args: string[]): string {
  const { stderr, status } = helm('template', 'posthorn', CHART, ...KUBE, ...args);
  expect(status, args.join(' ')).not.toBe(0);
  return stderr;
}

function kinds(objects: Rendered[]): string[] {
  return objects.map((o) => o.kind).filter((kind) => kind !== 'CustomResourceDefinition');
}

function deployment(objects: Rendered[]) {
  return objects.find((o) => o.kind === 'Deployment') as unknown as {
    spec: { replicas: number; template: { metadata: { annotations?: object }; spec: Record<string, unknown> } };
  };
}

withHelm('the chart', () => {
  it('passes helm lint', () => {
    const { stdout, status } = helm('lint', '--strict', ...KUBE, CHART);
    expect(stdout).toContain('0 chart(s) failed');
    expect(status).toBe(0);
  });

  it('makes the operator, its rights and its definitions by default', () => {
    const objects = template();
    expect(kinds(objects).sort()).toEqual([
      'ClusterRole',
      'ClusterRole',
      'ClusterRoleBinding',
      'ClusterRoleBinding',
      'Deployment',
      'Role',
      'RoleBinding',
      'Service',
      'ServiceAccount',
    ]);
    const crds = objects.filter((o) => o.kind === 'CustomResourceDefinition');
    expect(crds.map((o) => o.metadata.name).sort()).toEqual([
      'forwardrules.posthorn.dev',
      'mailboxes.posthorn.dev',
      'mailboxmoves.posthorn.dev',
      'maildomains.posthorn.dev',
      'mailsystems.posthorn.dev',
    ]);
    for (const crd of crds) expect(crd.metadata.annotations?.['helm.sh/resource-policy']).toBe('keep');
  });

  it('carries the definitions unchanged', () => {
    for (const crd of template().filter((o) => o.kind === 'CustomResourceDefinition')) {
      const { singular } = (crd.spec as { names: { singular: string } }).names;
      const generated = join(import.meta.dirname, '..', 'crds', 'generated', `${singular}.yaml`);
      const [document] = parseAllDocuments(readFileSync(generated, 'utf8'));
      expect(crd.spec).toEqual((document?.toJS() as Rendered).spec);
    }
  });

  it('leaves the definitions out when told to', () => {
    expect(template('--set', 'crds.install=false').map((o) => o.kind)).not.toContain('CustomResourceDefinition');
  });

  it('gives rights only in the namespaces that it is to look after', () => {
    const objects = template('--set', 'watchNamespaces={mail,post}');
    // Nodes are in no namespace.
    const everywhere = objects.filter((o) => o.kind === 'ClusterRoleBinding').map((o) => o.metadata.name);
    expect(everywhere).toEqual(['posthorn-nodes']);
    const nodes = objects.find((o) => o.kind === 'ClusterRole' && o.metadata.name === 'posthorn-nodes');
    expect(nodes?.rules).toEqual([{ apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch'] }]);
    const bound = objects.filter((o) => o.kind === 'RoleBinding').map((o) => o.metadata.namespace);
    expect(bound.sort()).toEqual(['mail', 'ops', 'post']);
    expect(JSON.stringify(deployment(objects))).toContain('{"name":"POSTHORN_WATCH_NAMESPACES","value":"mail,post"}');
  });

  it('passes the values on', () => {
    const { spec } = deployment(
      template(
        ...['--set', 'image.prefix=registry.example.org/mail,image.tag=1.0,image.pullPolicy=Always,replicas=2'],
        ...['--set', 'nodeSelector.disk=ssd,podAnnotations.a=b,metrics.port=9090,logLevel=debug'],
        ...['--set', 'clusterDomain=k8s.example.org,resources.limits.memory=1Gi,imagePullSecrets[0].name=pull'],
        ...['--set-json', 'tolerations=[{"key":"ops","operator":"Exists"}]'],
      ),
    );
    const pod = spec.template.spec;
    const [container] = pod.containers as Record<string, unknown>[];
    expect(spec.replicas).toBe(2);
    expect(spec.template.metadata.annotations).toEqual({ a: 'b' });
    expect(pod).toMatchObject({
      nodeSelector: { disk: 'ssd' },
      tolerations: [{ key: 'ops', operator: 'Exists' }],
      imagePullSecrets: [{ name: 'pull' }],
    });
    expect(container).toMatchObject({
      image: 'registry.example.org/mail/posthorn:1.0',
      imagePullPolicy: 'Always',
      ports: [{ containerPort: 9090 }],
      resources: { requests: { cpu: '50m' }, limits: { memory: '1Gi' } },
    });
    const env = Object.fromEntries((container?.env as { name: string; value: string }[]).map((e) => [e.name, e.value]));
    expect(env).toMatchObject({
      POSTHORN_IMAGE_PREFIX: 'registry.example.org/mail',
      POSTHORN_IMAGE_TAG: '1.0',
      POSTHORN_IMAGE_PULL_POLICY: 'Always',
      POSTHORN_CLUSTER_DOMAIN: 'k8s.example.org',
      POSTHORN_WATCH_NAMESPACES: '',
      POSTHORN_LOG_LEVEL: 'debug',
      POSTHORN_METRICS_PORT: '9090',
    });
  });

  it('keeps a tag that looks like a number a string', () => {
    const pod = deployment(template('--set-string', 'image.tag=20261124')).spec.template.spec;
    expect((pod.containers as { image: string }[])[0]?.image).toBe('localhost/posthorn/posthorn:20261124');
  });

  it('makes a ServiceMonitor on request only', () => {
    const objects = template('--set', 'metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=p');
    expect(objects.find((o) => o.kind === 'ServiceMonitor')?.metadata).toMatchObject({ labels: { release: 'p' } });
    expect(kinds(template('--set', 'metrics.service=false'))).not.toContain('Service');
  });

  it('names everything after the release', () => {
    const { stdout } = helm('template', 'second', CHART, '--namespace', 'ops', ...KUBE);
    const names = parseAllDocuments(stdout)
      .map((d) => d.toJS() as Rendered)
      .filter((o) => o.kind !== 'CustomResourceDefinition')
      .map((o) => o.metadata.name);
    expect(new Set(names)).toEqual(new Set(['second-posthorn', 'second-posthorn-nodes']));
  });

  it.each([
    ['replicas=-1', 'replicas'],
    ['replicas=two', 'replicas'],
    ['replica=2', 'replica'],
    ['image.tag=a b', 'tag'],
    ['image.pullPolicy=Sometimes', 'pullPolicy'],
    ['image.repository=x', 'repository'],
    ['logLevel=loud', 'logLevel'],
    ['watchNamespaces={Mail}', 'watchNamespaces'],
    ['watchNamespaces=mail', 'watchNamespaces'],
    ['metrics.port=80', 'port'],
    ['resources.limits.memory=lots', 'memory'],
    ['clusterDomain=.local', 'clusterDomain'],
  ])('refuses %s', (value, named) => {
    expect(refusal('--set', value)).toContain(named);
  });

  it('refuses a Kubernetes without native sidecars', () => {
    const { stderr } = helm('template', 'posthorn', CHART, '--kube-version', '1.28.0');
    expect(stderr).toContain('kubeVersion');
  });
});

describe('the plain manifest', () => {
  const objects = parseAllDocuments(readFileSync(join(import.meta.dirname, 'posthorn.yaml'), 'utf8')).map(
    (document) => document.toJS() as Rendered,
  );

  it('has a namespace of its own, then the definitions, the rights and the operator', () => {
    expect(objects.map((o) => o.kind)).toEqual([
      'Namespace',
      'CustomResourceDefinition',
      'CustomResourceDefinition',
      'CustomResourceDefinition',
      'CustomResourceDefinition',
      'CustomResourceDefinition',
      'ClusterRole',
      'ClusterRole',
      'Role',
      'ServiceAccount',
      'ClusterRoleBinding',
      'ClusterRoleBinding',
      'RoleBinding',
      'Service',
      'Deployment',
    ]);
  });

  it('holds no Helm expression', () => {
    expect(JSON.stringify(objects)).not.toMatch(/\{\{|HELM-/);
  });
});

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type ApiObject, App, Chart } from 'cdk8s';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { chartValues } from './chart-values.js';
import { escapeBraces, type HelmWriter, helmWriter } from './helm.js';
import { Operator, type OperatorProps, watchedNamespaceBinding } from './operator.js';
import { CLUSTER_RULES, LEADER_RULES, OPERATOR_RULES, reasons } from './operator-rbac.js';
import { valuesYaml } from './values-yaml.js';

/** Where the repository's files are that the chart takes in. */
export interface ChartSources {
  /** Repository's root. */
  readonly root: string;
  /** Version of the chart and of the application. */
  readonly version: string;
}

/** Files of the chart, path within the chart → content. */
export function chartFiles({ root, version }: ChartSources): Map<string, string> {
  const helm = helmWriter();
  const props = chartProps(helm);
  const operator = new Operator(new App(), 'posthorn', props);
  const bindings = new Chart(new App(), 'bindings');
  const watched = watchedNamespaceBinding(bindings, props, helm.value('. | quote'));
  const write = (object: ApiObject) => helm.write(object.toJson());
  const files: [string, string][] = [
    ['Chart.yaml', chartYaml(version)],
    ['values.yaml', valuesYaml(chartValues)],
    ['values.schema.json', `${JSON.stringify(valuesSchema(), null, 2)}\n`],
    ['.helmignore', '*.tgz\n*.bak\n.git/\n'],
    ['templates/NOTES.txt', readFileSync(join(import.meta.dirname, 'chart', 'NOTES.txt'), 'utf8')],
    ['templates/_helpers.tpl', readFileSync(join(import.meta.dirname, 'chart', '_helpers.tpl'), 'utf8')],
    ['templates/serviceaccount.yaml', write(operator.serviceAccount)],
    ['templates/clusterrole.yaml', helm.write(operator.clusterRole.toJson(), reasons(OPERATOR_RULES))],
    [
      'templates/nodes.yaml',
      `${helm.write(operator.nodesRole.toJson(), reasons(CLUSTER_RULES))}---\n${write(operator.nodesRoleBinding)}`,
    ],
    ['templates/bindings.yaml', bindingsTemplate(write(operator.clusterRoleBinding), write(watched))],
    [
      'templates/leader-election.yaml',
      `${helm.write(operator.leaderRole.toJson(), reasons(LEADER_RULES))}---\n${write(operator.leaderRoleBinding)}`,
    ],
    ['templates/deployment.yaml', write(operator.deployment)],
    ['templates/metrics-service.yaml', when('$.Values.metrics.service', write(operator.metricsService))],
    ['templates/servicemonitor.yaml', when('$.Values.metrics.serviceMonitor.enabled', serviceMonitor(helm, props))],
    ...crds(root).map(([name, text]) => [`templates/crds/${name}`, crdTemplate(text)] as [string, string]),
  ];
  return new Map(files);
}

/** Writes the chart into a folder. */
export function writeChart(outDir: string, sources: ChartSources): void {
  for (const [path, content] of chartFiles(sources)) {
    const target = join(outDir, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
  }
}

/** The generated CRDs, file name → YAML, sorted. */
export function crds(root: string): [string, string][] {
  const dir = join(root, 'crds', 'generated');
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => name.endsWith('.yaml'))
    .sort()
    .map((name) => [name, readFileSync(join(dir, name), 'utf8')]);
}

/** JSON Schema (draft 7, which Helm reads) of the values; `global` is what Helm hands to subcharts. */
function valuesSchema(): object {
  const schema = z.toJSONSchema(chartValues, { target: 'draft-7', io: 'input' }) as { properties: object };
  return { ...schema, properties: { ...schema.properties, global: { type: 'object' } } };
}

function chartYaml(version: string): string {
  return stringify({
    apiVersion: 'v2',
    name: 'posthorn',
    description: 'Operator for whole mail systems: Postfix, Dovecot, rspamd and PostgreSQL from a few resources',
    type: 'application',
    version,
    appVersion: version,
    // Native sidecars.
    kubeVersion: '>=1.29.0-0',
    keywords: ['mail', 'smtp', 'imap', 'postfix', 'dovecot', 'rspamd', 'operator'],
  });
}

function chartProps(helm: HelmWriter): OperatorProps {
  return {
    name: helm.value('include "posthorn.fullname" $'),
    namespace: helm.value('$.Release.Namespace | quote'),
    selector: { 'app.kubernetes.io/instance': helm.value('$.Release.Name | quote') },
    labels: {
      'app.kubernetes.io/managed-by': helm.value('$.Release.Service'),
      'app.kubernetes.io/version': helm.value('$.Chart.AppVersion | quote'),
      'helm.sh/chart': helm.value('printf "%s-%s" $.Chart.Name ($.Chart.Version | replace "+" "_")'),
    },
    image: helm.value('printf "%s/posthorn:%s" $.Values.image.prefix $.Values.image.tag | quote'),
    pullPolicy: helm.value('$.Values.image.pullPolicy'),
    imagePrefix: helm.value('$.Values.image.prefix | quote'),
    imageTag: helm.value('$.Values.image.tag | quote'),
    replicas: helm.value('$.Values.replicas'),
    resources: helm.block('toYaml $.Values.resources'),
    watchNamespaces: helm.value('join "," $.Values.watchNamespaces | quote'),
    logLevel: helm.value('$.Values.logLevel'),
    clusterDomain: helm.value('$.Values.clusterDomain | quote'),
    metricsPort: helm.value('$.Values.metrics.port'),
    metricsPortText: helm.value('$.Values.metrics.port | quote'),
    podAnnotations: helm.optional('$.Values.podAnnotations'),
    podFields: {
      imagePullSecrets: helm.optional('$.Values.imagePullSecrets'),
      nodeSelector: helm.optional('$.Values.nodeSelector'),
      tolerations: helm.optional('$.Values.tolerations'),
      affinity: helm.optional('$.Values.affinity'),
    },
  };
}

function serviceMonitor(helm: HelmWriter, props: OperatorProps): string {
  return helm.write({
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'ServiceMonitor',
    metadata: {
      name: props.name,
      namespace: props.namespace,
      labels: helm.optional('$.Values.metrics.serviceMonitor.labels'),
    },
    spec: {
      endpoints: [{ port: 'metrics', interval: helm.value('$.Values.metrics.serviceMonitor.interval') }],
      selector: {
        matchLabels: { 'app.kubernetes.io/component': 'operator', ...props.selector },
      },
    },
  });
}

function bindingsTemplate(clusterWide: string, watched: string): string {
  return [
    '{{- if $.Values.watchNamespaces }}\n{{- range $.Values.watchNamespaces }}\n---\n',
    watched,
    '{{- end }}\n{{- else }}\n',
    clusterWide,
    '{{- end }}\n',
  ].join('');
}

function when(condition: string, text: string): string {
  return `{{- if ${condition} }}\n${text}{{- end }}\n`;
}

/** A CRD that `helm upgrade` upgrades, and that `helm uninstall` leaves, with all resources of its kind. */
function crdTemplate(text: string): string {
  const crd = parse(text) as { metadata: { annotations?: Record<string, string> } };
  crd.metadata.annotations = { ...crd.metadata.annotations, 'helm.sh/resource-policy': 'keep' };
  return when('$.Values.crds.install', escapeBraces(stringify(crd, { lineWidth: 0, aliasDuplicateObjects: false })));
}

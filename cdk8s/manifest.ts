import { App } from 'cdk8s';
import { type ChartSources, crds } from './chart.js';
import { defaultValues } from './chart-values.js';
import { yamlText } from './helm.js';
import { Operator } from './operator.js';
import { CLUSTER_RULES, LEADER_RULES, OPERATOR_RULES, reasons } from './operator-rbac.js';

/** Namespace of the plain manifest. */
const NAMESPACE = 'posthorn-system';

/** One manifest that installs the operator with the chart's defaults: for `kubectl apply --server-side -f`. */
export function plainManifest({ root, version }: ChartSources): string {
  const values = defaultValues;
  const operator = new Operator(new App(), 'posthorn', {
    name: 'posthorn',
    namespace: NAMESPACE,
    selector: { 'app.kubernetes.io/instance': 'posthorn' },
    labels: { 'app.kubernetes.io/version': version },
    image: `${values.image.prefix}/posthorn:${values.image.tag}`,
    pullPolicy: values.image.pullPolicy,
    imagePrefix: values.image.prefix,
    imageTag: values.image.tag,
    replicas: values.replicas,
    resources: values.resources,
    watchNamespaces: values.watchNamespaces.join(','),
    logLevel: values.logLevel,
    clusterDomain: values.clusterDomain,
    metricsPort: values.metrics.port,
    metricsPortText: String(values.metrics.port),
    podFields: {},
  });
  const objects = [
    operator.serviceAccount,
    operator.clusterRoleBinding,
    operator.nodesRoleBinding,
    operator.leaderRoleBinding,
    operator.metricsService,
    operator.deployment,
  ];
  return [
    '# Installs the Posthorn operator: kubectl apply --server-side -f posthorn.yaml\n',
    yamlText(namespaceObject()),
    ...crds(root).map(([, text]) => text),
    yamlText(operator.clusterRole.toJson(), reasons(OPERATOR_RULES)),
    yamlText(operator.nodesRole.toJson(), reasons(CLUSTER_RULES)),
    yamlText(operator.leaderRole.toJson(), reasons(LEADER_RULES)),
    ...objects.map((object) => yamlText(object.toJson())),
  ]
    .map((text) => text.replace(/^---\n/, ''))
    .join('---\n');
}

function namespaceObject() {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  };
}

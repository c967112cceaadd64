import { ApiObject, type App, Chart } from 'cdk8s';
import type { Construct } from 'constructs';
import type { Token } from './helm.js';
import { OPERATOR_LABELS } from './network.js';
import { CLUSTER_RULES, LEADER_RULES, OPERATOR_RULES, policyRules } from './operator-rbac.js';

/** A value, or a token for the Helm expression that gives it. */
type Value<T> = T | Token;

/** What varies between the operator's installations; tokens where the chart's user decides. */
export interface OperatorProps {
  readonly name: Value<string>;
  readonly namespace: Value<string>;
  /** More labels of every object. */
  readonly labels: Readonly<Record<string, Value<string>>>;
  /** Labels that tell this installation's pods from another's. */
  readonly selector: Readonly<Record<string, Value<string>>>;
  readonly image: Value<string>;
  readonly pullPolicy: Value<string>;
  readonly imagePrefix: Value<string>;
  readonly imageTag: Value<string>;
  readonly replicas: Value<number>;
  readonly resources: Value<object>;
  /** Comma-separated. */
  readonly watchNamespaces: Value<string>;
  readonly logLevel: Value<string>;
  readonly clusterDomain: Value<string>;
  readonly metricsPort: Value<number>;
  readonly metricsPortText: Value<string>;
  /** Optional fields of the pod: `nodeSelector`, `tolerations`. */
  readonly podFields: Readonly<Record<string, Value<object>>>;
  readonly podAnnotations?: Value<object>;
}

/** The uid of Node in the posthorn image. */
const UID = 10001;

/** The operator's own objects. Each is also a property, because the chart puts conditions around some. */
export class Operator extends Chart {
  readonly serviceAccount: ApiObject;
  readonly clusterRole: ApiObject;
  readonly clusterRoleBinding: ApiObject;
  readonly nodesRole: ApiObject;
  readonly nodesRoleBinding: ApiObject;
  readonly leaderRole: ApiObject;
  readonly leaderRoleBinding: ApiObject;
  readonly deployment: ApiObject;
  readonly metricsService: ApiObject;

  constructor(scope: App, id: string, props: OperatorProps) {
    super(scope, id, { disableResourceNameHashes: true });
    const account = { kind: 'ServiceAccount', name: props.name, namespace: props.namespace };
    const rbac = 'rbac.authorization.k8s.io/v1';
    const roleRef = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name: props.name });
    this.serviceAccount = object(this, props, 'v1', 'ServiceAccount', { automountServiceAccountToken: false });
    this.clusterRole = object(this, props, rbac, 'ClusterRole', { rules: policyRules(OPERATOR_RULES) }, false);
    this.clusterRoleBinding = object(
      this,
      props,
      rbac,
      'ClusterRoleBinding',
      { roleRef: roleRef('ClusterRole'), subjects: [account] },
      false,
    );
    const nodes = { ...props, name: `${props.name}-nodes` };
    this.nodesRole = object(this, nodes, rbac, 'ClusterRole', { rules: policyRules(CLUSTER_RULES) }, false, 'Nodes');
    this.nodesRoleBinding = object(
      this,
      nodes,
      rbac,
      'ClusterRoleBinding',
      { roleRef: { ...roleRef('ClusterRole'), name: nodes.name }, subjects: [account] },
      false,
      'Nodes',
    );
    this.leaderRole = object(this, props, rbac, 'Role', { rules: policyRules(LEADER_RULES) });
    this.leaderRoleBinding = object(this, props, rbac, 'RoleBinding', {
      roleRef: roleRef('Role'),
      subjects: [account],
    });
    this.deployment = object(this, props, 'apps/v1', 'Deployment', { spec: deploymentSpec(props) });
    this.metricsService = object(this, props, 'v1', 'Service', {
      spec: {
        type: 'ClusterIP',
        selector: selector(props),
        ports: [{ name: 'metrics', port: props.metricsPort, targetPort: 'metrics', protocol: 'TCP' }],
      },
    });
  }
}

/** A binding of the operator's ClusterRole within one namespace that it looks after. */
export function watchedNamespaceBinding(scope: Construct, props: OperatorProps, namespace: Value<string>): ApiObject {
  return new ApiObject(scope, 'WatchedNamespaceBinding', {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name: `${props.name}-watched`, namespace, labels: allLabels(props) },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: props.name },
    subjects: [{ kind: 'ServiceAccount', name: props.name, namespace: props.namespace }],
  });
}

function object(
  scope: Construct,
  props: OperatorProps,
  apiVersion: string,
  kind: string,
  body: object,
  namespaced = true,
  prefix = '',
): ApiObject {
  return new ApiObject(scope, `${prefix}${kind}`, {
    apiVersion,
    kind,
    metadata: {
      name: props.name,
      ...(namespaced ? { namespace: props.namespace } : {}),
      labels: allLabels(props),
    },
    ...body,
  });
}

function selector(props: OperatorProps) {
  return { ...OPERATOR_LABELS, ...props.selector };
}

function allLabels(props: OperatorProps) {
  return { ...selector(props), ...props.labels };
}

function deploymentSpec(props: OperatorProps) {
  return {
    replicas: props.replicas,
    revisionHistoryLimit: 3,
    selector: { matchLabels: selector(props) },
    template: {
      metadata: {
        labels: allLabels(props),
        ...(props.podAnnotations === undefined ? {} : { annotations: props.podAnnotations }),
      },
      spec: {
        serviceAccountName: props.name,
        automountServiceAccountToken: true,
        enableServiceLinks: false,
        terminationGracePeriodSeconds: 30,
        securityContext: {
          runAsNonRoot: true,
          runAsUser: UID,
          runAsGroup: UID,
          fsGroup: UID,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: 'kubernetes.io/hostname',
            whenUnsatisfiable: 'ScheduleAnyway',
            labelSelector: { matchLabels: selector(props) },
          },
        ],
        ...props.podFields,
        containers: [operatorContainer(props)],
        volumes: ['run', 'tmp'].map((name) => ({ name, emptyDir: { sizeLimit: '64Mi' } })),
      },
    },
  };
}

function operatorContainer(props: OperatorProps) {
  const probe = (path: string) => ({ httpGet: { path, port: 'metrics' }, periodSeconds: 10, timeoutSeconds: 5 });
  return {
    name: 'operator',
    image: props.image,
    imagePullPolicy: props.pullPolicy,
    args: ['operator'],
    env: operatorEnv(props),
    ports: [{ name: 'metrics', containerPort: props.metricsPort, protocol: 'TCP' }],
    startupProbe: { ...probe('/healthz'), periodSeconds: 2, failureThreshold: 60 },
    livenessProbe: { ...probe('/healthz'), failureThreshold: 6 },
    readinessProbe: probe('/readyz'),
    resources: props.resources,
    securityContext: {
      runAsUser: UID,
      runAsGroup: UID,
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    volumeMounts: [
      { name: 'run', mountPath: '/run' },
      { name: 'tmp', mountPath: '/tmp' },
    ],
  };
}

function operatorEnv(props: OperatorProps) {
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  const value = (name: string, text: Value<string>) => ({ name, value: text });
  return [
    field('POD_NAME', 'metadata.name'),
    field('POD_NAMESPACE', 'metadata.namespace'),
    value('POSTHORN_IMAGE_PREFIX', props.imagePrefix),
    value('POSTHORN_IMAGE_TAG', props.imageTag),
    value('POSTHORN_IMAGE_PULL_POLICY', props.pullPolicy),
    value('POSTHORN_CLUSTER_DOMAIN', props.clusterDomain),
    value('POSTHORN_WATCH_NAMESPACES', props.watchNamespaces),
    value('POSTHORN_LOG_LEVEL', props.logLevel),
    value('POSTHORN_METRICS_PORT', props.metricsPortText),
  ];
}

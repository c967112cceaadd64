/** A rule of a role, and why the operator needs it. */
export interface Rule {
  readonly reason: string;
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  /** Only objects of these names. */
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

const READ = ['get', 'list', 'watch'];
const OWN = [...READ, 'create', 'patch', 'delete'];

/** What the operator may do in the namespaces that it looks after. */
export const OPERATOR_RULES: readonly Rule[] = [
  {
    reason: 'The declared state. Patch: finalizers, which are removed when data has been dealt with.',
    apiGroups: ['posthorn.dev'],
    resources: ['mailsystems', 'maildomains', 'mailboxes', 'forwardrules', 'mailboxmoves'],
    verbs: [...READ, 'patch'],
  },
  {
    reason: 'Conditions.',
    apiGroups: ['posthorn.dev'],
    resources: [
      'mailsystems/status',
      'maildomains/status',
      'mailboxes/status',
      'forwardrules/status',
      'mailboxmoves/status',
    ],
    verbs: ['update'],
  },
  {
    reason: 'Children refer to their owner with blockOwnerDeletion, which takes this right.',
    apiGroups: ['posthorn.dev'],
    resources: ['mailsystems/finalizers', 'maildomains/finalizers', 'mailboxes/finalizers', 'forwardrules/finalizers'],
    verbs: ['update'],
  },
  {
    reason: 'Secrets: internal certificates and DKIM keys are made, passwords and given certificates are read.',
    apiGroups: [''],
    resources: ['secrets'],
    verbs: [...READ, 'create', 'patch'],
  },
  {
    reason: 'Configuration and Services of the daemons; the account under which Patroni runs.',
    apiGroups: [''],
    resources: ['configmaps', 'services', 'serviceaccounts'],
    verbs: OWN,
  },
  {
    reason:
      'Pods are read for conditions and deleted one by one to roll them; patch: the label of a primary store, and handed on to Patroni, which labels its own.',
    apiGroups: [''],
    resources: ['pods'],
    verbs: [...READ, 'patch', 'delete'],
  },
  {
    reason: 'Volumes grow with the declared size, and are removed with a MailSystem that says deletionPolicy Delete.',
    apiGroups: [''],
    resources: ['persistentvolumeclaims'],
    verbs: ['list', 'patch', 'delete'],
  },
  {
    reason: 'Workloads.',
    apiGroups: ['apps'],
    resources: ['statefulsets', 'deployments'],
    verbs: OWN,
  },
  {
    reason: 'Evictions take one pod of a component at a time.',
    apiGroups: ['policy'],
    resources: ['poddisruptionbudgets'],
    verbs: OWN,
  },
  {
    reason: 'Daemons are reached only by those that have to.',
    apiGroups: ['networking.k8s.io'],
    resources: ['networkpolicies'],
    verbs: OWN,
  },
  {
    reason:
      'Patroni keeps its state in ConfigMaps and labels its pods, the courier runs Jobs: roles with less than the operator has itself (it may not escalate).',
    apiGroups: ['rbac.authorization.k8s.io'],
    resources: ['roles', 'rolebindings'],
    verbs: OWN,
  },
  {
    reason:
      'Handed on to the courier, which runs the commands of ForwardRules: a role may hold no more than its author.',
    apiGroups: ['batch'],
    resources: ['jobs'],
    verbs: [...READ, 'create', 'delete'],
  },
  {
    reason: 'What people should see.',
    apiGroups: [''],
    resources: ['events'],
    verbs: ['create', 'patch'],
  },
];

/** What the operator may see of the whole cluster, whichever namespaces it looks after. */
export const CLUSTER_RULES: readonly Rule[] = [
  {
    reason:
      'Nodes that are drained or about to be removed: primaries leave them first. Without it they do so only when their pod is deleted.',
    apiGroups: [''],
    resources: ['nodes'],
    verbs: ['list', 'watch'],
  },
];

/** What the operator may do in its own namespace. */
export const LEADER_RULES: readonly Rule[] = [
  {
    reason: 'Leader election: the pods agree through one Lease on which of them works. (Create knows no names.)',
    apiGroups: ['coordination.k8s.io'],
    resources: ['leases'],
    verbs: ['create'],
  },
  {
    reason: 'The Lease is renewed by replacing it.',
    apiGroups: ['coordination.k8s.io'],
    resources: ['leases'],
    resourceNames: ['posthorn'],
    verbs: ['get', 'update'],
  },
];

/** The rules as Kubernetes takes them. */
export function policyRules(rules: readonly Rule[]) {
  return rules.map(({ apiGroups, resources, resourceNames, verbs }) => ({
    apiGroups: [...apiGroups],
    resources: [...resources],
    ...(resourceNames ? { resourceNames: [...resourceNames] } : {}),
    verbs: [...verbs],
  }));
}

/** The reasons as comments above the rules. */
export function reasons(rules: readonly Rule[]): { rules: string[] } {
  return { rules: rules.map(({ reason }) => reason) };
}

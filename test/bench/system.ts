/** The mail system that benchmarks run against: of its own namespace, on the cluster of the end-to-end tests. */
import { createHash } from 'node:crypto';
import { names } from '../../cdk8s/names.js';
import { builtin, type KubeObject, type ResourceType } from '../../operator/runtime/object.js';
import { mailDomainType, mailSystemType } from '../../operator/types.js';
import { installOperator } from '../e2e/lib/environment.js';
import { apply, kube, kubectlOk, type WithConditions, waitFor, waitForCondition } from '../e2e/lib/kube.js';
import { ensureOutside, type Outside, setRecords } from '../e2e/lib/outside.js';

export const namespace = 'bench-mail';
export const systemName = 'mail';
export const domain = 'bench.example';
export const hostname = 'mail.bench.example';
export const sharedSecret = 'shared-password';
export const password = 'bench-correct-horse';

export interface BenchSystem {
  outside: Outside;
  smtp: { host: string; port: number };
  imap: { host: string; port: number; ca: string; servername: string };
}

/** Installs what is missing and waits until it is Ready. Safe to call again. */
export async function ensureBenchSystem(log: (text: string) => void): Promise<BenchSystem> {
  log('outside world, operator');
  const outside = await ensureOutside();
  await installOperator();
  log(`MailSystem ${namespace}/${systemName}`);
  await apply(namespaceObject(namespace), ...systemObjects(outside));
  const system = await waitForCondition(mailSystemType, { namespace, name: systemName }, {}, 300_000);
  await waitForCondition(mailDomainType, { namespace, name: domain }, {}, 60_000);
  const endpoint = endpointsOf(system);
  await setRecords([{ name: hostname, type: 'A', value: endpoint('smtp').host }]);
  const secret = await kube().get<Secret>(builtin.secret, { namespace, name: names(systemName).ca });
  const ca = Buffer.from(secret.data?.['tls.crt'] ?? '', 'base64').toString('utf8');
  return { outside, smtp: endpoint('smtp'), imap: { ...endpoint('imaps'), ca, servername: hostname } };
}

interface Secret extends KubeObject {
  data?: Record<string, string>;
}

function endpointsOf(system: WithConditions): (name: string) => { host: string; port: number } {
  const endpoints = (system.status?.endpoints ?? []) as { name: string; host: string; port: number }[];
  return (name) => {
    const found = endpoints.find((endpoint) => endpoint.name === name);
    if (found === undefined) throw new Error(`MailSystem ${systemName} has no endpoint ${name}`);
    return { host: found.host, port: found.port };
  };
}

export function namespaceObject(name: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } },
  };
}

function systemObjects(outside: Outside): KubeObject[] {
  const apiVersion = 'posthorn.dev/v1alpha1';
  const resolver = {
    rootServers: [{ name: 'ns.outside.example', address: outside.nameServer }],
    trustAnchors: [outside.trustAnchor],
  };
  const sizes = {
    store: { size: '5Gi' },
    queue: { size: '1Gi' },
    database: { size: '1Gi' },
    redis: { size: '128Mi' },
  };
  return [
    {
      apiVersion,
      kind: 'MailSystem',
      metadata: { name: systemName, namespace },
      spec: { hostname, resolver, ...sizes },
    } as KubeObject,
    { apiVersion, kind: 'MailDomain', metadata: { name: domain, namespace } },
    passwordSecret(namespace, sharedSecret, password),
  ];
}

export function passwordSecret(inNamespace: string, name: string, value: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace: inNamespace },
    stringData: { password: value },
  } as KubeObject;
}

export function mailbox(inNamespace: string, name: string, secret: string, more: object = {}): KubeObject {
  return {
    apiVersion: 'posthorn.dev/v1alpha1',
    kind: 'Mailbox',
    metadata: { name, namespace: inNamespace },
    spec: { address: `${name}@${domain}`, passwordSecretRef: { name: secret }, deletionPolicy: 'Delete', ...more },
  } as KubeObject;
}

export function forwardRule(inNamespace: string, name: string): KubeObject {
  return {
    apiVersion: 'posthorn.dev/v1alpha1',
    kind: 'ForwardRule',
    metadata: { name, namespace: inNamespace },
    spec: { address: `${name}@${domain}`, to: [`${name}@elsewhere.example`] },
  } as KubeObject;
}

/** Runs `work` for every item, so many at a time. */
export async function inParallel<T>(
  items: readonly T[],
  concurrency: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}

/** Deletes every object of a type in a namespace and waits until they are gone. */
export async function deleteAll(type: ResourceType, inNamespace: string): Promise<void> {
  const path = `/apis/${type.group}/${type.version}/namespaces/${inNamespace}/${type.plural}`;
  await waitFor(
    `the ${type.plural} of ${inNamespace} to be gone`,
    async () => {
      // The API server cuts a long deletion off after a minute: go on until nothing is left.
      await kube()
        .request('DELETE', path, { timeoutMs: 90_000 })
        .catch(() => undefined);
      const { items } = await kube().list(type, { namespace: inNamespace });
      return items.length === 0 ? true : undefined;
    },
    600_000,
  );
}

/** The pod of a component, by its labels. */
export async function podOf(component: string, more = ''): Promise<string> {
  const selector = `app.kubernetes.io/instance=${systemName},app.kubernetes.io/component=${component}${more}`;
  const out = await kubectlOk(['get', 'pods', '-n', namespace, '-l', selector, '-o', 'name']);
  const pod = out.split('\n')[0];
  if (pod === undefined || pod === '') throw new Error(`no pod of ${component} in ${namespace}`);
  return pod;
}

/** A uuid that depends on a name alone. */
export function uuidFrom(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}

/** Removes the benchmarks' namespace with everything in it. The operator and the outside world stay. */
export async function removeBenchSystem(log: (text: string) => void): Promise<void> {
  log(`removing namespace ${namespace}`);
  await kubectlOk(['delete', 'namespace', namespace, '--ignore-not-found', '--timeout=300s'], undefined, 310_000);
}

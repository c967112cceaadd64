/** A mail system of its own whose only shard has three copies, for the suites and benchmarks that break things. */
import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { mailboxType, mailDomainType, mailSystemType } from '../../../operator/types.js';
import type { Target } from '../../ledger/imap.js';
import { discover, labelledNamespace, type Place, publish } from './environment.js';
import { apply, kube, kubectlOk, waitFor, waitForCondition } from './kube.js';
import type { Outside } from './outside.js';
import { type Shard, waitUntilWhole } from './shard.js';

export const place: Place = {
  namespace: 'failover-e2e',
  system: 'mail',
  domain: 'failover.example',
  hostname: 'mail.failover.example',
};

export const shard: Shard = { namespace: place.namespace, system: place.system, shard: 'a', replicas: 3 };
export const password = 'failover-correct-horse';
const SECRET = 'shared-password';

export interface FailoverSystem {
  smtp: { host: string; port: number };
  imap: Target;
}

/** Makes it, or finds it, and waits until all copies are in sync. The cluster must have three nodes. */
export async function ensureFailoverSystem(outside: Outside, store: object = {}): Promise<FailoverSystem> {
  const { items: nodes } = await kube().list(builtin.node);
  if (nodes.length < shard.replicas) {
    throw new Error(`three nodes are needed, there are ${nodes.length}: ./hack/cluster up --nodes 3`);
  }
  const { namespace, system, domain } = place;
  await apply(labelledNamespace(namespace), ...systemObjects(outside, store));
  await waitForCondition(mailSystemType, { namespace, name: system }, {}, 420_000);
  await waitForCondition(mailDomainType, { namespace, name: domain }, {}, 60_000);
  const environment = await discover(outside, place);
  await publish(environment, place);
  await waitUntilWhole(shard, 180_000);
  const { host, port } = environment.imap;
  return { smtp: environment.smtp, imap: { host, port, ca: environment.ca, servername: place.hostname } };
}

function systemObjects(outside: Outside, store: object): KubeObject[] {
  const apiVersion = 'posthorn.dev/v1alpha1';
  const { namespace, system, domain, hostname } = place;
  const spec = {
    hostname,
    resolver: {
      rootServers: [{ name: 'ns.outside.example', address: outside.nameServer }],
      trustAnchors: [outside.trustAnchor],
    },
    store: { shards: [{ name: shard.shard, replicas: shard.replicas }], size: '1Gi', ...store },
    mx: { replicas: 2 },
    proxy: { replicas: 2 },
    queue: { size: '512Mi' },
    database: { size: '1Gi' },
    redis: { size: '128Mi' },
  };
  return [
    { apiVersion, kind: 'MailSystem', metadata: { name: system, namespace }, spec } as KubeObject,
    { apiVersion, kind: 'MailDomain', metadata: { name: domain, namespace } },
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: SECRET, namespace }, stringData: { password } } as KubeObject,
  ];
}

/** Makes mailboxes that can be logged in to. */
export async function ensureMailboxes(names: readonly string[]): Promise<void> {
  for (const name of names) await apply(mailbox(name));
  for (const name of names) await waitForCondition(mailboxType, { namespace: place.namespace, name }, {});
}

export const addressOf = (name: string): string => `${name}@${place.domain}`;

function mailbox(name: string): KubeObject {
  return {
    apiVersion: 'posthorn.dev/v1alpha1',
    kind: 'Mailbox',
    metadata: { name, namespace: place.namespace },
    spec: { address: addressOf(name), passwordSecretRef: { name: SECRET }, deletionPolicy: 'Delete' },
  } as KubeObject;
}

export async function removeFailoverSystem(): Promise<void> {
  await kubectlOk(['delete', 'namespace', place.namespace, '--ignore-not-found', '--timeout=300s'], undefined, 310_000);
}

/** How many messages wait in the queues of the mx, all tried again now. */
export async function flushQueues(): Promise<number> {
  const selector = 'app.kubernetes.io/component=mx';
  const out = await kubectlOk(['get', 'pods', '-n', place.namespace, '-l', selector, '-o', 'name']);
  let waiting = 0;
  for (const pod of out.split('\n').filter((line) => line !== '')) {
    const inPod = ['exec', '-n', place.namespace, pod, '-c', 'postfix', '--'];
    waiting += (await kubectlOk([...inPod, 'postqueue', '-j']))
      .split('\n')
      .filter((line) => line.startsWith('{')).length;
    await kubectlOk([...inPod, 'postqueue', '-f']);
  }
  return waiting;
}

export function waitForEmptyQueues(timeoutMs = 180_000): Promise<true> {
  return waitFor(
    'the queues of the mx to be empty',
    async () => {
      const waiting = await flushQueues();
      if (waiting > 0) throw new Error(`${waiting} messages wait`);
      return true as const;
    },
    timeoutMs,
  );
}

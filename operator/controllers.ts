import type { Mailbox } from '../crds/mailbox.js';
import type { MailDomain } from '../crds/maildomain.js';
import type { MailSystem } from '../crds/mailsystem.js';
import type { OperatorConfig } from './config.js';
import { createMailboxController, mailboxIndexes } from './mailbox/controller.js';
import { enqueueDomain } from './mailbox/dependencies.js';
import { claimedAddresses } from './mailbox/desired.js';
import { createHostingView, mailDomainIndexes, mailSystemIndexes } from './maildomain/controller.js';
import { domainOf } from './maildomain/hosting.js';
import { type MailDomainDependencies, reconcileMailDomain } from './maildomain/reconcile.js';
import { type Connect, connectInCluster } from './mailsystem/connect.js';
import type { MailSystemDependencies } from './mailsystem/dependencies.js';
import { createLooks, type Looks } from './mailsystem/looks.js';
import {
  bySystem,
  type PodObject,
  type ServiceObject,
  systemOfChild,
  type WorkloadObject,
} from './mailsystem/observe.js';
import { reconcileMailSystem } from './mailsystem/reconcile.js';
import { isDrift, isNewGeneration, isNews, isSame } from './news.js';
import type { Client } from './runtime/client.js';
import { runController } from './runtime/controller.js';
import type { EventRecorder } from './runtime/events.js';
import { createInformer, type Informer, type InformerOptions } from './runtime/informer.js';
import type { Log } from './runtime/log.js';
import type { Metrics } from './runtime/metrics.js';
import { builtin, type KubeObject, keyOf, type ResourceType } from './runtime/object.js';
import { createQueue, type Queue } from './runtime/queue.js';
import type { InformerEvent } from './runtime/store.js';
import { dkimLabel, type Secret } from './signing/secret.js';
import { syncSigning } from './signing/sync.js';
import { createSystems } from './systems.js';
import { mailboxType, mailDomainType, mailSystemType } from './types.js';

/** Events of pods and workloads come in swarms: one reconciliation for all of this time. */
const SWARM_MS = 2_000;

export interface ControllersOptions {
  /** Undefined: all namespaces. */
  namespace: string | undefined;
  client: Client;
  config: OperatorConfig;
  events: EventRecorder;
  log: Log;
  metrics: Metrics;
  /** How a MailSystem's directory and signing cache are reached; default by its Services. */
  connect?: Connect;
}

export interface Controllers {
  hasSynced(): boolean;
  stop(): Promise<void>;
}

/** The controllers of all kinds for one namespace, or for all of them; everything they share is in their caches. */
export async function startControllers({
  namespace,
  client,
  config,
  events,
  log,
  metrics,
  connect = connectInCluster,
}: ControllersOptions): Promise<Controllers> {
  const informer = <T extends KubeObject>(type: ResourceType, options: Partial<InformerOptions<T>> = {}): Informer<T> =>
    createInformer<T>({ client, type, namespace, log, metrics, ...options });
  const children = { labelSelector: 'app.kubernetes.io/name=posthorn', indexes: { [bySystem]: systemOfChild } };

  const mailSystems = informer<MailSystem & KubeObject>(mailSystemType, { indexes: mailSystemIndexes });
  const domains = informer<MailDomain & KubeObject>(mailDomainType, { indexes: mailDomainIndexes });
  const mailboxes = informer<Mailbox & KubeObject>(mailboxType, { indexes: mailboxIndexes });
  const secrets = informer<KubeObject>(builtin.secret, { metadataOnly: true, transform: onlyVersion });
  const dkimSecrets = informer<Secret>(builtin.secret, { labelSelector: `${dkimLabel}=true` });
  const statefulSets = informer<WorkloadObject>(builtin.statefulSet, children);
  const deployments = informer<WorkloadObject>(builtin.deployment, children);
  const pods = informer<PodObject>(builtin.pod, { ...children, transform: trimPod });
  const services = informer<ServiceObject>(builtin.service, children);
  const informers: Informer<never>[] = [
    mailSystems,
    domains,
    mailboxes,
    secrets,
    dkimSecrets,
    statefulSets,
    deployments,
    pods,
    services,
  ] as never[];

  const systems = createSystems();
  const hosting = createHostingView(mailSystems.cache, domains.cache);
  const queues = {
    system: createQueue({ name: 'mailsystem', metrics }),
    domain: createQueue({ name: 'maildomain', metrics }),
    mailbox: createQueue({ name: 'mailbox', metrics }),
  };
  const now = () => new Date();
  const isLeaving = (systemKey: string): boolean => {
    const system = mailSystems.cache.get(systemKey);
    return system === undefined || system.metadata.deletionTimestamp !== undefined;
  };
  const signingDeps = { secrets: dkimSecrets.cache, hosted: hosting.hosted, log };

  const mailbox = createMailboxController({
    client,
    mailboxes,
    domains,
    secrets,
    hosting: hosting.domain,
    systems,
    isLeaving,
    queue: queues.mailbox,
    events,
    log,
    now,
    metrics,
  });
  const looks = createLooks();
  const onDomain = (ns: string, domain: string) => enqueueDomain(mailbox.deps, ns, domain);
  const keys = { client, secrets: dkimSecrets };
  const systemDeps: MailSystemDependencies = {
    client,
    config,
    mailSystems,
    statefulSets: statefulSets.cache,
    deployments: deployments.cache,
    pods: pods.cache,
    services: services.cache,
    systems,
    connect,
    looks,
    usedBy: (systemKey) => usedBy(systemKey, hosting.hosted(systemKey), mailboxes),
    keys,
    syncSigning: async (systemKey) => {
      const system = systems.get(systemKey);
      if (system !== undefined) await syncSigning(signingDeps, system);
    },
    events,
    log,
    now,
  };
  const domainDeps: MailDomainDependencies = {
    keys,
    domains,
    dkimSecrets: dkimSecrets.cache,
    hosting: hosting.of,
    hosted: hosting.hosted,
    mailboxesIn: (ns, domain) => mailboxes.cache.keysByIndex('domain', `${ns}/${domain}`),
    onHosted: onDomain,
    systems,
    isLeaving,
    events,
    log,
    now,
  };

  wire({ mailSystems, domains, mailboxes, dkimSecrets, queues, systems, looks, onDomain });
  wireChildren([statefulSets, deployments, services, pods] as Informer<KubeObject>[], queues.system, looks);
  for (const each of informers) each.start();
  await Promise.all(informers.map((each) => each.synced));

  // Only now: what isn't in a cache would be taken for absent, and said to be.
  const running = [
    runController({
      name: 'mailsystem',
      queue: queues.system,
      workers: 2,
      log,
      metrics,
      reconcile: (key, { signal }) => reconcileMailSystem(systemDeps, key, signal),
    }),
    runController({
      name: 'maildomain',
      queue: queues.domain,
      workers: 4,
      log,
      metrics,
      reconcile: (key) => reconcileMailDomain(domainDeps, key),
    }),
    mailbox.start(),
  ];

  return {
    hasSynced: () => informers.every((each) => each.hasSynced()),
    stop: async () => {
      await Promise.all(running.map((controller) => controller.stop()));
      await Promise.all(informers.map((each) => each.stop()));
      for (const system of [...systems.all()]) {
        systems.detach(system.key);
        system.signing.close();
        await system.directory.close();
      }
    },
  };
}

interface Wiring {
  mailSystems: Informer<MailSystem>;
  domains: Informer<MailDomain>;
  mailboxes: Informer<Mailbox>;
  dkimSecrets: Informer<Secret>;
  queues: { system: Queue; domain: Queue; mailbox: Queue };
  systems: ReturnType<typeof createSystems>;
  looks: Looks;
  onDomain: (namespace: string, domain: string) => void;
}

/** Which event makes which object be looked at again. */
function wire({ mailSystems, domains, mailboxes, dkimSecrets, queues, systems, looks, onDomain }: Wiring): void {
  const addAll = (queue: Queue, keys: ReadonlySet<string>): void => {
    for (const key of keys) queue.add(key);
  };
  const domainsOf = (namespace = '') => addAll(queues.domain, domains.cache.keysByIndex('namespace', namespace));
  const systemsOf = (namespace = '') => {
    const keys = mailSystems.cache.keysByIndex('namespace', namespace);
    for (const key of keys) looks.invalidate(key);
    addAll(queues.system, keys);
  };

  mailSystems.onEvent((event) => {
    const { object, previous, initial } = event;
    if (!isNews(event)) return;
    queues.system.add(keyOf(object), { background: initial });
    if (isNewGeneration(object, previous)) domainsOf(object.metadata.namespace);
  });
  const onDomainNews = ({ type, object, previous, initial }: InformerEvent<MailDomain>): void => {
    queues.domain.add(keyOf(object), { background: initial });
    if (type === 'updated' && !isNewGeneration(object, previous)) return;
    const { namespace = '' } = object.metadata;
    // Rivals for the same domain, a MailSystem that waits to be deleted, and the mailboxes in the domain.
    domainsOf(namespace);
    if (type === 'deleted') systemsOf(namespace);
    if (!initial) onDomain(namespace, domainOf(object) ?? '');
  };
  domains.onEvent((event) => {
    if (isNews(event)) onDomainNews(event);
  });
  mailboxes.onEvent((event) => {
    if (event.type === 'added' || !isNews(event)) return;
    // It may have been the last one that a MailDomain's deletion waits for.
    const before = event.previous ?? event.object;
    for (const domain of domainsOfMailbox(before)) {
      addAll(queues.domain, domains.cache.keysByIndex('domain', `${before.metadata.namespace}/${domain}`));
    }
  });
  dkimSecrets.onEvent(({ object, initial }) => {
    if (!initial) domainsOf(object.metadata.namespace);
  });
  systems.onAttach((system) => domainsOf(system.namespace));
}

function domainsOfMailbox(object: Mailbox): Set<string> {
  return new Set(claimedAddresses(object).map((address) => address.slice(address.lastIndexOf('@') + 1)));
}

/** Changes of children only make a status, mostly; some mean that a child is not as it was applied. */
function wireChildren(children: readonly Informer<KubeObject>[], queue: Queue, looks: Looks): void {
  const onChild = (event: InformerEvent<KubeObject>): void => {
    if (event.initial || isSame(event.object, event.previous)) return;
    const drift = event.object.kind !== 'Pod' && isDrift(event);
    for (const key of systemOfChild(event.object)) {
      if (drift) looks.invalidate(key);
      queue.addAfter(key, SWARM_MS);
    }
  };
  for (const child of children) child.onEvent(onChild);
}

function usedBy(
  systemKey: string,
  hosted: readonly MailDomain[],
  mailboxes: Informer<Mailbox>,
): { domains: number; mailboxes: number } {
  const namespace = systemKey.slice(0, systemKey.indexOf('/'));
  const keys = new Set(
    hosted.flatMap((object) => [...mailboxes.cache.keysByIndex('domain', `${namespace}/${domainOf(object)}`)]),
  );
  return { domains: hosted.length, mailboxes: keys.size };
}

/** Of other people's Secrets we keep what tells one version from another, and nothing else. */
function onlyVersion(object: KubeObject): KubeObject {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  return { apiVersion: object.apiVersion, kind: object.kind, metadata: { name, namespace, uid, resourceVersion } };
}

function trimPod(pod: PodObject): PodObject {
  const { name, namespace, uid, resourceVersion, labels, ownerReferences, deletionTimestamp } = pod.metadata;
  return {
    apiVersion: pod.apiVersion,
    kind: pod.kind,
    metadata: { name, namespace, uid, resourceVersion, labels, ownerReferences, deletionTimestamp },
    status: { conditions: (pod.status?.conditions ?? []).filter((c) => c.type === 'Ready') },
  };
}

import type { Mailbox } from '../crds/mailbox.js';
import type { MailDomain } from '../crds/maildomain.js';
import type { MailSystem } from '../crds/mailsystem.js';
import type { OperatorConfig } from './config.js';
import { mailboxIndexes, runMailboxController } from './mailbox/controller.js';
import { enqueueDomain } from './mailbox/dependencies.js';
import { compareInventory } from './mailbox/inventory.js';
import { createHostingView, mailDomainIndexes, mailSystemIndexes } from './maildomain/controller.js';
import { domainOf } from './maildomain/hosting.js';
import { reconcileMailDomain } from './maildomain/reconcile.js';
import type { PodObject, ServiceObject, WorkloadObject } from './mailsystem/observe.js';
import { bySystem, reconcileMailSystem, systemOfChild } from './mailsystem/reconcile.js';
import type { Client } from './runtime/client.js';
import { runController } from './runtime/controller.js';
import type { EventRecorder } from './runtime/events.js';
import { createInformer, type Informer, type InformerOptions } from './runtime/informer.js';
import type { Log } from './runtime/log.js';
import type { Metrics } from './runtime/metrics.js';
import { builtin, type KubeObject, keyOf, type ResourceType } from './runtime/object.js';
import { createQueue, type Queue } from './runtime/queue.js';
import { dkimLabel, type Secret } from './signing/secret.js';
import { syncSigning } from './signing/sync.js';
import { createSystems } from './systems.js';
import { mailboxType, mailDomainType, mailSystemType } from './types.js';

/** A safety net for what no event tells: rows whose object vanished in a gap. */
const INVENTORY_MS = 10 * 60_000;

export interface ControllersOptions {
  /** Undefined: all namespaces. */
  namespace: string | undefined;
  client: Client;
  config: OperatorConfig;
  events: EventRecorder;
  log: Log;
  metrics: Metrics;
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

  const systemController = runController({
    name: 'mailsystem',
    queue: queues.system,
    workers: 2,
    log,
    metrics,
    reconcile: (key, { signal }) =>
      reconcileMailSystem(
        {
          client,
          config,
          mailSystems,
          statefulSets: statefulSets.cache,
          deployments: deployments.cache,
          pods: pods.cache,
          services: services.cache,
          systems,
          usedBy: (systemKey) => usedBy(systemKey, hosting.hosted(systemKey), mailboxes),
          keys: { client, secrets: dkimSecrets },
          syncSigning: async (systemKey) => {
            const system = systems.get(systemKey);
            if (system !== undefined) await syncSigning(signingDeps, system);
          },
          events,
          log,
          now,
        },
        key,
        signal,
      ),
  });
  const mailboxController = runMailboxController({
    client,
    mailboxes,
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
  const domainController = runController({
    name: 'maildomain',
    queue: queues.domain,
    workers: 4,
    log,
    metrics,
    reconcile: (key) =>
      reconcileMailDomain(
        {
          keys: { client, secrets: dkimSecrets },
          domains,
          dkimSecrets: dkimSecrets.cache,
          hosting: hosting.of,
          hosted: hosting.hosted,
          mailboxesIn: (ns, domain) => mailboxes.cache.keysByIndex('domain', `${ns}/${domain}`),
          onHosted: (ns, domain) => enqueueDomain(mailboxController.deps, ns, domain),
          systems,
          isLeaving,
          events,
          log,
          now,
        },
        key,
      ),
  });

  wire({
    mailSystems,
    domains,
    mailboxes,
    dkimSecrets,
    queues,
    systems,
    onDomain: (ns, domain) => enqueueDomain(mailboxController.deps, ns, domain),
  });
  for (const child of [statefulSets, deployments, pods, services] as Informer<KubeObject>[]) {
    child.onEvent(({ object, initial }) => {
      if (!initial) for (const key of systemOfChild(object)) queues.system.add(key);
    });
  }
  for (const each of informers) each.start();
  await Promise.all(informers.map((each) => each.synced));

  const inventory = setInterval(() => {
    for (const system of systems.all()) {
      compareInventory(mailboxController.deps, system).catch((err: unknown) =>
        log.warn({ system: system.key, err }, 'comparing the directory failed'),
      );
    }
  }, INVENTORY_MS);

  return {
    hasSynced: () => informers.every((each) => each.hasSynced()),
    stop: async () => {
      clearInterval(inventory);
      await Promise.all([systemController.stop(), domainController.stop(), mailboxController.stop()]);
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
  onDomain: (namespace: string, domain: string) => void;
}

/** Which event makes which object be looked at again. */
function wire({ mailSystems, domains, mailboxes, dkimSecrets, queues, systems, onDomain }: Wiring): void {
  const addAll = (queue: Queue, keys: ReadonlySet<string>): void => {
    for (const key of keys) queue.add(key);
  };
  const domainsOf = (namespace = '') => addAll(queues.domain, domains.cache.keysByIndex('namespace', namespace));
  const systemsOf = (namespace = '') => addAll(queues.system, mailSystems.cache.keysByIndex('namespace', namespace));

  mailSystems.onEvent(({ object, previous, initial }) => {
    queues.system.add(keyOf(object), { background: initial });
    if (isNewGeneration(object, previous)) domainsOf(object.metadata.namespace);
  });
  domains.onEvent(({ type, object, previous, initial }) => {
    queues.domain.add(keyOf(object), { background: initial });
    if (type === 'updated' && !isNewGeneration(object, previous)) return;
    // Rivals for the same domain, a MailSystem that waits to be deleted, and the mailboxes in the domain.
    domainsOf(object.metadata.namespace);
    if (type === 'deleted') systemsOf(object.metadata.namespace);
    if (!initial) onDomain(object.metadata.namespace ?? '', domainOf(object) ?? '');
  });
  mailboxes.onEvent(({ type, object }) => {
    if (type !== 'deleted') return;
    const domain = object.spec.address.slice(object.spec.address.lastIndexOf('@') + 1).toLowerCase();
    addAll(queues.domain, domains.cache.keysByIndex('domain', `${object.metadata.namespace}/${domain}`));
  });
  dkimSecrets.onEvent(({ object, initial }) => {
    if (!initial) domainsOf(object.metadata.namespace);
  });
  systems.onAttach((system) => domainsOf(system.namespace));
}

/** Whether the specification has changed, or the object has come or gone. */
function isNewGeneration(object: KubeObject, previous: KubeObject | undefined): boolean {
  return previous?.metadata.generation !== object.metadata.generation;
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

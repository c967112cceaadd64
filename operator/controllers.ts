import type { ForwardRule } from '../crds/forwardrule.js';
import type { Mailbox } from '../crds/mailbox.js';
import type { MailboxMove } from '../crds/mailboxmove.js';
import type { MailDomain } from '../crds/maildomain.js';
import { type MailSystem, type MailSystemResolved, resolveMailSystem } from '../crds/mailsystem.js';
import type { OperatorConfig } from './config.js';
import { hasBot } from './forwardrule/bots.js';
import type { BotContext } from './forwardrule/context.js';
import { createForwardRuleController, forwardRuleIndexes } from './forwardrule/controller.js';
import { enqueueDomain as enqueueRulesOfDomain } from './forwardrule/dependencies.js';
import { createLandscape } from './forwardrule/landscape.js';
import { createLiveForwards } from './forwardrule/live.js';
import { createMailboxController, mailboxIndexes } from './mailbox/controller.js';
import { enqueueClaimants, enqueueDomain } from './mailbox/dependencies.js';
import { createMailboxMoveController, mailboxMoveIndexes } from './mailboxmove/controller.js';
import { emptiedShards } from './mailboxmove/system.js';
import { createHostingView, mailDomainIndexes, mailSystemIndexes } from './maildomain/controller.js';
import type { MailDomainDependencies } from './maildomain/dependencies.js';
import { domainOf } from './maildomain/hosting.js';
import { reconcileMailDomain } from './maildomain/reconcile.js';
import { lookupTxt } from './maildomain/txt.js';
import { createVerifier } from './maildomain/verify.js';
import { type Connect, connectInCluster } from './mailsystem/connect.js';
import type { MailSystemDependencies } from './mailsystem/dependencies.js';
import { createLooks } from './mailsystem/looks.js';
import {
  bySystem,
  type PodObject,
  type ServiceObject,
  systemOfChild,
  type WorkloadObject,
} from './mailsystem/observe.js';
import { reconcileMailSystem } from './mailsystem/reconcile.js';
import { createShardsController } from './mailsystem/shards/controller.js';
import { type NodeObject, trimNode } from './mailsystem/shards/observe.js';
import { createShardViews } from './mailsystem/shards/views.js';
import type { Client } from './runtime/client.js';
import { runController } from './runtime/controller.js';
import type { EventRecorder } from './runtime/events.js';
import { createInformer, type Informer, type InformerOptions } from './runtime/informer.js';
import type { Log } from './runtime/log.js';
import type { Metrics } from './runtime/metrics.js';
import { builtin, type KubeObject, type ResourceType } from './runtime/object.js';
import { createQueue } from './runtime/queue.js';
import { dkimLabel, type Secret } from './signing/secret.js';
import { syncSigning } from './signing/sync.js';
import { createSystems } from './systems.js';
import { forwardRuleType, mailboxMoveType, mailboxType, mailDomainType, mailSystemType } from './types.js';
import { wire, wireChildren } from './wiring.js';

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
  const rules = informer<ForwardRule & KubeObject>(forwardRuleType, { indexes: forwardRuleIndexes });
  const moves = informer<MailboxMove & KubeObject>(mailboxMoveType, { indexes: mailboxMoveIndexes });
  const secrets = informer<KubeObject>(builtin.secret, { metadataOnly: true, transform: onlyVersion });
  const dkimSecrets = informer<Secret>(builtin.secret, { labelSelector: `${dkimLabel}=true` });
  const statefulSets = informer<WorkloadObject>(builtin.statefulSet, children);
  const deployments = informer<WorkloadObject>(builtin.deployment, children);
  const pods = informer<PodObject>(builtin.pod, { ...children, transform: trimPod });
  const services = informer<ServiceObject>(builtin.service, children);
  // Not waited for: an operator without the right to see nodes does all the rest.
  const nodes = createInformer<NodeObject>({ client, type: builtin.node, log, metrics, transform: trimNode });
  const informers: Informer<never>[] = [
    mailSystems,
    domains,
    mailboxes,
    rules,
    moves,
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
    rule: createQueue({ name: 'forwardrule', metrics }),
    move: createQueue({ name: 'mailboxmove', metrics }),
  };
  const now = () => new Date();
  const isLeaving = (systemKey: string): boolean => {
    const system = mailSystems.cache.get(systemKey);
    return system === undefined || system.metadata.deletionTimestamp !== undefined;
  };
  const watches = (ns: string): boolean => namespace === undefined || namespace === ns;
  const systemSpec = (systemKey: string): MailSystemResolved | undefined => resolved(mailSystems.cache.get(systemKey));
  const signingDeps = { secrets: dkimSecrets.cache, hosted: hosting.hosted, log };

  const shards = createShardViews();
  const mailbox = createMailboxController({
    client,
    shards,
    emptied: (systemKey) =>
      emptiedShards(moves.cache.values(), (ns) => mailSystems.cache.byIndex('namespace', ns), systemKey),
    mailboxes,
    domains,
    secrets,
    hosting: hosting.domain,
    namespacesOf: hosting.namespacesOf,
    watches,
    systems,
    isLeaving,
    queue: queues.mailbox,
    events,
    log,
    now,
    metrics,
  });
  const bots: BotContext = {
    systemSpec,
    clusterDomain: config.clusterDomain,
    secretExists: (ns, name) => secrets.cache.has(`${ns}/${name}`),
  };
  const landscape = createLandscape({
    rules: rules.cache,
    mailboxes: mailboxes.cache,
    hosting,
    systemSpec,
    hasBot: (rule, spec, systemKey) => hasBot(rule, spec, systemKey, bots),
    clusterDomain: bots.clusterDomain,
  });
  const forwardRule = createForwardRuleController({
    client,
    rules,
    mailboxes,
    context: { ...bots, landscape, live: createLiveForwards() },
    secrets,
    systems,
    isLeaving,
    watches,
    onAddress: (address) => enqueueClaimants(mailbox.deps, address),
    queue: queues.rule,
    events,
    log,
    now,
    metrics,
  });
  const mailboxMove = createMailboxMoveController({
    client,
    moves,
    mailboxes,
    mailSystems,
    hosting: hosting.domain,
    systems,
    isLeaving,
    queue: queues.move,
    mailboxQueue: queues.mailbox,
    events,
    log,
    now,
    metrics,
  });
  const looks = createLooks();
  const shardsController = createShardsController({
    client,
    mailSystems,
    systems,
    statefulSets: statefulSets.cache,
    pods,
    nodes,
    views: shards,
    events,
    log,
    now,
    metrics,
  });
  const onDomain = (ns: string, domain: string): void => {
    enqueueDomain(mailbox.deps, ns, domain);
    enqueueRulesOfDomain(forwardRule.deps, ns, domain);
  };
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
    shards,
    usedBy: (systemKey) => usedBy(hosting.hosted(systemKey), mailboxes),
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
    addressesIn: (ns, domain) =>
      [mailboxes.cache, rules.cache].reduce((n, cache) => n + cache.keysByIndex('domain', `${ns}/${domain}`).size, 0),
    verifier: createVerifier(lookupTxt, now),
    resolverOf: (systemKey) => systemSpec(systemKey)?.resolver,
    onVerified: (domain) => {
      for (const key of domains.cache.keysByIndex('claim', domain)) queues.domain.add(key);
    },
    onHosted: onDomain,
    systems,
    isLeaving,
    events,
    log,
    now,
  };

  shards.onChange((key, { status, alone }) => {
    if (status) queues.system.add(key);
    for (const shard of alone)
      for (const each of mailboxes.cache.keysByIndex('shard', shard)) queues.mailbox.add(each, { background: true });
  });
  wire({ mailSystems, domains, mailboxes, rules, dkimSecrets, queues, systems, looks, onDomain });
  wireChildren([statefulSets, deployments, services, pods] as Informer<KubeObject>[], queues.system, looks);
  for (const each of [...informers, nodes]) each.start();
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
    shardsController.start(),
    mailbox.start(),
    forwardRule.start(),
    mailboxMove.start(),
  ];

  return {
    hasSynced: () => informers.every((each) => each.hasSynced()),
    stop: async () => {
      await Promise.all(running.map((controller) => controller.stop()));
      await Promise.all([...informers, nodes].map((each) => each.stop()));
      for (const system of [...systems.all()]) {
        systems.detach(system.key);
        system.signing.close();
        await system.directory.close();
      }
    },
  };
}

function usedBy(hosted: readonly MailDomain[], mailboxes: Informer<Mailbox>): { domains: number; mailboxes: number } {
  const keys = new Set(
    hosted.flatMap((object) => [
      ...mailboxes.cache.keysByIndex('domain', `${object.metadata.namespace}/${domainOf(object)}`),
    ]),
  );
  return { domains: hosted.length, mailboxes: keys.size };
}

/** Asked for each rule and each domain: objects in caches never change. */
const resolutions = new WeakMap<MailSystem, MailSystemResolved | null>();

function resolved(object: MailSystem | undefined): MailSystemResolved | undefined {
  if (object === undefined) return undefined;
  let spec = resolutions.get(object);
  if (spec === undefined) {
    try {
      spec = resolveMailSystem(object.spec);
    } catch {
      spec = null;
    }
    resolutions.set(object, spec);
  }
  return spec ?? undefined;
}

/** Of other people's Secrets we keep what tells one version from another, and nothing else. */
function onlyVersion(object: KubeObject): KubeObject {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  return { apiVersion: object.apiVersion, kind: object.kind, metadata: { name, namespace, uid, resourceVersion } };
}

/** Conditions that are looked at: whether it works, and whether there is a node for it. */
const POD_CONDITIONS = new Set(['Ready', 'PodScheduled']);

function trimPod(pod: PodObject): PodObject {
  const { name, namespace, uid, resourceVersion, labels, ownerReferences, deletionTimestamp } = pod.metadata;
  const conditions = (pod.status?.conditions ?? []).filter((c) => POD_CONDITIONS.has(c.type));
  return {
    apiVersion: pod.apiVersion,
    kind: pod.kind,
    metadata: { name, namespace, uid, resourceVersion, labels, ownerReferences, deletionTimestamp },
    spec: { nodeName: pod.spec?.nodeName, containers: named(pod.spec?.containers), volumes: named(pod.spec?.volumes) },
    status: {
      conditions: conditions.map(({ type, status, lastTransitionTime }) => ({ type, status, lastTransitionTime })),
    },
  };
}

function named(items: readonly { name: string }[] = []): { name: string }[] {
  return items.map(({ name }) => ({ name }));
}

import { type RunningController, runController } from '../../runtime/controller.js';
import type { Informer } from '../../runtime/informer.js';
import type { Metrics } from '../../runtime/metrics.js';
import { createQueue } from '../../runtime/queue.js';
import { type PodObject, systemOfChild } from '../observe.js';
import type { ShardsDependencies } from './dependencies.js';
import { type NodeObject, nodeState } from './observe.js';
import { reconcileShards } from './reconcile.js';

export interface ShardsControllerOptions extends Omit<ShardsDependencies, 'memories' | 'pods' | 'nodes'> {
  pods: Informer<PodObject>;
  nodes: Informer<NodeObject>;
  metrics: Metrics;
}

export interface ShardsController {
  start(): RunningController;
}

/** Events of pods come in swarms. */
const SWARM_MS = 300;

/** Looks at the shards of every attached MailSystem: now and then, and when pods or nodes change. */
export function createShardsController(options: ShardsControllerOptions): ShardsController {
  const { pods, nodes, systems, mailSystems, log, metrics } = options;
  const queue = createQueue({ name: 'shards', metrics });
  const deps: ShardsDependencies = { ...options, pods: pods.cache, nodes: nodes.cache, memories: new Map() };
  systems.onAttach(({ key }) => queue.add(key));
  pods.onEvent(({ object, initial }) => {
    if (initial || object.metadata.labels?.['posthorn.dev/shard'] === undefined) return;
    for (const key of systemOfChild(object)) queue.addAfter(key, SWARM_MS);
  });
  nodes.onEvent(({ object, previous, type, initial }) => {
    if (initial || type === 'deleted' || nodeState(object) === nodeState(previous)) return;
    for (const { key } of systems.all()) queue.addAfter(key, SWARM_MS);
  });
  mailSystems.onEvent(({ object, type }) => {
    if (type === 'deleted') queue.add(`${object.metadata.namespace}/${object.metadata.name}`);
  });
  return {
    start: () =>
      runController({
        name: 'shards',
        queue,
        workers: 2,
        log,
        metrics,
        reconcile: (key) => reconcileShards(deps, key),
      }),
  };
}

import { isNews } from '../news.js';
import { type RunningController, runController } from '../runtime/controller.js';
import type { Metrics } from '../runtime/metrics.js';
import { keyOf } from '../runtime/object.js';
import type { MailboxMoveDependencies } from './dependencies.js';
import { reconcileMove } from './reconcile.js';

/** Indexes that the cache of MailboxMoves needs. */
export const mailboxMoveIndexes = {
  namespace: (move: { metadata: { namespace?: string } }) => [move.metadata.namespace ?? ''],
};

export interface MailboxMoveController {
  start(): RunningController;
}

/** Wires events to the queue. */
export function createMailboxMoveController(
  deps: MailboxMoveDependencies & { metrics: Metrics },
): MailboxMoveController {
  const { moves, systems, queue, log, metrics } = deps;
  moves.onEvent((event) => {
    if (isNews(event)) queue.add(keyOf(event.object), { background: event.initial });
  });
  systems.onAttach(({ namespace }) => {
    for (const key of moves.cache.keysByIndex('namespace', namespace)) queue.add(key);
  });
  return {
    start: () =>
      runController({
        name: 'mailboxmove',
        queue,
        workers: 2,
        log,
        metrics,
        reconcile: (key) => reconcileMove(deps, key),
      }),
  };
}

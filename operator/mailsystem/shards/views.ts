import { isDeepStrictEqual } from 'node:util';
import type { ConditionUpdate } from '../../runtime/conditions.js';
import type { ShardStatus } from './describe.js';

/** What was last seen of a MailSystem's shards. */
export interface ShardsView {
  readonly statuses: readonly ShardStatus[];
  readonly verdict: ConditionUpdate;
  /** Since when shards that should have several copies have had one only, ms, if that is long ago. */
  readonly alone: ReadonlyMap<string, number>;
  /** Room and mailboxes of each shard, for new ones. */
  readonly loads: readonly ShardLoad[];
}

/** How full a shard is. */
export interface ShardLoad {
  readonly name: string;
  readonly mailboxes: number;
  /** Of the fullest of its volumes; undefined: no member has said. */
  readonly usedBytes?: number | undefined;
  readonly totalBytes?: number | undefined;
  /** It has a primary. */
  readonly open: boolean;
  /** It is being emptied. */
  readonly leaving?: boolean | undefined;
}

export interface ShardViews {
  get(systemKey: string): ShardsView | undefined;
  set(systemKey: string, view: ShardsView): void;
  forget(systemKey: string): void;
  /** Called when something that a status says has changed. */
  onChange(listener: (systemKey: string, change: ViewChange) => void): void;
}

export interface ViewChange {
  /** The MailSystem's own status says something else. */
  readonly status: boolean;
  /** Shards whose Mailboxes say something else. */
  readonly alone: readonly string[];
}

export function createShardViews(): ShardViews {
  const views = new Map<string, ShardsView>();
  const listeners: ((systemKey: string, change: ViewChange) => void)[] = [];
  return {
    get: (key) => views.get(key),
    set: (key, view) => {
      const before = views.get(key);
      views.set(key, view);
      const change = changeOf(before, view);
      if (change.status || change.alone.length > 0) for (const listener of listeners) listener(key, change);
    },
    forget: (key) => views.delete(key),
    onChange: (listener) => {
      listeners.push(listener);
    },
  };
}

function changeOf(before: ShardsView | undefined, after: ShardsView): ViewChange {
  const told = (view: ShardsView | undefined) => [view?.statuses, view?.verdict];
  const names = new Set([...(before?.alone.keys() ?? []), ...after.alone.keys()]);
  return {
    status: !isDeepStrictEqual(told(before), told(after)),
    alone: [...names].filter((name) => before?.alone.has(name) !== after.alone.has(name)),
  };
}

import type { ForwardRule } from '../../crds/forwardrule.js';
import type { Directory } from '../directory/directory.js';
import type { CacheReader } from '../runtime/cache.js';
import type { Client } from '../runtime/client.js';
import type { EventRecorder } from '../runtime/events.js';
import type { Informer } from '../runtime/informer.js';
import type { Log } from '../runtime/log.js';
import type { Queue } from '../runtime/queue.js';
import type { Systems } from '../systems.js';
import type { ForwardContext } from './context.js';
import { addressesOf } from './landscape.js';

export interface ForwardRuleDependencies {
  client: Client;
  rules: Informer<ForwardRule>;
  context: ForwardContext;
  systems: Systems;
  /** Whether that MailSystem is being deleted or is gone. */
  isLeaving: (systemKey: string) => boolean;
  /** Whether objects of this namespace are in our caches. */
  watches: (namespace: string) => boolean;
  /** Looks again at the Mailboxes that claim an address. */
  onAddress: (address: string) => void;
  /** Directories whose contents are known. */
  learned: WeakMap<Directory, Promise<void>>;
  /** Keys of rules that are held back, because their mail would go in circles. */
  held: Set<string>;
  /** Objects that are gone and whose forwards are still there, by key. */
  gone: Map<string, GoneForward[]>;
  queue: Queue;
  events: EventRecorder;
  log: Log;
  now: () => Date;
  /** When this controller was made. */
  startedAt: Date;
}

/** A deleted ForwardRule object. */
export interface GoneForward {
  uid: string;
  /** Its canonical address, for others that wait for it. */
  addresses: string[];
}

type Rules = CacheReader<ForwardRule>;

/** Most rules that one event makes look again upwards; more than that is a knot that every look of a member finds anyway. */
const MAX_UPWARDS = 5_000;

/**
 * Keys of the rules that an address matters to: those that claim it, and those whose mail may come there, over however many
 * rules. A catch-all matters to every rule with a target in its domain.
 */
export function interestedIn(rules: Rules, address: string): Set<string> {
  const keys = new Set(rules.keysByIndex('address', address));
  const seen = new Set<string>();
  const open = [address];
  for (let next = open.pop(); next !== undefined && keys.size < MAX_UPWARDS; next = open.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    for (const key of senders(rules, next)) {
      keys.add(key);
      const rule = rules.get(key);
      if (rule !== undefined) open.push(...addressesOf(rule));
    }
  }
  return keys;
}

function senders(rules: Rules, address: string): ReadonlySet<string> {
  return address.startsWith('*@')
    ? rules.keysByIndex('targetDomain', address.slice(2))
    : rules.keysByIndex('target', address);
}

/** Every rule that the named index files under this value is looked at again. */
export function enqueueIndex(
  { rules, queue }: Pick<ForwardRuleDependencies, 'rules' | 'queue'>,
  index: string,
  value: string,
): void {
  for (const key of rules.cache.keysByIndex(index, value)) queue.add(key);
}

/** Every rule that an address matters to is looked at again. */
export function enqueueInterested(
  { rules, queue }: Pick<ForwardRuleDependencies, 'rules' | 'queue'>,
  address: string,
): void {
  for (const key of interestedIn(rules.cache, address)) queue.add(key);
}

/** Every rule that is held back is looked at again: a circle may be closed or open by what has just changed. */
export function enqueueHeld({ held, queue }: Pick<ForwardRuleDependencies, 'held' | 'queue'>, except?: string): void {
  for (const key of held) if (key !== except) queue.add(key);
}

/** A MailDomain came, went, or changed: rules with addresses in it, and rules with targets in it. */
export function enqueueDomain(
  deps: Pick<ForwardRuleDependencies, 'rules' | 'queue' | 'held'>,
  namespace: string,
  domain: string,
): void {
  enqueueIndex(deps, 'domain', `${namespace}/${domain}`);
  enqueueIndex(deps, 'targetDomain', domain);
  enqueueHeld(deps);
}

import type { Mailbox } from '../../crds/mailbox.js';
import type { MailboxMove, MailboxMoveResolved } from '../../crds/mailboxmove.js';
import type { MoveState } from '../directory/rows.js';
import { resolvedSpec, uuidOf } from '../mailbox/desired.js';
import type { MailboxMoveDependencies } from './dependencies.js';
import type { Traveller } from './progress.js';

export interface Party {
  /** In the order of their names. */
  travellers: Traveller[];
  /** Names of those that are not there. */
  missing: string[];
}

/** The mailboxes that a MailboxMove is about: those that it names or that are on its shard, and those that it has moved. */
export function partyOf(
  deps: Pick<MailboxMoveDependencies, 'mailboxes' | 'hosting'>,
  object: MailboxMove,
  spec: MailboxMoveResolved,
  systemKey: string,
  moves: readonly MoveState[],
): Party {
  const { namespace = '' } = object.metadata;
  const byUuid = new Map(moves.map((move) => [move.uuid, move]));
  const traveller = (mailbox: Mailbox): Traveller => ({
    uuid: uuidOf(mailbox),
    name: nameOf(mailbox, namespace),
    shard: mailbox.status?.shard ?? '',
    move: byUuid.get(uuidOf(mailbox)),
  });
  const isOurs = (mailbox: Mailbox) => systemOf(deps, mailbox) === systemKey && mailbox.status?.shard !== undefined;
  if (spec.from === undefined) {
    const found = (spec.mailboxes ?? []).map((name) => ({
      name,
      mailbox: deps.mailboxes.cache.get(name.includes('/') ? name : `${namespace}/${name}`),
    }));
    return {
      travellers: found.flatMap(({ mailbox }) => (mailbox && isOurs(mailbox) ? [traveller(mailbox)] : [])),
      missing: found.filter(({ mailbox }) => !(mailbox && isOurs(mailbox))).map(({ name }) => name),
    };
  }
  const here = deps.mailboxes.cache.byIndex('shard', spec.from).filter(isOurs);
  const gone = moves.flatMap(({ uuid }) => deps.mailboxes.cache.byIndex('uuid', uuid));
  const all = new Map([...here, ...gone].map((mailbox) => [uuidOf(mailbox), traveller(mailbox)]));
  return { travellers: [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1)), missing: [] };
}

function nameOf({ metadata }: Mailbox, namespace: string): string {
  return metadata.namespace === namespace ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

function systemOf({ hosting }: Pick<MailboxMoveDependencies, 'hosting'>, mailbox: Mailbox): string | undefined {
  const domain = resolvedSpec(mailbox)?.address.split('@')[1] ?? '';
  return hosting(mailbox.metadata.namespace ?? '', domain)?.system;
}

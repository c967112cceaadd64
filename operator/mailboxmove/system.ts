import type { MailboxMove } from '../../crds/mailboxmove.js';
import type { MailSystem } from '../../crds/mailsystem.js';

/** Why it is not clear which MailSystem a MailboxMove is about. */
export interface NoSystem {
  reason: 'SystemNotFound' | 'AmbiguousSystem';
  message: string;
}

/** `namespace/name` of the MailSystem that a MailboxMove is about. Pure. @param all those of its namespace */
export function systemOfMove({ metadata, spec }: MailboxMove, all: readonly MailSystem[]): string | NoSystem {
  const { namespace = '' } = metadata;
  const named = spec.system === undefined ? all : all.filter((system) => system.metadata.name === spec.system);
  const [first, second] = named;
  if (first === undefined) {
    const message = `There is no MailSystem ${spec.system ?? ''} in namespace ${namespace}: a MailboxMove belongs beside its MailSystem.`;
    return { reason: 'SystemNotFound', message: message.replace('  ', ' ') };
  }
  if (second !== undefined) {
    const message = `Namespace ${namespace} has several MailSystems: say which in spec.system.`;
    return { reason: 'AmbiguousSystem', message };
  }
  return `${namespace}/${first.metadata.name}`;
}

/** Shards that are being emptied, by MailSystem: new mailboxes are placed elsewhere. */
export function emptiedShards(
  moves: Iterable<MailboxMove>,
  systemsOf: (namespace: string) => readonly MailSystem[],
  systemKey: string,
): Set<string> {
  const namespace = systemKey.slice(0, systemKey.indexOf('/'));
  const shards = [...moves].flatMap((move) => {
    if (move.metadata.namespace !== namespace || move.spec.from === undefined) return [];
    if (move.metadata.deletionTimestamp !== undefined) return [];
    return systemOfMove(move, systemsOf(namespace)) === systemKey ? [move.spec.from] : [];
  });
  return new Set(shards);
}

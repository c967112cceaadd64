import { createHash } from 'node:crypto';

/**
 * The shard for a new mailbox: spread evenly by UUID (rendezvous hashing), so that adding a shard changes the answer
 * for few. It only matters once: the directory keeps a mailbox where it is.
 *
 * @param near shards of those who share the mailbox and can read it only where they are: most of them win
 */
export function placeMailbox(uuid: string, shards: readonly string[], near: readonly string[] = []): string {
  const weigh = (shard: string) => createHash('sha256').update(`${shard}/${uuid}`).digest('hex');
  const votes = (shard: string) => near.filter((other) => other === shard).length;
  const best = shards
    .map((shard) => ({ shard, weight: weigh(shard), votes: votes(shard) }))
    .sort((a, b) => b.votes - a.votes || (a.weight < b.weight ? 1 : -1))[0];
  if (best === undefined) throw new Error(`place mailbox ${uuid}: the MailSystem has no shard`);
  return best.shard;
}

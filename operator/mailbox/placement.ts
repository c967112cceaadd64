import { createHash } from 'node:crypto';
import type { ShardLoad } from '../mailsystem/shards/views.js';

/** A shard with less of its volume free than this gets no new mailboxes, as long as another has more. */
const FULL = 0.1;
/** So many mailboxes more or less don't matter. */
const DAMPING = 20;

/**
 * The shard for a new mailbox, by weighted rendezvous hashing of its UUID: each shard gets new ones in proportion to its free
 * space, and more the fewer mailboxes it has; equal shards get equally many. So a burst of new mailboxes spreads, a shard that is
 * added fills up without getting all of them, and the same mailbox gets the same answer as long as the weights are the same. It
 * only matters once: the directory keeps a mailbox where it is.
 *
 * @param near shards of those who share the mailbox and can read it only where they are: most of them win
 */
export function placeMailbox(uuid: string, shards: readonly ShardLoad[], near: readonly string[] = []): string {
  const weights = weightsOf(shards);
  const votes = (shard: string) => near.filter((other) => other === shard).length;
  const best = shards
    .map(({ name }, index) => ({ name, votes: votes(name), score: scoreOf(name, uuid, weights[index] ?? 0) }))
    .sort((a, b) => b.votes - a.votes || b.score - a.score || (a.name < b.name ? -1 : 1))[0];
  if (best === undefined) throw new Error(`place mailbox ${uuid}: the MailSystem has no shard`);
  return best.name;
}

/** Higher is better. With a uniform hash, the shard with the highest score is each one with a probability of its weight's share. */
function scoreOf(shard: string, uuid: string, weight: number): number {
  if (weight <= 0) return -1;
  const hash = createHash('sha256').update(`${shard}/${uuid}`).digest().readUIntBE(0, 6);
  return -weight / Math.log((hash + 0.5) / 2 ** 48);
}

/** In the order of the shards. Those that take none now have 0, unless none takes any. */
function weightsOf(shards: readonly ShardLoad[]): number[] {
  const known = shards.map(freeBytes).filter((free) => free !== undefined);
  const usual = known.length === 0 ? 1 : Math.max(1, known.reduce((sum, free) => sum + free, 0) / known.length);
  const mean = shards.reduce((sum, { mailboxes }) => sum + mailboxes, 0) / Math.max(1, shards.length);
  const weight = (shard: ShardLoad): number =>
    Math.max(1, freeBytes(shard) ?? usual) * ((mean + DAMPING) / (shard.mailboxes + DAMPING));
  const takes = (shard: ShardLoad): boolean => !shard.leaving && shard.open && !isFull(shard);
  if (shards.some(takes)) return shards.map((shard) => (takes(shard) ? weight(shard) : 0));
  const stays = shards.some(({ leaving }) => !leaving);
  return shards.map((shard) => (stays && shard.leaving ? 0 : weight(shard)));
}

function freeBytes({ usedBytes, totalBytes }: ShardLoad): number | undefined {
  return usedBytes === undefined || totalBytes === undefined ? undefined : Math.max(0, totalBytes - usedBytes);
}

function isFull(shard: ShardLoad): boolean {
  const free = freeBytes(shard);
  return free !== undefined && free < FULL * (shard.totalBytes ?? 0);
}

/**
 * The declared shards with what is known of them. Of one that nobody has looked at yet nothing is held against it.
 *
 * @param emptied shards that are being emptied
 */
export function candidates(
  declared: readonly { readonly name: string }[],
  loads: readonly ShardLoad[] = [],
  emptied: ReadonlySet<string> = new Set(),
): ShardLoad[] {
  return declared.map(({ name }) => {
    const load = loads.find((known) => known.name === name) ?? { name, mailboxes: 0, open: true };
    return emptied.has(name) ? { ...load, leaving: true } : load;
  });
}

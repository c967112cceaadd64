/** One mailbox and one peer: bring over what has changed, or find out whether both are equal. */
import { join } from 'node:path';
import { differences } from './inventory.js';
import type { Memory } from './memory.js';
import { sieveDigest } from './sieve.js';
import type { Verbs } from './verbs.js';

export interface Peer {
  readonly member: number;
  readonly volume: string;
}

export interface Mailbox {
  readonly uuid: string;
  readonly user: string;
}

export interface CopyContext {
  readonly verbs: Verbs;
  readonly memory: Memory;
  readonly epoch: number;
  /** `/srv/mail/mailboxes`. */
  readonly mailboxes: string;
  readonly signal: AbortSignal;
}

/**
 * Syncs a mailbox with a peer. The journal's entries that were there before go after it has succeeded, and only then.
 *
 * The first time in an epoch is a merge: the peer may have what was accepted under another primary, so dsync compares
 * everything, and what a journal has brought to both sides under different GUIDs is reduced to one.
 */
export async function syncMailbox(context: CopyContext, mailbox: Mailbox, peer: Peer): Promise<void> {
  const { verbs, memory, epoch, signal } = context;
  const { uuid } = mailbox;
  const known = await memory.read(peer.volume, uuid);
  const merged = known?.epoch === epoch;
  // Before the sync: a script that changes meanwhile has another digest the next time.
  const sieve = await sieveDigest(homeOf(context, uuid));
  const mark = await verbs.mark(peer.member, uuid, epoch, signal);
  let state = await dsync(context, mailbox, peer, merged ? known.state : '');
  if (!merged && (await verbs.dedupe(mailbox.user, uuid, signal)) > 0)
    state = await dsync(context, mailbox, peer, state);
  if (!merged || known.sieve !== sieve) await verbs.copySieve(peer.member, uuid, signal);
  await verbs.purge(peer.member, uuid, epoch, mark, signal);
  await memory.write(peer.volume, uuid, { epoch, state, sieve });
}

/** With a state that is no good any more dsync fails: then once more without. */
async function dsync(
  { verbs, signal }: CopyContext,
  { uuid, user }: Mailbox,
  peer: Peer,
  state: string,
): Promise<string> {
  const request = { uuid, user, peer: peer.member };
  if (state !== '') {
    try {
      return await verbs.sync({ ...request, state, full: false }, signal);
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'VerbFailed') throw error;
    }
  }
  return verbs.sync({ ...request, state: '', full: true }, signal);
}

function homeOf({ mailboxes }: CopyContext, uuid: string): string {
  return join(mailboxes, uuid.slice(0, 2), uuid);
}

/** How a comparison ended. `repaired`: they differed and were made equal. */
export type Comparison =
  | { readonly result: 'equal' | 'repaired' }
  | { readonly result: 'divergent'; readonly differences: readonly string[] };

const ROUNDS = 4;

/**
 * Compares both copies; what differs is merged by a full sync and compared again. Mail that comes in meanwhile makes them
 * differ, too: so some rounds are made before they count as divergent.
 */
export async function compareMailbox(context: CopyContext, mailbox: Mailbox, peer: Peer): Promise<Comparison> {
  let found = await inventories(context, mailbox, peer);
  if (found.length === 0) {
    await compareSieve(context, mailbox, peer);
    return { result: 'equal' };
  }
  for (let round = 0; round < ROUNDS; round++) {
    const known = await context.memory.read(peer.volume, mailbox.uuid);
    // The state may hide what differs.
    if (known !== undefined) await context.memory.write(peer.volume, mailbox.uuid, { ...known, epoch: 0 });
    await syncMailbox(context, mailbox, peer);
    found = await inventories(context, mailbox, peer);
    if (found.length === 0) return { result: 'repaired' };
  }
  return { result: 'divergent', differences: found };
}

/** Scripts aren't in inventories. They go over once in each epoch, and whenever they have changed here. */
async function compareSieve(context: CopyContext, { uuid }: Mailbox, peer: Peer): Promise<void> {
  const { verbs, memory, epoch, signal } = context;
  const known = await memory.read(peer.volume, uuid);
  const merged = known?.epoch === epoch;
  const sieve = await sieveDigest(homeOf(context, uuid));
  if (merged && known.sieve === sieve) return;
  await verbs.copySieve(peer.member, uuid, signal);
  await memory.write(peer.volume, uuid, { epoch, state: merged ? known.state : '', sieve });
}

async function inventories({ verbs, signal }: CopyContext, { user }: Mailbox, peer: Peer): Promise<string[]> {
  const [here, there] = await Promise.all([
    verbs.inventory(user, signal),
    verbs.peerInventory(peer.member, user, signal),
  ]);
  return differences(here, there);
}

/** One mailbox and one peer: bring over what has changed, or find out whether both are equal. */
import { join } from 'node:path';
import { differences } from './inventory.js';
import type { Memory } from './memory.js';
import { sieveDigest } from './sieve.js';
import { VerbFailed, type Verbs } from './verbs.js';

export interface Peer {
  readonly member: number;
  readonly volume: string;
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
 * Syncs a mailbox with a peer.
 *
 * The first time in an epoch is a merge: the peer may have what was accepted under another primary. A state from before shows
 * dsync that, and which expunges are newer; without any, it compares everything, and keeps what it can't prove to be expunged.
 * What a journal has brought to both sides under different GUIDs is reduced to one.
 * @param fresh forget the state.
 */
export async function syncMailbox(context: CopyContext, uuid: string, peer: Peer, fresh = false): Promise<void> {
  const { verbs, memory, epoch, signal } = context;
  const known = await memory.read(peer.volume, uuid);
  const merged = known?.epoch === epoch;
  // Before the sync: a script that changes meanwhile has another digest the next time.
  const sieve = await sieveDigest(homeOf(context, uuid));
  let state = await dsync(context, uuid, peer, fresh ? '' : (known?.state ?? ''));
  if (!merged && (await verbs.dedupe(uuid, signal)) > 0) state = await dsync(context, uuid, peer, state);
  if (!merged || known.sieve !== sieve) await verbs.copySieve(peer.member, uuid, signal);
  await memory.write(peer.volume, uuid, { epoch, state, sieve });
}

const CHANGED_MEANWHILE = 2;
const TRIES = 3;

/** Of sysexits(3). Also what the agent makes of an answer that was cut off, because doveadm has crashed. */
const TRY_LATER = 75;

/** With a state that dsync refuses: once more without. What is temporary is no such refusal. */
async function dsync(context: CopyContext, uuid: string, peer: Peer, state: string): Promise<string> {
  try {
    return await dsyncAgain(context, uuid, peer, state);
  } catch (error) {
    const refused = error instanceof VerbFailed && error.code !== TRY_LATER && error.code !== CHANGED_MEANWHILE;
    if (state === '' || !refused) throw error;
    return dsyncAgain(context, uuid, peer, '');
  }
}

/** Changes that come in while it runs can make dsync ask for another run. */
async function dsyncAgain(context: CopyContext, uuid: string, peer: Peer, state: string): Promise<string> {
  const request = { uuid, peer: peer.member, state, full: state === '' };
  for (let tries = 1; ; tries++) {
    try {
      return await context.verbs.sync(request, context.signal);
    } catch (error) {
      const again = error instanceof VerbFailed && error.code === CHANGED_MEANWHILE && tries < TRIES;
      if (!again) throw error;
    }
  }
}

function homeOf({ mailboxes }: CopyContext, uuid: string): string {
  return join(mailboxes, uuid.slice(0, 2), uuid);
}

/** How a comparison ended. `repaired`: they differed and were made equal. */
export type Comparison =
  | { readonly result: 'equal' | 'repaired' }
  | { readonly result: 'divergent'; readonly differences: readonly string[] };

const ROUNDS = 6;

/**
 * Compares both copies; what differs is merged and compared again. Mail that comes in meanwhile makes them differ, too: so
 * some rounds are made before they count as divergent. Syncs are made with the state, for which what was just expunged here is
 * no difference; without it, as it may hide what differs, only when nothing has changed here while they still differ.
 */
export async function compareMailbox(context: CopyContext, uuid: string, peer: Peer): Promise<Comparison> {
  let found = await look(context, uuid, peer);
  if (found.differences.length === 0) {
    await compareSieve(context, uuid, peer);
    return { result: 'equal' };
  }
  let before = '';
  for (let round = 0; round < ROUNDS; round++) {
    if (found.here === before) await forget(context, uuid, peer);
    before = found.here;
    await syncMailbox(context, uuid, peer);
    found = await look(context, uuid, peer);
    if (found.differences.length === 0) return { result: 'repaired' };
  }
  // It changes faster than both can be looked at; each sync has worked, and the next one follows from the next change.
  if (found.here !== before) return { result: 'repaired' };
  return { result: 'divergent', differences: found.differences };
}

/** For a mailbox that fails again and again: its copy at the peer may be damaged. Whether it was, and is made anew now. */
export async function resetCopy(context: CopyContext, uuid: string, peer: Peer): Promise<boolean> {
  const reset = await context.verbs.reset(peer.member, uuid, context.signal);
  if (reset) await forget(context, uuid, peer);
  return reset;
}

async function forget({ memory }: CopyContext, uuid: string, { volume }: Peer): Promise<void> {
  const known = await memory.read(volume, uuid);
  if (known !== undefined) await memory.write(volume, uuid, { ...known, epoch: 0, state: '' });
}

/**
 * Scripts aren't in inventories. They go over once in each epoch, and whenever they have changed here. Since both copies are
 * equal, a state hides nothing, of whichever epoch it is.
 */
async function compareSieve(context: CopyContext, uuid: string, peer: Peer): Promise<void> {
  const { verbs, memory, epoch, signal } = context;
  const known = await memory.read(peer.volume, uuid);
  const merged = known?.epoch === epoch;
  const sieve = await sieveDigest(homeOf(context, uuid));
  if (merged && known.sieve === sieve) return;
  await verbs.copySieve(peer.member, uuid, signal);
  await memory.write(peer.volume, uuid, { epoch, state: known?.state ?? '', sieve });
}

interface Look {
  readonly differences: readonly string[];
  /** What is here, to be compared with another look. */
  readonly here: string;
}

async function look({ verbs, signal }: CopyContext, uuid: string, peer: Peer): Promise<Look> {
  const [here, there] = await Promise.all([
    verbs.inventory(uuid, signal),
    verbs.peerInventory(peer.member, uuid, signal),
  ]);
  return { differences: differences(here, there), here: JSON.stringify(here) };
}

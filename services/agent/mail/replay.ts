/**
 * Journals are given to the mailboxes of a new primary: its own, and those of all peers, whenever one comes into reach. A message
 * that a mailbox has (by its delivery id) is not given again; one whose mailbox is gone goes to nobody, whoever has its address.
 */
import type { Log } from '../../../operator/runtime/log.js';
import { withDeliveryId } from '../../lib/header.js';
import type { LmtpClient } from '../../lib/lmtp/client.js';
import { isPositive, reply } from '../../lib/lmtp/reply.js';
import { type Recent, recent } from '../../lib/recent.js';
import { DoveadmError } from '../doveadm.js';
import { BrokenEntry, type Delivery, type EntryName } from './journal.js';
import { doveadmUser } from './name.js';

/**
 * What became of an entry. `held`: the mailbox has it now. `gone`: there is no such mailbox. `refused`: not now, by the mailbox's
 * own state. `later`: the deposit has just looked for it, and may be delivering it.
 */
export type Replayed = 'held' | 'gone' | 'refused' | 'later';

/** What a replay and the deposit must not deliver both: either looks for a message first, and neither finds it yet. */
export interface UnderWay {
  /** The deposit looks for a delivery: waits for a replay of it. */
  search(id: string, look: () => Promise<boolean>): Promise<boolean>;
  /** Replays; two of the same entry are one. */
  replay(mailbox: string, id: string, work: () => Promise<Replayed>): Promise<Replayed>;
}

/** Longer than a delivery by the deposit takes after it has looked. */
const SEARCHED_MS = 60_000;

export function createUnderWay(clock?: () => number): UnderWay {
  const searched = recent<true>(10_000, SEARCHED_MS, clock);
  const replays = new Map<string, Promise<Replayed>>();
  return {
    search: async (id, look) => {
      const running = [...replays].filter(([key]) => key.startsWith(id)).map(([, replay]) => replay);
      await Promise.allSettled(running);
      // Before the answer: from here on no replay of it begins.
      searched.set(id, true);
      const found = await look();
      if (found) searched.delete(id);
      return found;
    },
    replay: async (mailbox, id, work) => {
      const key = `${id} ${mailbox}`;
      const before = replays.get(key);
      if (before !== undefined) return before;
      if (searched.get(id)) return 'later';
      const now = work().finally(() => replays.delete(key));
      replays.set(key, now);
      return now;
    },
  };
}

export interface ReplayerOptions {
  readonly addressOf: (mailbox: string) => Promise<string | undefined>;
  readonly search: (user: string, id: string) => Promise<boolean>;
  /** Before a mailbox gets its first message in an epoch. */
  readonly gap: (user: string, mailbox: string) => Promise<unknown>;
  readonly lmtp: Pick<LmtpClient, 'deliver'>;
  /** It was delivered here, and another member may have it, too. */
  readonly note: (user: string, mailbox: string, id: string) => Promise<void>;
  readonly log: Log;
}

/** Gives one entry to its mailbox. Rejects when that could not be tried, or it isn't clear how it ended. */
export type Replayer = (delivery: Delivery) => Promise<Replayed>;

const TIMEOUT_MS = 30_000;

export function createReplayer({ addressOf, search, gap, lmtp, note, log }: ReplayerOptions): Replayer {
  return async ({ mailbox, id, sender, content }) => {
    const user = await addressOf(mailbox);
    if (user === undefined) return 'gone';
    if (await search(doveadmUser({ user, uuid: mailbox }), id)) return 'held';
    await gap(user, mailbox);
    const message = { sender, recipients: [user], eightBit: true, utf8: true, content: withDeliveryId(content, id) };
    const [outcome] = await lmtp.deliver(message, TIMEOUT_MS);
    const { reply: answer, unclear } = outcome ?? { reply: reply(451, 'no answer'), unclear: true };
    const text = answer.lines.join(' ');
    if (isPositive(answer)) {
      log.info({ mailbox, delivery: id }, 'a message of the journal was delivered');
      await note(user, mailbox, id).catch((error: unknown) => {
        log.warn({ mailbox, delivery: id, err: error }, 'it could not be noted: if it is removed, it may come back');
      });
      return 'held';
    }
    if (unclear || text.startsWith(NO_ANSWER)) throw new Error(`delivering ${id} of the journal: ${text}`);
    log.warn({ mailbox, delivery: id, answer: `${answer.code} ${text}` }, 'a message of the journal is not taken now');
    return 'refused';
  };
}

/** How the LMTP client says that there was nobody to ask. */
const NO_ANSWER = "4.3.0 the mailbox's server does not answer";

export interface Source {
  /** Entries of earlier epochs, oldest first. */
  list(): Promise<readonly EntryName[]>;
  read(entry: EntryName): Promise<Delivery | undefined>;
  /** The mailbox has it. */
  done(entry: EntryName): Promise<void>;
}

/** Entries that were refused, or whose mailbox is gone; not tried again for a while. */
export type Postponed = Recent<true>;

export function createPostponed(): Postponed {
  return recent<true>(100_000, 600_000);
}

const keyOf = ({ mailbox, id, epoch }: EntryName): string => `${mailbox} ${id} ${epoch}`;

/** How many mailboxes at a time. */
const WIDTH = 4;

/** How an attempt to replay a journal ended. */
export interface Replay {
  readonly held: number;
  /** Entries that are left: refused, without a mailbox, or with an error that is theirs alone. */
  readonly left: number;
}

/** Neither the directory nor Dovecot answers. */
export class NobodyAnswers extends Error {
  override readonly name = 'NobodyAnswers';
}

/** So many mailboxes in a row without an answer, and none with one: it isn't them. */
const SILENT_LIMIT = 3;

/**
 * Replays what a journal has of earlier epochs: mailboxes side by side, the messages of one in order. One mailbox that can't be
 * delivered to keeps nobody else waiting: what is refused, has no mailbox or fails stays where it is, to be tried again later.
 * @throws NobodyAnswers when not one could be tried, or the signal's reason.
 */
export async function replayFrom(
  source: Source,
  replay: Replayer,
  { signal, postponed, log }: { signal: AbortSignal; postponed: Postponed; log: Log },
): Promise<Replay> {
  const waiting = queuesOf((await source.list()).filter((entry) => !postponed.get(keyOf(entry))));
  const counts = { held: 0, left: 0 };
  const silent = new Set<string>();
  const one = async (entry: EntryName): Promise<void> => {
    signal.throwIfAborted();
    const result = await attempt(source, replay, entry, log);
    signal.throwIfAborted();
    counts[result === 'held' ? 'held' : 'left'] += 1;
    if (result === 'silent') silent.add(entry.mailbox);
    else if (result !== 'held' && result !== 'later') postponed.set(keyOf(entry), true);
    if (counts.held === 0 && silent.size >= SILENT_LIMIT) throw new NobodyAnswers('no mailbox can be asked');
  };
  const worker = async (): Promise<void> => {
    for (let queue = waiting.shift(); queue; queue = waiting.shift()) {
      for (const entry of queue) await one(entry);
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: WIDTH }, worker));
  for (const end of ended) if (end.status === 'rejected') throw end.reason;
  if (counts.held === 0 && silent.size > 0) throw new NobodyAnswers('no mailbox can be asked');
  return counts;
}

function queuesOf(entries: readonly EntryName[]): EntryName[][] {
  const queues = new Map<string, EntryName[]>();
  for (const entry of entries) {
    const queue = queues.get(entry.mailbox);
    if (queue) queue.push(entry);
    else queues.set(entry.mailbox, [entry]);
  }
  return [...queues.values()];
}

/** `failed`: the entry's, or its mailbox's, own fault. `silent`: nobody answered. */
async function attempt(
  source: Source,
  replay: Replayer,
  entry: EntryName,
  log: Log,
): Promise<Replayed | 'failed' | 'silent'> {
  try {
    return await replayOne(source, replay, entry);
  } catch (error) {
    const own = error instanceof DoveadmError || error instanceof BrokenEntry;
    log.error(
      { mailbox: entry.mailbox, delivery: entry.id, err: error },
      'a message of a journal could not be replayed',
    );
    return own ? 'failed' : 'silent';
  }
}

async function replayOne(source: Source, replay: Replayer, entry: EntryName): Promise<Replayed> {
  const delivery = await source.read(entry);
  // A purge, or another replay, was faster.
  if (!delivery) return 'held';
  const result = await replay(delivery);
  if (result === 'held') await source.done(entry);
  return result;
}

/** What the agent does with one person's mailbox, by way of doveadm. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DELIVERY_ID_FIELD } from '../../lib/header.js';
import { type CallOptions, type Doveadm, DoveadmError, type Parameters, type Row } from '../doveadm.js';
import { type Candidate, duplicates, returned } from './duplicates.js';
import type { Twin } from './replayed.js';

/** A folder as two members compare it. */
export interface Folder {
  readonly name: string;
  readonly guid: string;
  readonly uidvalidity: number;
  readonly uidnext: number;
  readonly messages: number;
  /** Of the GUID and flags of all messages, in any order. */
  readonly digest: string;
}

/** Messages that are asked for at a time: the agent has other things to do meanwhile. */
const CHUNK = 2_000;
/** Others' mailboxes that this person sees. They are not in the person's own storage, and not synced with it. */
const SHARED = 'Shared/';

interface Status {
  readonly name: string;
  readonly guid: string;
  readonly uidvalidity: number;
  readonly uidnext: number;
  readonly messages: number;
  readonly modseq: number;
}

async function folders(doveadm: Doveadm, user: string, options?: CallOptions): Promise<Status[]> {
  const field = ['messages', 'guid', 'uidvalidity', 'uidnext', 'highestmodseq'];
  const rows = await doveadm.run('mailboxStatus', { user, field, mailboxMask: ['*'] }, options);
  return rows
    .map((row) => ({
      name: row.mailbox ?? '',
      guid: row.guid ?? '',
      uidvalidity: Number(row.uidvalidity),
      uidnext: Number(row.uidnext),
      messages: Number(row.messages),
      modseq: Number(row.highestmodseq),
    }))
    .filter(({ name }) => !name.startsWith(SHARED));
}

/** Messages in the person's own folders, by Dovecot's index. */
export async function countMessages(doveadm: Doveadm, user: string, options?: CallOptions): Promise<number> {
  return (await folders(doveadm, user, options)).reduce((sum, { messages }) => sum + messages, 0);
}

/** The messages of a folder, some at a time. */
async function* scan(
  doveadm: Doveadm,
  user: string,
  { guid, messages }: Pick<Status, 'guid' | 'messages'>,
  field: readonly string[],
  options?: CallOptions,
): AsyncGenerator<Row[]> {
  for (let from = 1; from <= messages; from += CHUNK) {
    // The last one takes what has come meanwhile.
    const to = from + CHUNK > messages ? '*' : String(from + CHUNK - 1);
    yield await fetchAgain(doveadm, { user, field, query: ['mailbox-guid', guid, `${from}:${to}`] }, options);
  }
}

/** How often, and after how long, a fetch is tried again that broke off. */
const PAUSES_MS = [100, 500];

/**
 * doveadm's fetch ends in the middle of its answer (2.4.1: an assertion) when a message vanishes under it: someone has expunged it
 * just now, or its file is lost. Either is settled by the next time: Dovecot has then taken it out of its index.
 */
async function fetchAgain(doveadm: Doveadm, parameters: Parameters, options?: CallOptions): Promise<Row[]> {
  for (const pause of PAUSES_MS) {
    try {
      return await doveadm.run('fetch', parameters, options);
    } catch (error) {
      options?.signal?.throwIfAborted();
      if (error instanceof DoveadmError && error.code !== TRY_AGAIN) throw error;
      await sleep(pause);
    }
  }
  return doveadm.run('fetch', parameters, options);
}

const TRY_AGAIN = 75;

/** All folders of a person, for a comparison. What only sometimes is there (\Recent) doesn't count. */
export async function inventory(doveadm: Doveadm, user: string, options?: CallOptions): Promise<Folder[]> {
  const result: Folder[] = [];
  for (const status of await folders(doveadm, user, options)) {
    const lines: string[] = [];
    for await (const rows of scan(doveadm, user, status, ['guid', 'flags'], options)) {
      for (const row of rows) lines.push(`${row.guid} ${flagsOf(row).join(' ')}`);
    }
    const digest = createHash('sha256').update(lines.sort().join('\n')).digest('hex');
    const { name, guid, uidvalidity, uidnext } = status;
    result.push({ name, guid, uidvalidity, uidnext, messages: lines.length, digest });
  }
  return result.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function flagsOf(row: Row): string[] {
  return (row.flags ?? '')
    .split(' ')
    .filter((flag) => flag !== '' && flag !== '\\Recent')
    .sort();
}

/**
 * Whether the person's own folders hold a message with this delivery id. A copy in a shared mailbox is another recipient's.
 * Needs `fts = no` in `protocol doveadm`: the full-text index doesn't know this header and finds nothing.
 */
export async function hasDelivery(doveadm: Doveadm, user: string, id: string, options?: CallOptions): Promise<boolean> {
  const query = ['header', DELIVERY_ID_FIELD, id];
  const rows = await doveadm.run('fetch', { user, field: ['mailbox'], query }, options);
  return rows.some(({ mailbox }) => mailbox !== undefined && !mailbox.startsWith(SHARED));
}

/** GUIDs of the messages in the person's own folders that have this delivery id. */
export async function guidsOf(doveadm: Doveadm, user: string, id: string, options?: CallOptions): Promise<string[]> {
  const query = ['header', DELIVERY_ID_FIELD, id];
  const rows = await doveadm.run('fetch', { user, field: ['mailbox', 'guid'], query }, options);
  return rows.filter(({ mailbox }) => mailbox?.startsWith(SHARED) === false).map(({ guid }) => guid ?? '');
}

/** How far UIDs and modification sequences are raised: more than a primary can have given before it told its replicas. */
const UID_GAP = 10_000;
const MODSEQ_GAP = 1_000_000;

/**
 * Raises the next UID and the highest modification sequence of every folder: the lost primary may have given numbers that this
 * member hasn't heard of, and no number may ever mean two messages.
 */
export async function raise(doveadm: Doveadm, user: string, options?: CallOptions): Promise<void> {
  const all = await folders(doveadm, user, options);
  await doveadm.runAll(
    all.map(({ name, uidnext, modseq }) => {
      const minNextUid = String(uidnext + UID_GAP);
      const minHighestModseq = String(modseq + MODSEQ_GAP);
      return ['mailboxUpdate', { user, mailbox: name, minNextUid, minHighestModseq }] as const;
    }),
    options,
  );
}

/**
 * Removes what was delivered twice: the same delivery id, but stored by two deliveries. Copies that the person made are left
 * alone; see {@link duplicates}. And what came back after it had been removed here; see {@link returned}. The number of messages that were removed.
 */
export async function dedupe(
  doveadm: Doveadm,
  user: string,
  twins: readonly Twin[],
  options?: CallOptions,
): Promise<number> {
  const found: Candidate[] = [];
  const field = ['guid', 'uid', 'flags', `hdr.${DELIVERY_ID_FIELD.toLowerCase()}`];
  for (const status of await folders(doveadm, user, options)) {
    for await (const rows of scan(doveadm, user, status, field, options)) {
      for (const row of rows) found.push(candidateOf(row, status));
    }
  }
  const identified = found.filter(({ id }) => id !== '');
  const back = returned(identified, twins);
  const rest = identified.filter((message) => !back.includes(message));
  const superfluous = [...back, ...(await duplicates(rest, (message) => deliveryOf(doveadm, user, message, options)))];
  for (const [folder, uids] of byFolder(superfluous)) {
    await doveadm.run('expunge', { user, query: ['mailbox-guid', folder, 'uid', uids.join(',')] }, options);
  }
  return superfluous.length;
}

function candidateOf(row: Row, { guid, name }: Status): Candidate {
  const flags = flagsOf(row);
  return {
    id: row[`hdr.${DELIVERY_ID_FIELD.toLowerCase()}`] ?? '',
    guid: row.guid ?? '',
    folder: guid,
    uid: row.uid ?? '',
    touched: flags.length + (name === 'INBOX' ? 0 : 100),
    plain: name === 'INBOX' && flags.every((flag) => flag === '\\Seen'),
  };
}

/** What tells one delivery of a message from another: the Received field of the LMTP server, which names its session. */
async function deliveryOf(doveadm: Doveadm, user: string, message: Candidate, options?: CallOptions): Promise<string> {
  const query = ['mailbox-guid', message.folder, 'uid', message.uid];
  const [row] = await doveadm.run('fetch', { user, field: ['hdr.received'], query }, options);
  return (row?.['hdr.received'] ?? '').split(/\n(?![ \t])/)[0] ?? '';
}

function byFolder(messages: readonly Candidate[]): Map<string, string[]> {
  const folders = new Map<string, string[]>();
  for (const { folder, uid } of messages) folders.set(folder, [...(folders.get(folder) ?? []), uid]);
  return folders;
}

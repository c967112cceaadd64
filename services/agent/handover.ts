/**
 * The last syncs of a planned switch: by the replicator, which knows what is left, or from its files on the volume when it
 * doesn't answer.
 */
import { readdir, readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../operator/runtime/log.js';
import type { DirectoryPool } from '../lib/directory.js';
import type { AgentState, Mail, Peer } from './ports.js';

export interface FlushOptions {
  readonly replicatorPort: number;
  /** The replicator's folder on the volume. */
  readonly dirty: string;
  readonly directory: DirectoryPool;
  readonly mail: () => Mail;
  readonly state: () => AgentState;
  /** Whether Dovecot can sync now. */
  readonly isUp: () => boolean;
  readonly log: Log;
}

/** Most of it, while people are still connected. False: it can't be done in time. */
export async function flushBefore(options: FlushOptions, to: number, withinMs: number): Promise<boolean> {
  return (await askReplicator(options, to, withinMs).catch(() => undefined)) ?? true;
}

/** What is left, when nobody is any more. Whether nothing is missing at that peer. Never rejects. */
export async function flushLast(
  options: FlushOptions,
  peer: Peer,
  withinMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const end = performance.now() + withinMs;
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(withinMs)]);
  try {
    while (!options.isUp()) await sleep(10, undefined, { signal: bounded });
    const answer = await askReplicator(options, peer.member, end - performance.now()).catch(() => undefined);
    if (answer !== undefined) return answer;
    const users = await dirtyUsers(options);
    const left = await options.mail().finalSync(users, peer, bounded);
    if (left.length > 0) options.log.warn({ users: left.length }, 'not everything could be synced for the handover');
    return left.length === 0;
  } catch (error) {
    options.log.warn({ err: error, to: peer.member }, 'the last syncs of a handover failed');
    return false;
  }
}

/** Undefined: it doesn't answer, or has no such thing. */
async function askReplicator(
  { replicatorPort }: FlushOptions,
  member: number,
  within: number,
): Promise<boolean | undefined> {
  const body = JSON.stringify({ member, within: Math.max(1, Math.floor(within)) });
  const { status, text } = await post(replicatorPort, '/v1/flush', body, within + 500);
  return status === 200 ? (JSON.parse(text) as { ok?: unknown }).ok === true : undefined;
}

function post(port: number, path: string, body: string, timeoutMs: number): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const options = { host: '127.0.0.1', port, path, method: 'POST', headers, signal: AbortSignal.timeout(timeoutMs) };
    const asked = request(options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.on('error', reject);
    });
    asked.on('error', reject).end(body);
  });
}

/** Users whose mailboxes may have changes that a peer lacks: lines `UUID` or `UUID USER …` in the replicator's files. */
export async function dirtyUsers({ dirty, directory }: Pick<FlushOptions, 'dirty' | 'directory'>): Promise<string[]> {
  const names = await readdir(dirty).catch(() => []);
  const files = names.filter((name) => name === 'log' || name === 'pending' || name.startsWith('log.'));
  const users = new Map<string, string>();
  for (const name of files) {
    for (const line of (await readFile(join(dirty, name), 'utf8')).split('\n')) {
      const [uuid, word] = line.split(' ');
      const user = word === '-' ? undefined : word;
      if (uuid) users.set(uuid, user || users.get(uuid) || '');
    }
  }
  const named = await Promise.all([...users].map(([uuid, user]) => user || addressOf(directory, uuid)));
  return named.filter((user) => user !== undefined);
}

/** A mailbox that the directory doesn't know any more has nothing to sync. */
async function addressOf(directory: DirectoryPool, uuid: string): Promise<string | undefined> {
  const [row] = await directory.ask<{ address: string | null }>({
    doing: 'look up a mailbox',
    sql: 'SELECT directory_v1.address_of($1) AS address',
    values: [uuid],
  });
  return row?.address ?? undefined;
}

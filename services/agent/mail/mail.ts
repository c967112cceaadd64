/** The agent's mail side: the peer API, the journal, syncs, and what is done with mailboxes. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLmtpClient } from '../../lib/lmtp/client.js';
import { createPeerClient } from '../../lib/peer.js';
import { connectDoveadm } from '../doveadm.js';
import type { Core, Mail, MailOptions, OpenMail, Peer } from '../ports.js';
import { addressesIn } from './addresses.js';
import { putAside } from './damage.js';
import { createGaps } from './gap.js';
import { type JournalStore, openJournal } from './journal.js';
import { type LocalOptions, local, noteTwin } from './local.js';
import { hasDelivery, inventory, raise } from './mailbox.js';
import { createMailMetrics } from './metrics.js';
import { startPeerServer } from './peer-server.js';
import { createPeers, type Peers, targetOf } from './peers.js';
import {
  createPostponed,
  createReplayer,
  createUnderWay,
  type Postponed,
  type Replayer,
  replayFrom,
  type Source,
} from './replay.js';
import { openTwins } from './replayed.js';
import { sweep } from './sweep.js';
import { sync } from './sync.js';

/** At a promotion no peer's journal is waited for longer; what is left comes while the shard is open. */
const PEERS_MS = 15_000;
/** Nor the own journal, when neither the directory nor Dovecot lets it be replayed. */
const OWN_MS = 30_000;
/** How often a primary looks for entries that it couldn't get when it opened. */
const LATER_MS = 5_000;
const LATER_PEER_MS = 60_000;
const WIDTH = 4;

/** Everything that a running mail side holds. */
interface Parts {
  readonly core: Core;
  readonly journal: JournalStore;
  readonly peers: Peers;
  readonly replay: Replayer;
  readonly postponed: Postponed;
  readonly verbs: LocalOptions;
  /** When the first attempt to replay the own journal in an epoch was made. */
  readonly began: { epoch: number; at: number };
}

export const openMail: OpenMail = async (core, options) => {
  const client = createPeerClient(core.tls());
  core.onTls(client.setTls);
  // What somebody waits for does not queue behind long syncs and comparisons.
  const api = { port: options.doveadmPort, key: core.doveadmKey };
  const [doveadm, slow] = [connectDoveadm({ ...api, connections: 4 }), connectDoveadm({ ...api, connections: 8 })];
  const lmtp = createLmtpClient({ port: options.lmtpPort, name: 'agent', most: WIDTH, idleMs: 10_000 });
  const metrics = createMailMetrics(core.registry);
  const journal = await openVolume(core, options);
  metrics.journal(() => journal.summary(0));
  const peers = createPeers(client);
  const addresses = addressesIn(core.directory);
  const gaps = createGaps({
    mailRoot: core.mailRoot,
    state: core.state,
    raise: (user) => raise(doveadm, user, { signal: core.modeSignal() }),
  });
  const underWay = createUnderWay();
  const verbs: LocalOptions = {
    core,
    doveadm,
    slow,
    peers,
    addresses,
    gaps,
    underWay,
    twins: openTwins(core.mailRoot),
    socketFolder: options.socketFolder ?? '/run/agent',
    onSync: metrics.synced,
  };
  const replayer = createReplayer({
    addressOf: addresses.ownAddressOf,
    search: (user, id) => hasDelivery(doveadm, user, id, { signal: core.modeSignal() }),
    gap: gaps.ensure,
    lmtp,
    note: (user, mailbox, id) => noteTwin(verbs, { user, uuid: mailbox }, id),
    log: core.log,
  });
  const replay: Replayer = async (delivery) => {
    const result = await underWay.replay(delivery.mailbox, delivery.id, () => replayer(delivery));
    metrics.replayed(result);
    return result;
  };
  const parts: Parts = {
    core,
    journal,
    peers,
    replay,
    postponed: createPostponed(),
    verbs,
    began: { epoch: -1, at: 0 },
  };
  const server = await startPeerServer({
    core,
    journal,
    host: options.peerHost,
    port: options.peerPort,
    putAside: (user, uuid) => putAside(slow, core.mailRoot, { user, uuid }, core.modeSignal()),
    inventory: async (user) => ({ folders: await inventory(slow, user, { timeoutMs: 60_000 }) }),
  });
  const stop = new AbortController();
  void runLater(parts, stop.signal);
  return {
    askPromise: async (peer, body, timeoutMs) => {
      const question = { method: 'POST', path: '/v1/promise', body, timeoutMs, repeat: false } as const;
      const answer = await client.request(peer, question).catch(() => undefined);
      return answer?.status === 200 ? true : answer?.status === 409 ? false : undefined;
    },
    tellReleased: async (peer) => {
      const question = { method: 'POST', path: '/v1/released', body: {}, timeoutMs: 500 } as const;
      await client.request(peer, question).catch(() => undefined);
    },
    replay: (epoch, signal) => replayAll(parts, epoch, signal),
    finalSync: (users, peer, signal) => finalSync(parts, users, peer, signal),
    local: (request, response, path) => local(verbs, request, response, path),
    close: async () => {
      stop.abort();
      await server.close();
      lmtp.close();
      doveadm.close();
      slow.close();
      client.close();
    },
  } satisfies Mail;
};

async function openVolume({ mailRoot }: Core, { socketFolder = '/run/agent' }: MailOptions): Promise<JournalStore> {
  const root = join(mailRoot, 'journal');
  await mkdir(root, { recursive: true, mode: 0o700 });
  await mkdir(socketFolder, { recursive: true, mode: 0o700 });
  return openJournal(root);
}

/** This member's own journal: what the mailbox has needs no entry on the same volume. */
function ownJournal({ journal }: Parts, epoch: number): Source {
  return {
    list: async () => (await journal.summary(epoch)).earlier,
    read: ({ mailbox, id }) => journal.read(mailbox, id),
    done: ({ mailbox, id }) => journal.remove(mailbox, id),
  };
}

async function replayOwn(parts: Parts, epoch: number, signal: AbortSignal): Promise<void> {
  const { replay, postponed, core } = parts;
  await replayFrom(ownJournal(parts, epoch), replay, { signal, postponed, log: core.log });
}

/** True as long as a promotion may wait for its own journal: a shard that stays closed helps nobody. */
function mayWait({ began }: Parts, epoch: number): boolean {
  if (began.epoch !== epoch) Object.assign(began, { epoch, at: performance.now() });
  return performance.now() - began.at < OWN_MS;
}

async function replayAll(parts: Parts, epoch: number, signal: AbortSignal): Promise<void> {
  const started = performance.now();
  try {
    await replayOwn(parts, epoch, signal);
  } catch (error) {
    if (signal.aborted || mayWait(parts, epoch)) throw error;
    parts.core.log.error({ epoch, err: error }, 'opening without what is in the own journal: it is tried again');
  }
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PEERS_MS)]);
  await Promise.all(parts.core.state().peers.map((peer) => replayPeer(parts, peer, limit)));
  signal.throwIfAborted();
  parts.core.log.info({ epoch, ms: Math.round(performance.now() - started) }, 'the journals have been replayed');
}

/** A peer that is away is asked again later. */
async function replayPeer({ core, peers, replay, postponed }: Parts, peer: Peer, signal: AbortSignal): Promise<void> {
  try {
    await orAbort(
      replayFrom(peers.journal(targetOf(core, peer)), replay, { signal, postponed, log: core.log }),
      signal,
    );
  } catch (error) {
    core.log.debug({ peer: peer.host, err: error }, "a peer's journal could not be replayed now");
  }
}

/** Rejects when the signal aborts, whatever becomes of the work. */
async function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
  });
  signal.addEventListener('abort', abort, { once: true });
  try {
    if (signal.aborted) abort();
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** As long as this member is primary: journals of peers that were away, entries that were refused, and the sweep. */
async function runLater(parts: Parts, stop: AbortSignal): Promise<void> {
  let settled = -1;
  while (!stop.aborted) {
    await sleep(LATER_MS, undefined, { signal: stop, ref: false }).catch(() => undefined);
    const { role, epoch } = parts.core.state();
    if (stop.aborted || role !== 'primary') continue;
    const signal = AbortSignal.any([stop, parts.core.modeSignal()]);
    try {
      await doLater(parts, epoch, signal, settled !== epoch);
      settled = epoch;
    } catch (error) {
      if (!signal.aborted)
        parts.core.log.warn({ err: error }, 'what is left after the promotion could not be done now');
    }
  }
}

async function doLater(parts: Parts, epoch: number, signal: AbortSignal, unsettled: boolean): Promise<void> {
  await replayOwn(parts, epoch, signal);
  for (const peer of parts.core.state().peers) {
    await replayPeer(parts, peer, AbortSignal.any([signal, AbortSignal.timeout(LATER_PEER_MS)]));
  }
  if (unsettled) await settle(parts, epoch, signal);
}

async function settle({ core, verbs }: Parts, epoch: number, signal: AbortSignal): Promise<void> {
  if (core.state().promotion === 'failover') await sweep(core.mailRoot, verbs.addresses, verbs.gaps, signal);
  core.settled(epoch);
}

/** Everything of these people, compared and copied; who isn't surely done is returned. */
async function finalSync(
  { core, verbs }: Parts,
  users: readonly string[],
  peer: Peer,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const waiting = [...users];
  const failed: string[] = [];
  const worker = async (): Promise<void> => {
    for (let user = waiting.shift(); user !== undefined; user = waiting.shift()) {
      const result = signal.aborted
        ? undefined
        : await sync(verbs, { user, target: targetOf(core, peer), state: '', full: true }, signal).catch(
            () => undefined,
          );
      if (result?.ok !== true) failed.push(user);
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
  return failed;
}

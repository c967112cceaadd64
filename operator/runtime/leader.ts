/**
 * Leader election on a coordination.k8s.io Lease, as client-go does it: whoever holds the lease renews it; others take it
 * when it has not changed for its duration *by their own clock*, so that clocks need not agree.
 * The holder counts its deadline from before each request, and gives up well before anyone else may take over.
 */
import { randomUUID } from 'node:crypto';
import type { Client } from './client.js';
import { type Clock, sleep, systemClock } from './clock.js';
import { isAlreadyExists, isConflict } from './errors.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import { builtin, type KubeObject, refOf } from './object.js';

export interface LeaderOptions {
  client: Client;
  namespace: string;
  /** Name of the Lease. */
  name: string;
  /** Who we are, for people; a random part is added. */
  identity: string;
  /** After how long without renewal others take over; whole seconds, default 15 000 ms. */
  leaseMs?: number | undefined;
  /** After how long without renewal the holder considers itself deposed; less than `leaseMs`, default 10 000 ms. */
  renewMs?: number | undefined;
  /** Between attempts to acquire or renew, default 2 000 ms. */
  retryMs?: number | undefined;
  /** Called once, when leadership is lost against our will. End the process: what it knows is no longer true. */
  onLost: (reason: string) => void;
  log: Log;
  metrics?: Metrics | undefined;
  clock?: Clock | undefined;
}

export interface Leader {
  /** Resolves when this process has become the leader; never if it is stopped before. */
  readonly acquired: Promise<void>;
  /** Whether we surely lead at this moment; false as soon as the deadline has passed, even if nothing has run since. */
  isLeader(): boolean;
  /** Gives the lease back, so that the next leader need not wait. Safe to call twice. */
  stop(): Promise<void>;
}

interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string | undefined;
    leaseDurationSeconds?: number | undefined;
    acquireTime?: string | undefined;
    renewTime?: string | undefined;
    leaseTransitions?: number | undefined;
  };
}

interface State {
  identity: string;
  /** The lease as last read or written. */
  lease: Lease | undefined;
  /** When, by our clock, its content last changed. */
  changedAt: number;
  /** When the request of the last successful renewal was begun; undefined if we don't hold it. */
  renewedAt: number | undefined;
}

const callTimeoutMs = 5_000;

export function runLeaderElection(options: LeaderOptions): Leader {
  const { leaseMs = 15_000, renewMs = 10_000, retryMs = 2_000, clock = systemClock, log, metrics } = options;
  if (renewMs >= leaseMs) throw new Error('leader election: renewMs must be less than leaseMs');
  const state: State = {
    identity: `${options.identity}_${randomUUID()}`,
    lease: undefined,
    changedAt: 0,
    renewedAt: undefined,
  };
  const stopping = new AbortController();
  let markAcquired = (): void => {};
  const acquired = new Promise<void>((resolve) => {
    markAcquired = resolve;
  });
  const lease = createLease(options, state, clock, leaseMs);
  const isLeader = (): boolean => state.renewedAt !== undefined && clock.now() < state.renewedAt + renewMs;

  const acquire = async (): Promise<void> => {
    while (!stopping.signal.aborted && !(await quietly(lease.tryAcquire, log))) {
      await sleep(retryMs * (1 + Math.random() / 5), stopping.signal, clock);
    }
    if (stopping.signal.aborted) return;
    log.info({ lease: options.name, identity: state.identity }, 'this process is now the leader');
    metrics?.leader(true);
    markAcquired();
  };

  const leftMs = (): number => Math.max(0, (state.renewedAt ?? 0) + renewMs - clock.now());

  /** Why leadership is lost; undefined while it is not. */
  const lostBecause = (): string | undefined => {
    const { holderIdentity = '' } = state.lease?.spec ?? {};
    if (holderIdentity !== state.identity)
      return `the lease is held by ${holderIdentity === '' ? 'nobody' : holderIdentity}`;
    return isLeader() ? undefined : `the lease could not be renewed for ${renewMs / 1000} s`;
  };

  /** Renews until it is stopped or has lost; answers why. */
  const hold = async (): Promise<string | undefined> => {
    for (;;) {
      await sleep(Math.min(retryMs, leftMs()), stopping.signal, clock);
      if (stopping.signal.aborted) return undefined;
      await withDeadline(leftMs(), clock, (signal) => quietly(() => lease.renew(signal), log));
      const reason = lostBecause();
      if (reason !== undefined) return reason;
    }
  };

  const run = async (): Promise<void> => {
    await acquire();
    if (stopping.signal.aborted) return;
    const reason = await hold();
    if (reason === undefined) return;
    state.renewedAt = undefined;
    metrics?.leader(false);
    log.error({ lease: options.name, reason }, 'leadership is lost');
    options.onLost(reason);
  };

  const running = run();
  return {
    acquired,
    isLeader,
    stop: async () => {
      stopping.abort();
      await running;
      if (state.renewedAt === undefined) return;
      state.renewedAt = undefined;
      metrics?.leader(false);
      await quietly(lease.release, log);
    },
  };
}

interface LeaseOperations {
  tryAcquire(): Promise<boolean>;
  renew(signal: AbortSignal): Promise<boolean>;
  release(): Promise<boolean>;
}

function createLease(
  { client, namespace, name }: LeaderOptions,
  state: State,
  clock: Clock,
  leaseMs: number,
): LeaseOperations {
  const call = { fieldManager: 'posthorn-leader', urgent: true, timeoutMs: callTimeoutMs };
  const seconds = Math.max(1, Math.round(leaseMs / 1000));

  const observe = (lease: Lease | undefined): void => {
    if (lease?.metadata.resourceVersion !== state.lease?.metadata.resourceVersion) state.changedAt = clock.now();
    state.lease = lease;
  };
  const read = async (signal?: AbortSignal): Promise<void> => {
    observe(
      await client.find<Lease>(builtin.lease, { namespace, name }, { urgent: true, timeoutMs: callTimeoutMs, signal }),
    );
  };
  const isFree = (): boolean => {
    const { holderIdentity: holder = '', leaseDurationSeconds = seconds } = state.lease?.spec ?? {};
    return holder === '' || holder === state.identity || clock.now() >= state.changedAt + leaseDurationSeconds * 1000;
  };
  /** Writes the lease in our name, on condition that it is still as we know it. */
  const write = async (signal?: AbortSignal): Promise<boolean> => {
    const startedAt = clock.now();
    const object = held(state, namespace, name, seconds, microTime(clock.wall()));
    const answer = state.lease === undefined ? client.create<Lease> : client.replace<Lease>;
    observe(await answer(builtin.lease, object, { ...call, signal }));
    state.renewedAt = startedAt;
    return true;
  };
  const writeUnlessChanged = async (signal?: AbortSignal): Promise<boolean> => {
    try {
      return await write(signal);
    } catch (error) {
      if (isConflict(error) || isAlreadyExists(error)) return false;
      throw error;
    }
  };

  return {
    tryAcquire: async () => {
      await read();
      return isFree() && (await writeUnlessChanged());
    },
    /** A conflict may only mean that somebody labelled the lease: read it, and try again if it is still ours. */
    renew: async (signal) => {
      if (await writeUnlessChanged(signal)) return true;
      await read(signal);
      return state.lease?.spec?.holderIdentity === state.identity && (await writeUnlessChanged(signal));
    },
    release: async () => {
      const { lease } = state;
      if (lease === undefined) return false;
      const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime(clock.wall()) };
      await client.replace<Lease>(builtin.lease, { ...lease, spec }, call);
      return true;
    },
  };
}

function held({ lease, identity }: State, namespace: string, name: string, seconds: number, now: string): Lease {
  const { holderIdentity, acquireTime, leaseTransitions = 0 } = lease?.spec ?? {};
  const same = holderIdentity === identity;
  const spec = {
    holderIdentity: identity,
    leaseDurationSeconds: seconds,
    acquireTime: same ? acquireTime : now,
    renewTime: now,
    leaseTransitions: same || lease === undefined ? leaseTransitions : leaseTransitions + 1,
  };
  const metadata = lease?.metadata ?? { namespace, name };
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { ...metadata, ...refOf({ apiVersion: '', kind: '', metadata }) },
    spec,
  };
}

/** MicroTime wants exactly six digits. */
function microTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}

/** A failed attempt is only a failed attempt. */
async function quietly(attempt: () => Promise<boolean>, log: Log): Promise<boolean> {
  try {
    return await attempt();
  } catch (error) {
    log.warn({ err: error }, 'the leader lease could not be read or written');
    return false;
  }
}

async function withDeadline(
  ms: number,
  clock: Clock,
  run: (signal: AbortSignal) => Promise<boolean>,
): Promise<boolean> {
  const controller = new AbortController();
  const cancel = clock.after(ms, () => controller.abort());
  try {
    return await run(controller.signal);
  } finally {
    cancel();
  }
}

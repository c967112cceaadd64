/** Syncs one person's mailbox with another member's: both ways, never `backup`, which reverts the other side. */
import type { Doveadm } from '../doveadm.js';
import { DoveadmError } from '../doveadm.js';
import type { Peers, Target } from './peers.js';
import { withSocket } from './tunnel.js';

export interface SyncRequest {
  readonly user: string;
  readonly target: Target;
  /** What the last sync of this pair gave; empty: none. */
  readonly state: string;
  /** Compare everything. A first sync always does. */
  readonly full: boolean;
}

export interface SyncResult {
  readonly ok: boolean;
  readonly state: string;
  /** Of sysexits(3), or 2: changes came in between, sync again. */
  readonly code: number;
  readonly error: string;
}

export interface SyncOptions {
  readonly slow: Doveadm;
  readonly peers: Pick<Peers, 'dsync'>;
  readonly socketFolder: string;
}

/** A first sync of a large mailbox takes long; one that has stopped moving is ended by the tunnel. */
const TIMEOUT_MS = 6 * 3_600_000;
/** Another sync of the same mailbox is waited for, seconds. */
const LOCK_SECONDS = '30';

export async function sync(
  { slow, peers, socketFolder }: SyncOptions,
  { user, target, state, full }: SyncRequest,
  signal: AbortSignal,
): Promise<SyncResult> {
  const ran = await withSocket(
    socketFolder,
    () => peers.dsync(target, signal),
    async (path): Promise<SyncResult> => {
      try {
        const [row] = await slow.run(
          'sync',
          {
            user,
            destination: [`tcp:${path}`],
            state,
            lockTimeout: LOCK_SECONDS,
            ...(full || state === '' ? { fullSync: true } : {}),
          },
          { signal, timeoutMs: TIMEOUT_MS },
        );
        return { ok: true, state: row?.state ?? '', code: 0, error: '' };
      } catch (error) {
        const code = error instanceof DoveadmError ? error.code : 75;
        return { ok: false, state: '', code, error: (error as Error).message };
      }
    },
  );
  if (ran.result.ok || !ran.obstacle) return ran.result;
  return { ...ran.result, error: ran.obstacle.message };
}

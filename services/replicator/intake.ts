/** From the dirty log to the schedule, and the unsynced set to disk before what it came from is removed. */
import type { Log } from '../../operator/runtime/log.js';
import type { DirtyLog } from './dirty-log.js';
import type { Names } from './names.js';
import { readPending, writePending } from './pending.js';
import { changed, type Schedule, unsynced } from './schedule.js';

export interface IntakeOptions {
  readonly dirty: DirtyLog;
  readonly names: Names;
  readonly schedule: Schedule;
  readonly log: Log;
  /** `/srv/mail/dirty/pending`. */
  readonly pending: string;
  readonly clock: () => number;
}

export interface Intake {
  /** What another process has left unsynced. A volume that isn't a peer's any more needs nothing. */
  restore(): void;
  /** Reads what is new. One call at a time: a second one joins those that follow the first. */
  look(): Promise<void>;
}

const PERSIST_MS = 1_000;

export function createIntake(options: IntakeOptions): Intake {
  const { dirty, schedule, clock } = options;
  let under: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  let removable = new Set<string>();
  let persistedAt = Number.NEGATIVE_INFINITY;
  let persisted: string | undefined;

  const read = async (): Promise<void> => {
    const found = await dirty.read();
    for (const uuid of found.changed) changed(schedule, uuid, clock());
    for (const user of found.sieve) await sieveChanged(options, user);
    for (const file of found.done) removable.add(file);
    keep();
    if (unsynced(schedule).size === 0) dirty.settle();
  };
  /** When it differs, and not too often; then what the log's old files say is safe. */
  const keep = (): void => {
    if (removable.size === 0 && clock() - persistedAt < PERSIST_MS) return;
    const entries = [...unsynced(schedule)].map(([uuid, volumes]) => ({ uuid, volumes }));
    const text = entries.map(({ uuid, volumes }) => `${uuid} ${volumes.join(' ')}`).join('\n');
    if (text !== persisted) writePending(options.pending, entries);
    persisted = text;
    persistedAt = clock();
    dirty.remove([...removable]);
    removable = new Set();
  };
  const begin = (): Promise<void> => {
    under = read().finally(() => {
      under = undefined;
    });
    return under;
  };

  return {
    restore: () => {
      for (const { uuid, volumes } of readPending(options.pending)) {
        for (const volume of volumes) changed(schedule, uuid, clock(), volume);
      }
    },
    look: () => {
      if (under === undefined) return begin();
      following ??= under
        .catch(() => undefined)
        .then(() => {
          following = undefined;
          return begin();
        });
      return following;
    },
  };
}

async function sieveChanged({ names, schedule, clock, log }: IntakeOptions, user: string): Promise<void> {
  try {
    const uuid = await names.uuidOf(user);
    if (uuid !== undefined) changed(schedule, uuid, clock());
  } catch (error) {
    log.warn({ err: error }, 'whose Sieve script has changed is not known; it is copied with the next change');
  }
}

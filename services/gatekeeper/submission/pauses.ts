/** Accounts that are paused for how they behave: noted at once for all pods, and reported to the directory. */
import type { Log } from '../../../operator/runtime/log.js';
import type { DirectoryPool } from '../../lib/directory.js';
import type { Store } from '../memory/store.js';
import type { Pause } from './account.js';
import type { Incident } from './conduct.js';

/** A pause that the directory knows of is the directory's to end: it may be lifted there. */
export interface NotedPause extends Pause {
  readonly detail: string;
  readonly reported: boolean;
}

export interface Pauses {
  current(login: string): Promise<NotedPause | undefined>;
  begin(login: string, incident: Incident): Promise<NotedPause>;
  /** Once more, for a pause that could not be reported. */
  report(login: string, pause: NotedPause): Promise<void>;
}

export interface PausesOptions {
  readonly store: Store;
  readonly directory: DirectoryPool;
  readonly log: Log;
  readonly pauseMinutes: number;
  readonly clock: () => number;
  readonly onIncident: (kind: string) => void;
}

const keyOf = (login: string): string => `pause:${login}`;

export function createPauses({ store, directory, log, pauseMinutes, clock, onIncident }: PausesOptions): Pauses {
  const note = (login: string, pause: NotedPause) =>
    store.set(keyOf(login), JSON.stringify(pause), Math.max(1, pause.until - clock()));
  const report = async (login: string, pause: NotedPause): Promise<void> => {
    try {
      await directory.ask({
        doing: 'report an incident',
        sql: 'SELECT directory_v1.report_incident($1, $2, $3, $4)',
        values: [login, pause.kind, pause.detail, new Date(pause.until).toISOString()],
        leader: true,
      });
      await note(login, { ...pause, reported: true });
    } catch (error) {
      log.warn({ login, kind: pause.kind, err: error }, 'an incident could not be reported yet');
    }
  };
  return {
    current: async (login) => {
      const [text] = await store.get([keyOf(login)]);
      return text ? (JSON.parse(text) as NotedPause) : undefined;
    },
    begin: async (login, { kind, detail }) => {
      const pause = { kind, detail, until: clock() + pauseMinutes * 60_000, reported: false };
      log.warn({ login, kind, detail, until: new Date(pause.until).toISOString() }, 'an account is paused');
      onIncident(kind);
      await note(login, pause);
      await report(login, pause);
      return pause;
    },
    report,
  };
}

import type { ConditionUpdate } from '../runtime/conditions.js';

/** What a full look at a MailSystem (certificates, every child, directory, signing) has found. */
export interface Look {
  /** When it began, ms since the epoch. */
  at: number;
  /** Of the MailSystem that it was about. */
  generation: number;
  verdicts: readonly ConditionUpdate[];
  /** When it first was not as it should be, and has been so since. */
  troubledSince?: number | undefined;
}

/** At rest: this often what no event tells is looked for. */
const REST_MS = 30_000;
/** While something is missing; longer the longer it lasts. */
const TROUBLED_MS = 3_000;
/** Trouble that only a person can end: no reason to look more often. */
const PATIENT = new Set(['VolumesReady']);

/** When the next full look is due, ms since the epoch; at once if the MailSystem has changed. Pure. */
export function nextLook(look: Look | undefined, generation: number): number {
  if (look === undefined || look.generation !== generation) return 0;
  if (look.troubledSince === undefined) return look.at + REST_MS;
  return look.at + Math.min(REST_MS, Math.max(TROUBLED_MS, (look.at - look.troubledSince) / 10));
}

/** The last full look at each MailSystem. Between two, pods and workloads are followed from the caches alone. */
export interface Looks {
  get(key: string): Look | undefined;
  /** Something may be wrong that only a full look finds. Also one that is under way will be followed by another. */
  invalidate(key: string): void;
  /** Begins a full look; call what it returns with the outcome. */
  begin(key: string, now: number): (generation: number, verdicts: readonly ConditionUpdate[]) => Look;
  forget(key: string): void;
}

export function createLooks(): Looks {
  const looks = new Map<string, Look>();
  const troubles = new Map<string, number>();
  const doubts = new Map<string, number>();
  const doubtsAbout = (key: string): number => doubts.get(key) ?? 0;
  return {
    get: (key) => looks.get(key),
    invalidate: (key) => {
      looks.delete(key);
      doubts.set(key, doubtsAbout(key) + 1);
    },
    begin: (key, now) => {
      const doubtsThen = doubtsAbout(key);
      looks.delete(key);
      return (generation, verdicts) => {
        const troubled = verdicts.some(({ type, status }) => status !== 'True' && !PATIENT.has(type));
        if (!troubled) troubles.delete(key);
        else if (!troubles.has(key)) troubles.set(key, now);
        const look: Look = { at: now, generation, verdicts, troubledSince: troubles.get(key) };
        if (doubtsAbout(key) === doubtsThen) looks.set(key, look);
        return look;
      };
    },
    forget: (key) => {
      looks.delete(key);
      troubles.delete(key);
      doubts.delete(key);
    },
  };
}

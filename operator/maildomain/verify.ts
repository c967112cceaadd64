import type { MailDomain } from '../../crds/maildomain.js';
import type { MailSystemResolved } from '../../crds/mailsystem.js';
import type { TxtAnswer } from '../dns/iterate.js';
import { challengeName, challengeValue, verifiedAt } from './ownership.js';
import type { TxtLookup } from './txt.js';

/** What is known of the proof that a domain belongs to its MailDomain's namespace. */
export interface OwnershipState {
  ok: boolean;
  reason: 'Verified' | 'RecordNotFound' | 'RecordDiffers' | 'LookupFailed' | 'RecordMissing';
  message: string;
}

/** `status.ownership` as it should be; undefined: none. */
export type Ownership = NonNullable<MailDomain['status']>['ownership'];

export interface Verification {
  ownership: Ownership;
  state: OwnershipState;
  /** When to look again. */
  nextMs: number;
}

/** Looks at the DNS when it is time to. */
export interface Verifier {
  verify(object: MailDomain, domain: string, resolver: MailSystemResolved['resolver']): Promise<Verification>;
  /** The object is gone. */
  forget(uid: string): void;
}

const FIRST_MS = 5_000;
const WAIT_MS = 10 * 60_000;
const DAY_MS = 24 * 3_600_000;
const HOUR_MS = 3_600_000;
/** A record that was seen is called missing when it was absent so many times, an hour apart. */
const MISSES = 3;

interface Memory {
  nextAt: number;
  /** Looks in a row that did not see the record. */
  misses: number;
  state: OwnershipState | undefined;
}

/**
 * Proofs are looked for with growing intervals (5 s to 10 min), and looked at again once a day. A proof that was seen holds: only a
 * record that is absent (not: can't be looked up) several times is said to be missing, and even then the domain is served.
 */
export function createVerifier(lookup: TxtLookup, now: () => Date, random: () => number = Math.random): Verifier {
  const memories = new Map<string, Memory>();
  return {
    verify: async (object, domain, resolver) => {
      const uid = object.metadata.uid ?? '';
      const proven = verifiedAt(object, domain) !== undefined;
      const at = now().getTime();
      const memory = memories.get(uid) ?? fresh(at, proven, random);
      memories.set(uid, memory);
      const { ownership } = object.status ?? {};
      if (at < memory.nextAt) {
        const state = memory.state ?? told(object, domain);
        return { ownership: proven ? ownership : undefined, state, nextMs: memory.nextAt - at };
      }
      const answer = await lookup(resolver, challengeName(domain));
      const verification = judge(object, domain, answer, memory, now());
      memory.misses = missesAfter(memory.misses, answer, sees(answer, uid, domain), proven);
      memory.nextAt = now().getTime() + verification.nextMs;
      memory.state = verification.state;
      return verification;
    },
    forget: (uid) => {
      memories.delete(uid);
    },
  };
}

/** A look that failed says nothing about a record that was seen; for one that is waited for, it is a reason to wait longer. */
function missesAfter(before: number, answer: TxtAnswer, seen: boolean, proven: boolean): number {
  if (seen) return 0;
  return answer.kind === 'failed' && proven ? before : before + 1;
}

/** After a restart proofs are looked at again at some time within four hours, not all at once. */
function fresh(at: number, proven: boolean, random: () => number): Memory {
  return { nextAt: proven ? at + Math.round(4 * HOUR_MS * random()) : at, misses: 0, state: undefined };
}

function told({ status }: MailDomain, domain: string): OwnershipState {
  const ownership = status?.ownership;
  if (ownership === undefined) return waiting({ kind: 'absent' }, domain);
  return ownership.missingSince === undefined
    ? verified(ownership.verifiedAt)
    : missing(domain, ownership.verifiedAt, ownership.missingSince);
}

function sees(answer: TxtAnswer, uid: string, domain: string): boolean {
  return answer.kind === 'found' && answer.values.some((value) => value.trim() === challengeValue(uid, domain));
}

function judge(object: MailDomain, domain: string, answer: TxtAnswer, memory: Memory, now: Date): Verification {
  const uid = object.metadata.uid ?? '';
  const before = verifiedAt(object, domain) === undefined ? undefined : object.status?.ownership;
  const time = now.toISOString().replace(/\.\d+Z$/, 'Z');
  if (sees(answer, uid, domain)) {
    const since = before?.verifiedAt ?? time;
    const ownership = { challenge: challengeValue(uid, domain), verifiedAt: since };
    return { ownership, state: verified(since), nextMs: DAY_MS };
  }
  if (before === undefined) {
    const nextMs = Math.min(WAIT_MS, FIRST_MS * 2 ** Math.min(memory.misses, 16));
    return { ownership: undefined, state: waiting(answer, domain), nextMs };
  }
  if (answer.kind === 'failed') return { ownership: before, state: told(object, domain), nextMs: HOUR_MS };
  const isMissing = before.missingSince !== undefined || memory.misses + 1 >= MISSES;
  if (!isMissing) return { ownership: before, state: verified(before.verifiedAt), nextMs: HOUR_MS };
  const missingSince = before.missingSince ?? time;
  return {
    ownership: { ...before, missingSince },
    state: missing(domain, before.verifiedAt, missingSince),
    nextMs: HOUR_MS,
  };
}

function verified(since: string): OwnershipState {
  return { ok: true, reason: 'Verified', message: `The DNS has said so since ${since}. Leave the record there.` };
}

function missing(domain: string, since: string, missingSince: string): OwnershipState {
  const message = `The TXT record ${challengeName(domain)} was seen at ${since}, and is not since ${missingSince}. Mail goes on; enter the record of status.records again, or delete the MailDomain if the domain is no longer yours.`;
  return { ok: false, reason: 'RecordMissing', message };
}

function waiting(answer: TxtAnswer, domain: string): OwnershipState {
  const name = challengeName(domain);
  switch (answer.kind) {
    case 'absent':
      return {
        ok: false,
        reason: 'RecordNotFound',
        message: `The DNS has no TXT record ${name}: enter the one in status.records. It is looked for again and again.`,
      };
    case 'found':
      return {
        ok: false,
        reason: 'RecordDiffers',
        message: `The DNS has another TXT record ${name}: enter the one in status.records. It is looked for again and again.`,
      };
    case 'failed':
      return {
        ok: false,
        reason: 'LookupFailed',
        message: `The TXT record ${name} can't be looked up (${answer.message}). It is tried again and again.`,
      };
  }
}

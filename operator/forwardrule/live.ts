import type { DesiredForward } from './forward.js';
import { baseOf, domainPart, type Landscape } from './landscape.js';

/** What the directories have now. */
export interface LiveForwards {
  get(uid: string): DesiredForward | undefined;
  /** The forward at exactly this address of a system. */
  at(system: string, address: string): DesiredForward | undefined;
  set(system: string, uid: string, forward: DesiredForward): void;
  delete(uid: string): void;
}

export function createLiveForwards(): LiveForwards {
  const byUid = new Map<string, { place: string; forward: DesiredForward }>();
  const byPlace = new Map<string, string>();
  const remove = (uid: string): void => {
    const known = byUid.get(uid);
    byUid.delete(uid);
    if (known !== undefined && byPlace.get(known.place) === uid) byPlace.delete(known.place);
  };
  return {
    get: (uid) => byUid.get(uid)?.forward,
    at: (system, address) => byUid.get(byPlace.get(`${system} ${address}`) ?? '')?.forward,
    set: (system, uid, forward) => {
      remove(uid);
      const place = `${system} ${forward.address}`;
      byUid.set(uid, { place, forward });
      byPlace.set(place, uid);
    },
    delete: remove,
  };
}

/**
 * Targets of a forward that is live by which its mail would come back to it, as the directory is now. A rule that is held back
 * keeps its former targets, and a Mailbox that ended their chain may have gone since.
 */
export function circularTargets(
  forward: DesiredForward,
  system: string,
  live: LiveForwards,
  landscape: Landscape,
): string[] {
  return forward.to.filter((target) => comesBack(target, forward.address, system, live, landscape));
}

function comesBack(target: string, home: string, system: string, live: LiveForwards, landscape: Landscape): boolean {
  const seen = new Set<string>();
  const open = [target];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const forward = liveReceiver(baseOf(next), system, live, landscape);
    if (forward === undefined || seen.has(forward.address)) continue;
    if (forward.address === home) return true;
    seen.add(forward.address);
    open.push(...forward.to);
  }
  return false;
}

function liveReceiver(
  address: string,
  system: string,
  live: LiveForwards,
  landscape: Landscape,
): DesiredForward | undefined {
  if (landscape.host(system, domainPart(address)) === undefined) return undefined;
  for (const candidate of landscape.candidates(system, address)) {
    const forward = live.at(system, candidate);
    if (forward !== undefined) return forward;
    if (landscape.owner(system, candidate)?.kind === 'mailbox') return undefined;
  }
  return undefined;
}

import type { Delivery } from './delivery.js';

/** Counts how often a delivery was begun. */
export interface Attempts {
  /**
   * The number of the attempt that would begin now. 1 is said only of a delivery that was surely never tried: one that this
   * process has seen from the first, or that the forward role took in a moment ago. Of others it is at least 2.
   */
  next(delivery: Delivery): number;
  /** It has begun. */
  begun(delivery: Delivery): void;
}

/** Postfix doesn't try again so soon. */
const FIRST_TRY_MS = 10_000;
const REMEMBERED = 20_000;

/** In memory: after a restart, or in another replica, an older delivery counts as tried. */
export function createAttempts(now = Date.now): Attempts {
  const begun = new Map<string, number>();
  const count = (delivery: Delivery): number => {
    const known = begun.get(delivery.id) ?? (isNew(delivery, now()) ? 0 : 1);
    begun.delete(delivery.id);
    begun.set(delivery.id, known);
    for (const oldest of begun.keys()) {
      if (begun.size <= REMEMBERED) break;
      begun.delete(oldest);
    }
    return known;
  };
  return {
    next: (delivery) => count(delivery) + 1,
    begun: (delivery) => void begun.set(delivery.id, count(delivery) + 1),
  };
}

function isNew({ queuedAt }: Delivery, now: number): boolean {
  return queuedAt === undefined || now - queuedAt.getTime() < FIRST_TRY_MS;
}

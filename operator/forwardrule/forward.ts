import type { ForwardRow } from '../directory/rows.js';

/** A forward as the directory should have it. */
export type DesiredForward = Omit<ForwardRow, 'object' | 'createdAt'>;

/** How many targets get mail. */
export function targetCount({ to, couriers }: Pick<DesiredForward, 'to' | 'couriers'>): number {
  return to.length + couriers.filter((target) => !('refused' in target)).length;
}

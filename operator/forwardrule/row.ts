import type { ForwardRule } from '../../crds/forwardrule.js';
import type { ForwardRow } from '../directory/rows.js';
import type { DesiredForward } from './forward.js';

/** The row of a rule that is to be projected; none for one that is held back. */
export function rowOf(object: ForwardRule, forward: DesiredForward | 'none' | undefined): ForwardRow[] {
  if (forward === undefined || forward === 'none') return [];
  const { uid = '', namespace = '', name, creationTimestamp = '' } = object.metadata;
  return [{ ...forward, object: { uid, namespace, name }, createdAt: creationTimestamp }];
}

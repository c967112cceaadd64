import type { MailSystem } from '../../../crds/mailsystem.js';
import { podName, type Shard } from './observe.js';

/** `POD=UUID`, several with commas: volumes that an administrator takes as they are, though nothing has filled them. */
export const ACCEPT_VOLUME = 'posthorn.dev/accept-volume';

/** Copies of the shard whose present volume is accepted. Another volume in the same pod is not. Pure. */
export function acceptedVolumes({ metadata }: MailSystem, shard: Shard): { member: number; volume: string }[] {
  const accepted = new Set((metadata.annotations?.[ACCEPT_VOLUME] ?? '').split(/[\s,]+/));
  return shard.copies.flatMap(({ member, volume }) =>
    volume !== null && accepted.has(`${podName(shard, member)}=${volume}`) ? [{ member, volume }] : [],
  );
}

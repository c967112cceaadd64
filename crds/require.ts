import { z } from 'zod';
import { domain } from './fields.js';

/** `spec.require` of a ForwardRule and of a Mailbox: which senders are believed. */
export function requirement() {
  return z
    .object({
      dkimAlignedFrom: z.array(domain()).min(1).max(64).meta({
        description:
          'Only mail whose From is in one of these domains or below, and which carries a valid DKIM signature of that domain (aligned as for DMARC), is taken as it is.',
        'x-kubernetes-list-type': 'set',
      }),
      otherwise: z
        .enum(['Reject', 'Tag'])
        .default('Reject')
        .describe(
          'What becomes of other mail. Reject: it is refused at the mx, so that the sender is told. Tag: it arrives, marked with X-Posthorn-Unauthenticated: yes and as spam.',
        ),
    })
    .optional()
    .describe('Senders that must have proved who they are. Default: everybody may write, as the domain allows.');
}

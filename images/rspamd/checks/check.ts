import type { Stage } from './stage.js';

export type Check = (stage: Stage) => Promise<void>;

/** A recipient's policy, as the gatekeeper tells it. */
export interface Policy {
  readonly rejectAbove?: number;
  readonly tagAbove?: number;
  readonly quarantineAbove?: number;
  readonly greylistAbove?: number;
  readonly spf?: 'Enforce' | 'Score';
  readonly dkim?: 'Enforce' | 'Score';
  readonly dmarc?: 'Enforce' | 'Score';
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly require?: { readonly from: readonly string[]; readonly otherwise?: 'Reject' | 'Tag' };
}

export interface Recipient {
  readonly kind: string;
  readonly canonical?: string;
  readonly policy: Policy | null;
}

/** Answers `/v1/recipients`. */
export const recipients =
  (about: (address: string) => Recipient) =>
  (path: string, question: Record<string, unknown>): unknown =>
    path === '/v1/recipients'
      ? {
          recipients: (question.recipients as string[]).map((address) => ({
            address,
            canonical: address,
            ...about(address),
          })),
        }
      : 404;

export const mailbox = (): Recipient => ({ kind: 'mailbox', policy: null });

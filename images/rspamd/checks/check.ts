import assert from 'node:assert/strict';
import type { Outcome } from './milter.js';
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

/** A rule that crashes at the start of one of its functions. */
export const crashing = (lua: string, name: string): string =>
  lua.replace(new RegExp(`function ${name}\\(.*\\)`), '$& nothing.at.all = 1');

/** A rule that never runs. */
export const skipped = (lua: string, symbol: string): string =>
  lua.replace(`name = '${symbol}',`, `name = '${symbol}', condition = function() return false end,`);

/** With each of these versions of its files, rspamd puts the message off, or does not start. */
export async function letsNothingThrough(
  stage: Stage,
  versions: Readonly<Record<string, Readonly<Record<string, string | null>>>>,
  play: () => Promise<Outcome>,
): Promise<void> {
  try {
    for (const [why, files] of Object.entries(versions)) {
      for (const [name, text] of Object.entries(files))
        assert.notEqual(text, stage.file(name), `${why}: nothing is broken`);
      const starts = await stage.restart(files, 20).then(
        () => true,
        () => false,
      );
      if (starts) assert.match((await play()).reply, /^451 /, why);
      else await assert.rejects(play(), why);
    }
  } finally {
    await stage.restart();
  }
  assert.equal((await play()).reply, 'accept');
}

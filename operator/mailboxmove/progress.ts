/** How far a MailboxMove is, from the directory's moves. Pure. */
import { MAX_FAILURES, type MailboxMoveStatus, type MovePhase } from '../../crds/mailboxmove.js';
import type { MoveState } from '../directory/rows.js';
import type { ConditionUpdate } from '../runtime/conditions.js';

/** A mailbox that is to move. */
export interface Traveller {
  readonly uuid: string;
  /** As people know it: NAME, or NAMESPACE/NAME. */
  readonly name: string;
  /** Where it is said to live. */
  readonly shard: string;
  /** Its move, as the directory has it. */
  readonly move: MoveState | undefined;
}

/** Phase of one mailbox. */
export function phaseOf({ shard, move }: Pick<Traveller, 'shard' | 'move'>, to: string): MovePhase {
  switch (move?.phase) {
    case 'syncing':
      return 'PreSync';
    case 'switching':
      return move.report.step === 'compare' ? 'Switching' : 'Draining';
    case 'settling':
      return move.report.verified === true ? 'Done' : 'Verifying';
    case 'done':
      return 'Done';
    case 'failed':
      return 'RolledBack';
    default:
      return shard === to ? 'Done' : 'Pending';
  }
}

/** Whether it takes one of the places that `concurrency` gives. */
export function isRunning(phase: MovePhase): boolean {
  return phase !== 'Pending' && phase !== 'Done' && phase !== 'RolledBack';
}

export interface Progress {
  readonly status: Required<Pick<MailboxMoveStatus, 'phase' | 'total' | 'moved' | 'running' | 'failed' | 'failures'>>;
  readonly ready: ConditionUpdate;
  readonly detail: string;
  /** Nothing is left to be done. */
  readonly over: boolean;
}

/**
 * @param missing names of mailboxes that are to move and aren't there: they are waited for
 * @param single it is about one mailbox
 */
export function progressOf(travellers: readonly Traveller[], to: string, missing: number, single: boolean): Progress {
  const phases = travellers.map((one) => ({ one, phase: phaseOf(one, to) }));
  const count = (is: (phase: MovePhase) => boolean) => phases.filter(({ phase }) => is(phase)).length;
  const moved = count((phase) => phase === 'Done');
  const failed = count((phase) => phase === 'RolledBack');
  const running = count(isRunning);
  const total = travellers.length + missing;
  const over = moved + failed === total;
  const failures = phases
    .filter(({ phase }) => phase === 'RolledBack')
    .slice(0, MAX_FAILURES)
    .map(({ one }) => ({ mailbox: one.name, message: (one.move?.report.message ?? 'unknown').slice(0, 512) }));
  const phase =
    single && missing === 0 ? (phases[0]?.phase ?? 'Pending') : phaseOfAll({ over, moved, failed, running });
  const status = { phase, total, moved, running, failed, failures };
  return { status, ready: readyVerdict(status, to, over), detail: detailOf(status, phases, single), over };
}

function phaseOfAll({ over, moved, failed, running }: Counts): MovePhase {
  if (over) return failed > 0 && moved === 0 ? 'RolledBack' : 'Done';
  return running + moved + failed > 0 ? 'Moving' : 'Pending';
}

interface Counts {
  over: boolean;
  moved: number;
  failed: number;
  running: number;
}

type Status = Progress['status'];

function readyVerdict({ total, moved, failed, failures }: Status, to: string, over: boolean): ConditionUpdate {
  const type = 'Ready';
  if (!over) {
    const message = `${moved} of ${total} mailboxes have moved to shard ${to}.`;
    return { type, status: 'False', reason: 'Moving', message };
  }
  if (failed === 0) {
    const message = total === 1 ? `The mailbox is on shard ${to}.` : `All ${total} mailboxes are on shard ${to}.`;
    return { type, status: 'True', reason: 'Done', message };
  }
  const which = failures.map(({ mailbox, message }) => `${mailbox}: ${message}`).join(' ');
  const message = `${failed} of ${total} mailboxes did not move and are where they were. ${which}`;
  return { type, status: 'False', reason: 'RolledBack', message };
}

function detailOf(status: Status, phases: readonly { one: Traveller; phase: MovePhase }[], single: boolean): string {
  const { phase, moved, total, running, failed } = status;
  const note = single ? phases[0]?.one.move?.report.message : undefined;
  if (single) return note === undefined ? phase : `${phase}: ${note}`.slice(0, 200);
  return `${phase}: ${moved} of ${total} moved${running > 0 ? `, ${running} on their way` : ''}${failed > 0 ? `, ${failed} rolled back` : ''}`;
}

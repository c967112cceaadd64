import type { MailSystemStatus } from '../../crds/mailsystem.js';
import type { ConditionUpdate } from '../runtime/conditions.js';

/** A StatefulSet or Deployment as it is. */
export interface Workload {
  /** Which condition it counts for. */
  condition: ComponentCondition;
  /** `StatefulSet/mail-mx`. */
  name: string;
  desired: number;
  ready: number;
  /** Pods that still run an older specification. */
  outdated: number;
}

export type ComponentCondition =
  | 'DatabaseReady'
  | 'FilterReady'
  | 'MxReady'
  | 'SubmissionReady'
  | 'EgressReady'
  | 'ForwardReady'
  | 'CourierReady'
  | 'ProxyReady'
  | 'StoreReady';

const COMPONENTS: readonly ComponentCondition[] = [
  'DatabaseReady',
  'FilterReady',
  'MxReady',
  'SubmissionReady',
  'EgressReady',
  'ForwardReady',
  'CourierReady',
  'ProxyReady',
  'StoreReady',
];

/** Everything that the status of a MailSystem is made from. */
export interface Observed {
  workloads: readonly Workload[];
  /** Conditions that a step of the reconciliation has decided itself: certificates, directory, signing. */
  verdicts: readonly ConditionUpdate[];
  endpoints: NonNullable<MailSystemStatus['endpoints']>;
}

/** Conditions and detail of a MailSystem: `Ready` is True only if every other condition is. */
export function systemStatus({ workloads, verdicts }: Observed): { conditions: ConditionUpdate[]; detail: string } {
  const parts = [...COMPONENTS.map((condition) => componentVerdict(condition, workloads)), ...verdicts];
  const bad = parts.filter((part) => part.status !== 'True');
  const ready: ConditionUpdate =
    bad[0] === undefined
      ? { type: 'Ready', status: 'True', reason: 'Working', message: 'Every component works.' }
      : {
          type: 'Ready',
          status: 'False',
          reason: bad[0].reason,
          message: bad.map((b) => `${b.type}: ${b.message}`).join(' '),
        };
  return { conditions: [ready, ...parts], detail: detailOf(workloads, bad[0]) };
}

function componentVerdict(type: ComponentCondition, all: readonly Workload[]): ConditionUpdate {
  const workloads = all.filter((w) => w.condition === type);
  if (workloads.length === 0)
    return { type, status: 'False', reason: 'NotCreated', message: 'Its workload does not exist yet.' };
  const behind = workloads.filter((w) => w.ready < w.desired);
  if (behind.length > 0)
    return { type, status: 'False', reason: 'PodsNotReady', message: behind.map(missing).join(' ') };
  const old = workloads.filter((w) => w.outdated > 0);
  const message =
    old.length > 0
      ? `Working; ${old.map((w) => `${w.outdated} pods of ${w.name}`).join(', ')} are being replaced.`
      : count(workloads);
  return { type, status: 'True', reason: old.length > 0 ? 'Rolling' : 'Running', message };
}

function missing(w: Workload): string {
  return `${w.ready} of ${w.desired} pods of ${w.name} are ready: see its pods' events and logs.`;
}

function count(workloads: readonly Workload[]): string {
  return `${sum(workloads, 'ready')} of ${sum(workloads, 'desired')} pods are ready.`;
}

function detailOf(workloads: readonly Workload[], bad: ConditionUpdate | undefined): string {
  if (bad !== undefined) return `${bad.type}: ${bad.message}`.slice(0, 200);
  const stores = workloads.filter((w) => w.condition === 'StoreReady');
  const database = workloads.filter((w) => w.condition === 'DatabaseReady');
  return `${sum(stores, 'ready')} of ${sum(stores, 'desired')} stores, ${sum(database, 'ready')} of ${sum(database, 'desired')} database members`;
}

function sum(workloads: readonly Workload[], field: 'ready' | 'desired'): number {
  return workloads.reduce((total, w) => total + w[field], 0);
}

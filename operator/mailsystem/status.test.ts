import { describe, expect, it } from 'vitest';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { type ComponentCondition, systemStatus, type Workload } from './status.js';

const workload = (condition: ComponentCondition, fields: Partial<Workload> = {}): Workload => ({
  condition,
  name: `StatefulSet/${condition}`,
  desired: 1,
  ready: 1,
  outdated: 0,
  ...fields,
});
const all: ComponentCondition[] = [
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
const applied: ConditionUpdate = { type: 'Applied', status: 'True', reason: 'Applied', message: '' };
const statusOf = (workloads: Workload[], verdicts: ConditionUpdate[] = [applied]) => {
  const { conditions, detail } = systemStatus({ workloads, verdicts, endpoints: [] });
  return { detail, by: Object.fromEntries(conditions.map((c) => [c.type, c])) };
};

describe('systemStatus', () => {
  it('is Ready when every component and every step is', () => {
    const { by, detail } = statusOf(all.map((condition) => workload(condition)));
    expect(Object.values(by).map((c) => c.status)).toEqual(Array.from({ length: 11 }, () => 'True'));
    expect(detail).toBe('1 of 1 stores, 1 of 1 database members');
  });

  it.each(all)('is not Ready without %s', (missing) => {
    const { by } = statusOf(all.filter((c) => c !== missing).map((condition) => workload(condition)));
    expect(by[missing]).toMatchObject({ status: 'False', reason: 'NotCreated' });
    expect(by.Ready?.status).toBe('False');
  });

  it('one store that is not ready is enough', () => {
    const stores = [workload('StoreReady'), workload('StoreReady', { name: 'StatefulSet/mail-store-b', ready: 0 })];
    const { by } = statusOf([...all.slice(0, -1).map((condition) => workload(condition)), ...stores]);
    expect(by.StoreReady).toMatchObject({ status: 'False', reason: 'PodsNotReady' });
    expect(by.StoreReady?.message).toContain('mail-store-b');
  });

  it('stays Ready while pods are replaced', () => {
    const { by } = statusOf(all.map((condition) => workload(condition, { outdated: 1 })));
    expect(by.MxReady).toMatchObject({ status: 'True', reason: 'Rolling' });
    expect(by.Ready?.status).toBe('True');
  });

  it('is not Ready when a step has failed', () => {
    const failed: ConditionUpdate = { type: 'Applied', status: 'False', reason: 'ApplyFailed', message: 'refused' };
    expect(
      statusOf(
        all.map((condition) => workload(condition)),
        [failed],
      ).by.Ready,
    ).toMatchObject({
      status: 'False',
      reason: 'ApplyFailed',
      message: 'Applied: refused',
    });
  });
});

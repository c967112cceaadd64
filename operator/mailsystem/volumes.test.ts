import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatQuantity, parseQuantity } from '../../crds/quantity.js';
import { type ClaimObject, planGrowth, type StatefulSetObject, withLiveSizes } from './volumes.js';

const set = (storage: string, name = 'mail-mx', extra: object = {}): StatefulSetObject => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name, namespace: 'mail' },
  spec: {
    volumeClaimTemplates: [{ metadata: { name: 'queue' }, spec: { resources: { requests: { storage } } } }],
    ...extra,
  },
});
const claim = (name: string, storage: string): ClaimObject => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name, namespace: 'mail' },
  spec: { resources: { requests: { storage } } },
});

describe('planGrowth', () => {
  it('does nothing for equal sizes, however they are written', () => {
    expect(planGrowth(set('2Gi'), set('2048Mi'), [claim('queue-mail-mx-0', '2147483648')])).toEqual({
      claims: [],
      replace: false,
    });
  });

  it('enlarges every claim of the set, and no other', () => {
    const claims = [
      'queue-mail-mx-0',
      'queue-mail-mx-12',
      'queue-mail-mx-internal-0',
      'data-mail-mx-0',
      'queue-mail-mx-',
    ];
    expect(
      planGrowth(
        set('4Gi'),
        set('2Gi'),
        claims.map((name) => claim(name, '2Gi')),
      ),
    ).toEqual({
      claims: [
        { name: 'queue-mail-mx-0', size: '4Gi' },
        { name: 'queue-mail-mx-12', size: '4Gi' },
      ],
      replace: true,
    });
  });

  it('goes on where it was interrupted', () => {
    const claims = [claim('queue-mail-mx-0', '4Gi'), claim('queue-mail-mx-1', '2Gi')];
    expect(planGrowth(set('4Gi'), set('2Gi'), claims).claims.map(({ name }) => name)).toEqual(['queue-mail-mx-1']);
    expect(planGrowth(set('4Gi'), set('2Gi'), [claim('queue-mail-mx-0', '4Gi')])).toEqual({
      claims: [],
      replace: true,
    });
  });

  it('enlarges volumes that an earlier system of that name has left', () => {
    expect(planGrowth(set('4Gi'), undefined, [claim('queue-mail-mx-0', '2Gi')])).toEqual({
      claims: [{ name: 'queue-mail-mx-0', size: '4Gi' }],
      replace: false,
    });
  });

  it('leaves alone what it can not read', () => {
    expect(planGrowth(set('4Gi'), set('4Gi'), [claim('queue-mail-mx-0', '1e9')]).claims).toEqual([]);
  });

  it('never shrinks, and is done after one round', () => {
    const size = fc.integer({ min: 1, max: 64 }).map((n) => formatQuantity(n * 2 ** 30));
    fc.assert(
      fc.property(size, size, fc.array(size, { maxLength: 4 }), (wanted, present, requests) => {
        const claims = requests.map((storage, i) => claim(`queue-mail-mx-${i}`, storage));
        const plan = planGrowth(set(wanted), set(present), claims);
        const after = claims.map((one) => {
          const change = plan.claims.find(({ name }) => name === one.metadata.name);
          return change === undefined ? one : claim(one.metadata.name, change.size);
        });
        for (const [i, one] of after.entries()) {
          const bytes = parseQuantity(one.spec?.resources?.requests?.storage ?? '');
          expect(bytes).toBeGreaterThanOrEqual(parseQuantity(requests[i] ?? ''));
        }
        expect(planGrowth(set(wanted), set(wanted), after)).toEqual({ claims: [], replace: false });
      }),
    );
  });
});

it('withLiveSizes keeps everything else as it is declared', () => {
  const kept = withLiveSizes(set('4Gi', 'mail-mx', { replicas: 3 }), set('2Gi'));
  expect(kept).toEqual(set('2Gi', 'mail-mx', { replicas: 3 }));
  expect(planGrowth(kept, set('2Gi'), []).replace).toBe(false);
});

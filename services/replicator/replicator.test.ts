import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createWorld, uuid, type World } from './testing/world.js';

vi.setConfig({ testTimeout: 30_000 });

let world: World;
afterEach(() => world.close());

async function until(what: string, look: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !look(); await sleep(5)) {
    if (Date.now() > end) throw new Error(`not within 20 s: ${what}`);
  }
}

const pendingFile = (): string => {
  const path = join(world.folder, 'dirty', 'pending');
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
};

describe('the replicator', () => {
  it('brings a change to every peer, and keeps still afterwards', async () => {
    world = await createWorld(2);
    world.start();
    await until('both peers compared', () => world.reports.length > 0);
    world.deliver(uuid(1), 'd1', { journal: 1 });
    await until('copied', () => world.equal());
    await until('purged', () => world.sides[1]?.journal.get(uuid(1))?.size === 0);
    world.expunge(uuid(1));
    await until('expunged', () => world.box(2, uuid(1)).size === 0 && world.box(1, uuid(1)).size === 0);
    await until('the log is emptied', () =>
      readdirSync(join(world.folder, 'dirty')).every((name) => !name.startsWith('log')),
    );
    await sleep(50);
    const before = world.calls.get('/v1/sync');
    await sleep(200);
    expect(world.calls.get('/v1/sync')).toBe(before);
    expect(world.wrong).toEqual([]);
  });

  it('finds and repairs what no notice told, and fills a blank volume', async () => {
    world = await createWorld(2);
    for (let n = 1; n <= 30; n++) world.deliver(uuid(n), `d${n}`, { silently: true });
    (world.sides[2] as { seeded: boolean }).seeded = false;
    world.start();
    await until('filled', () => world.equal() && world.sides[2]?.seeded === true);
    expect(world.wrong).toEqual([]);
  });

  it('brings to the second peer what a returned one alone had, once', async () => {
    world = await createWorld(2);
    world.deliver(uuid(1), 'before', { silently: true });
    world.box(1, uuid(1)).set('of-old-primary', 'd9');
    // The journal's replay has brought the same delivery here, under another GUID.
    world.box(0, uuid(1)).set('of-replay', 'd9');
    world.start();
    await until('merged', () => world.equal() && world.box(0, uuid(1)).size === 2);
    await until('compared', () =>
      [1, 2].every((n) => existsSync(join(world.folder, 'replication', `volume-${n}`, 'compared'))),
    );
    expect([...world.box(2, uuid(1)).values()].sort()).toEqual(['before', 'd9']);
    expect(world.wrong).toEqual([]);
  });

  it('serves one peer while the other is away, and catches up when it is back', async () => {
    world = await createWorld(2);
    world.start();
    (world.sides[1] as { away: boolean }).away = true;
    for (let n = 1; n <= 10; n++) world.deliver(uuid(n), `d${n}`);
    await until('the other has it', () => world.box(2, uuid(10)).size === 1);
    await until('on disk', () => pendingFile().split('\n').length === 11);
    await world.kill();
    world.start();
    (world.sides[1] as { away: boolean }).away = false;
    await until('caught up', () => world.equal());
    expect(world.wrong).toEqual([]);
  });

  it('leaves a mailbox that fails to later tries, and forgets one that was removed', async () => {
    world = await createWorld(1);
    world.start();
    world.failing.set(uuid(1), 6);
    world.deliver(uuid(1), 'd1');
    world.deliver(uuid(2), 'd2');
    world.gone.add(uuid(3));
    world.deliver(uuid(3), 'd3');
    await until('the other is not held up', () => world.box(1, uuid(2)).size === 1);
    await until('it gets there', () => world.box(1, uuid(1)).size === 1);
    await until('nothing is left', () => pendingFile() === '');
  });

  it('has all others replicated though one mailbox cannot be copied, and says which', async () => {
    world = await createWorld(1);
    (world.sides[1] as { seeded: boolean }).seeded = false;
    for (let n = 1; n <= 5; n++) world.deliver(uuid(n), `d${n}`, { silently: true });
    world.failing.set(uuid(3), Number.POSITIVE_INFINITY);
    const replicator = world.start();
    await until('the others count', () => world.sides[1]?.seeded === true);
    await until('said', () => replicator.facts()[0]?.divergent === 1 && replicator.facts()[0]?.compared === true);
    world.failing.delete(uuid(3));
    await until('mended', () => world.equal() && replicator.facts()[0]?.divergent === 0);
  });

  it('has a damaged copy made anew, whether it is found by a sync or a comparison', async () => {
    world = await createWorld(2);
    world.damaged.add(`1 ${uuid(1)}`);
    world.damaged.add(`2 ${uuid(2)}`);
    world.deliver(uuid(1), 'd1', { silently: true });
    world.start();
    world.deliver(uuid(2), 'd2');
    await until('mended', () => world.equal() && world.damaged.size === 0);
  });

  it('fills a volume anew that was rolled back, though its name is the same', async () => {
    world = await createWorld(1);
    world.deliver(uuid(1), 'd1', { silently: true });
    const replicator = world.start();
    await until('compared', () => replicator.facts()[0]?.compared === true && world.equal());
    const peer = world.sides[1] as World['sides'][number];
    peer.boxes.clear();
    peer.seeded = false;
    await until('filled', () => world.equal() && peer.seeded);
  });

  it('does nothing on a replica, and lets its notices go', async () => {
    world = await createWorld(1);
    world.role = 'replica';
    world.start();
    world.deliver(uuid(1), 'd1');
    await until('no notices', () => readdirSync(join(world.folder, 'dirty')).length === 0);
    expect(world.calls.get('/v1/sync')).toBeUndefined();
    world.role = 'primary';
    world.epoch = 2;
    await until('compared after the promotion', () => world.equal());
  });

  it('answers a flush when a member has everything', async () => {
    world = await createWorld(1);
    const replicator = world.start();
    await until('compared', () => world.reports.length > 0);
    for (let n = 1; n <= 20; n++) world.deliver(uuid(n), `d${n}`);
    expect(await replicator.flush(1, 2_000)).toEqual({ ok: true, users: 0 });
    expect(world.equal()).toBe(true);
    (world.sides[1] as { away: boolean }).away = true;
    world.deliver(uuid(1), 'late');
    expect(await replicator.flush(1, 100)).toEqual({ ok: false, users: 1 });
    expect(await replicator.flush(7, 100)).toEqual({ ok: false, users: 0 });
  });

  it('converges whatever dies', async () => {
    const mailbox = fc.integer({ min: 1, max: 6 });
    const peer = fc.integer({ min: 1, max: 2 });
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.tuple(fc.constant('deliver' as const), mailbox) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('expunge' as const), mailbox) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('away' as const), peer) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('back' as const), peer) },
      { weight: 1, arbitrary: fc.tuple(fc.constant('fail' as const), mailbox) },
      { weight: 1, arbitrary: fc.tuple(fc.constant('blank' as const), peer) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('kill' as const), peer) },
      { weight: 4, arbitrary: fc.tuple(fc.constant('pause' as const), fc.integer({ min: 1, max: 30 })) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        world = await createWorld(2);
        world.start();
        for (const [what, which] of steps) await actions[what]?.(which);
        for (const side of world.sides) side.away = false;
        await until('equal', () => world.equal() && world.sides.every(({ seeded }) => seeded) && pendingFile() === '');
        expect(world.wrong).toEqual([]);
        await world.close();
      }),
      { numRuns: 25, endOnFailure: true },
    );
  }, 60_000);
});

let count = 0;
const side = (member: number) => world.sides[member] as World['sides'][number];

const actions: Record<string, (which: number) => unknown> = {
  deliver: (n) => world.deliver(uuid(n), `d${++count}`, { journal: 1 + (count % 2) }),
  expunge: (n) => world.expunge(uuid(n)),
  away: (member) => {
    side(member).away = true;
  },
  back: (member) => {
    side(member).away = false;
  },
  fail: (n) => world.failing.set(uuid(n), 2),
  blank: (member) => {
    side(member).volume = `volume-${member}-${++count}`;
    side(member).seeded = false;
    side(member).boxes.clear();
    side(member).journal.clear();
  },
  pause: (ms) => sleep(ms),
  kill: async () => {
    await world.kill();
    world.start();
  },
};

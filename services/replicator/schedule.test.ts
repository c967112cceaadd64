import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  changed,
  DEFAULT_TIMING,
  finished,
  hurry,
  isAway,
  lagOf,
  newSchedule,
  next,
  type Outcome,
  type Schedule,
  setPeers,
  type Task,
  unsynced,
  wakeAt,
  windowMs,
} from './schedule.js';

const VOLUMES = ['v1', 'v2'];

function with2(): Schedule {
  const schedule = newSchedule();
  setPeers(schedule, VOLUMES);
  return schedule;
}

describe('a schedule', () => {
  it('lets a change wait for 0.3 s at rest, and syncs it to each peer, one after the other', () => {
    const schedule = with2();
    changed(schedule, 'a', 1000);
    expect(next(schedule, 1100)).toBeUndefined();
    const wake = wakeAt(schedule, 1100) ?? 0;
    expect(wake).toBeGreaterThanOrEqual(1300);
    expect(wake).toBeLessThan(1400);
    const first = next(schedule, wake) as Task;
    expect(next(schedule, wake)).toBeUndefined();
    finished(schedule, first, 1400, 'synced', 50);
    const second = next(schedule, 1400) as Task;
    expect([first.volume, second.volume].sort()).toEqual(VOLUMES);
    finished(schedule, second, 1450, 'synced', 50);
    expect(unsynced(schedule).size).toBe(0);
    expect(wakeAt(schedule, 1450)).toBeUndefined();
  });

  it('counts a change during a sync anew', () => {
    const schedule = newSchedule();
    setPeers(schedule, ['v1']);
    changed(schedule, 'a', 0);
    const task = next(schedule, 400) as Task;
    changed(schedule, 'a', 450);
    finished(schedule, task, 500, 'synced', 100);
    expect(lagOf(schedule, 'v1', 600)).toEqual({ users: 1, ms: 150, stuck: 0 });
    expect(next(schedule, 900)).toMatchObject({ uuid: 'a', since: 450 });
  });

  it('keeps the age of what has failed, and pauses longer each time', () => {
    const schedule = newSchedule();
    setPeers(schedule, ['v1']);
    changed(schedule, 'a', 0);
    let now = 400;
    const pauses: number[] = [];
    for (let n = 0; n < 9; n++) {
      const task = next(schedule, now) as Task;
      expect(task.since).toBe(0);
      finished(schedule, task, now, 'failed');
      const at = wakeAt(schedule, now) as number;
      pauses.push(at - now);
      now = at;
    }
    expect(lagOf(schedule, 'v1', now)).toEqual({ users: 0, ms: 0, stuck: 1 });
    expect(pauses).toEqual([1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
  });

  it('leaves a peer alone that is away, and serves the other', () => {
    const schedule = with2();
    changed(schedule, 'a', 0);
    const first = next(schedule, 500) as Task;
    finished(schedule, first, 500, 'unreachable');
    expect(isAway(schedule, first.volume)).toBe(true);
    const second = next(schedule, 500) as Task;
    expect(second.volume).not.toBe(first.volume);
    finished(schedule, second, 600, 'synced', 100);
    expect(next(schedule, 990)).toBeUndefined();
    expect(next(schedule, 1000)).toMatchObject({ volume: first.volume, since: 0 });
  });

  it('puts recent changes before a backlog, which gets every fourth turn', () => {
    const schedule = newSchedule({ ...DEFAULT_TIMING, workers: 1 });
    setPeers(schedule, ['v1']);
    for (let n = 0; n < 50; n++) changed(schedule, `old${n}`, 0);
    for (let n = 0; n < 50; n++) changed(schedule, `new${n}`, 100_000);
    const order: string[] = [];
    for (let n = 0; n < 16; n++) {
      const task = next(schedule, 105_000) as Task;
      order.push(task.uuid.slice(0, 3));
      finished(schedule, task, 105_000, 'synced', 10);
    }
    expect(order.filter((name) => name === 'new')).toHaveLength(12);
    expect(order.filter((name) => name === 'old')).toHaveLength(4);
  });

  it('keeps a worker free for recent changes', () => {
    const schedule = newSchedule();
    setPeers(schedule, ['v1']);
    for (let n = 0; n < 10; n++) changed(schedule, `old${n}`, 0);
    const now = 100_000;
    for (let n = 0; n < 3; n++) expect(next(schedule, now)).toBeDefined();
    expect(next(schedule, now)).toBeUndefined();
    changed(schedule, 'new', now);
    expect(wakeAt(schedule, now)).toBeGreaterThan(now);
    expect(next(schedule, now + 5000)).toMatchObject({ uuid: 'new' });
  });

  it('waits longer when workers do not keep up, but never more than 5 s', () => {
    const schedule = with2();
    for (let n = 0; n < 20; n++) changed(schedule, `u${n}`, 0);
    expect(windowMs(schedule, 200)).toBe(300);
    expect(windowMs(schedule, 400)).toBe(300 + ((2 * 20 - 4) * 50) / 4);
    for (let n = 0; n < 5000; n++) changed(schedule, `u${n}`, 0);
    expect(windowMs(schedule, 400)).toBe(5000);
  });

  it('hurries for a handover', () => {
    const schedule = newSchedule();
    setPeers(schedule, ['v1']);
    changed(schedule, 'a', 0);
    finished(schedule, next(schedule, 500) as Task, 500, 'unreachable');
    changed(schedule, 'b', 600);
    hurry(schedule, 'v1');
    expect([next(schedule, 600)?.uuid, next(schedule, 600)?.uuid].sort()).toEqual(['a', 'b']);
  });

  it('forgets a peer whose volume is gone, and what runs to it', () => {
    const schedule = with2();
    changed(schedule, 'a', 0);
    const task = next(schedule, 500) as Task;
    setPeers(schedule, ['v3']);
    finished(schedule, task, 600, 'failed');
    expect(unsynced(schedule).size).toBe(0);
    expect(schedule.busy.size).toBe(0);
  });
});

/** A model of two replicas: what each mailbox had when a sync to it began. Changes are numbers that rise. */
function createModel() {
  const schedule = with2();
  const changedAt = new Map<string, number[]>();
  const copy = new Map<string, number>();
  const running: { task: Task; seen: number }[] = [];
  let now = 0;
  const latest = (uuid: string): number => changedAt.get(uuid)?.length ?? 0;
  const behind = () =>
    VOLUMES.flatMap((volume) =>
      [...changedAt.keys()]
        .map((uuid) => ({ volume, uuid, has: copy.get(`${volume} ${uuid}`) ?? 0 }))
        .filter(({ uuid, has }) => has < latest(uuid)),
    );
  const start = (): void => {
    for (let task = next(schedule, now); task; task = next(schedule, now)) {
      const { uuid } = task;
      expect(running.some((other) => other.task.uuid === uuid)).toBe(false);
      running.push({ task, seen: latest(uuid) });
    }
    expect(running.length).toBeLessThanOrEqual(schedule.timing.workers);
  };
  const end = (at: number, outcome: Outcome): void => {
    const [ended] = running.splice(at % Math.max(1, running.length), 1);
    if (ended === undefined) return;
    if (outcome === 'synced') copy.set(`${ended.task.volume} ${ended.task.uuid}`, ended.seen);
    finished(schedule, ended.task, now, outcome, 50);
    start();
  };
  return {
    change: (uuid: string) => {
      changedAt.set(uuid, [...(changedAt.get(uuid) ?? []), now]);
      changed(schedule, uuid, now);
    },
    pass: (ms: number) => {
      now += ms;
      start();
    },
    end,
    /** Lag never says less than the truth, and what is behind is known. */
    check: () => {
      for (const { volume, uuid, has } of behind()) {
        const since = changedAt.get(uuid)?.[has] ?? 0;
        expect(lagOf(schedule, volume, now).ms).toBeGreaterThanOrEqual(now - since);
        expect(unsynced(schedule).get(uuid)).toContain(volume);
      }
    },
    /** From here on everything works. */
    finish: () => {
      for (let n = 0; n < 200; n++) {
        while (running.length > 0) end(0, 'synced');
        const at = wakeAt(schedule, now);
        if (at === undefined) break;
        // As the timer: never at once.
        now = Math.max(at, now + 20);
        start();
      }
      expect(behind()).toEqual([]);
      expect(unsynced(schedule).size).toBe(0);
    },
  };
}

describe('whatever happens', () => {
  const user = fc.integer({ min: 0, max: 5 }).map((n) => `u${n}`);
  const outcome = fc.constantFrom<Outcome>('synced', 'synced', 'failed', 'unreachable');
  type Step = (model: ReturnType<typeof createModel>) => void;
  const step = fc.oneof<fc.WeightedArbitrary<Step>[]>(
    { weight: 4, arbitrary: user.map((uuid) => (model) => model.change(uuid)) },
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 3000 }).map((ms) => (model) => model.pass(ms)) },
    {
      weight: 6,
      arbitrary: fc.tuple(fc.nat(), outcome).map(
        ([at, how]) =>
          (model) =>
            model.end(at, how),
      ),
    },
  );

  it('no change stays unsynced, a mailbox is in one sync at a time, and lag never says less than the truth', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const model = createModel();
        for (const one of steps) {
          one(model);
          model.check();
        }
        model.finish();
      }),
      { numRuns: 300 },
    );
  });

  it('a sync begins at most 5 s after the change when there are enough workers', () => {
    const change = fc.tuple(fc.integer({ min: 0, max: 400 }), fc.nat({ max: 2000 }));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
        const schedule = newSchedule({ ...DEFAULT_TIMING, workers: 10_000 });
        setPeers(schedule, ['v1']);
        let now = 0;
        const serve = (): void => {
          for (let task = next(schedule, now); task; task = next(schedule, now)) {
            expect(now - task.since).toBeLessThanOrEqual(DEFAULT_TIMING.slowMs);
            finished(schedule, task, now, 'synced', 2000);
          }
        };
        const drain = (until: number): void => {
          for (let at = now; at <= until; at = wakeAt(schedule, now) ?? Number.POSITIVE_INFINITY) {
            now = at;
            serve();
          }
          now = until;
        };
        for (const [pass, who] of changes) {
          drain(now + pass);
          changed(schedule, `u${who}`, now);
        }
        drain(now + 10_000);
        expect(unsynced(schedule).size).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
});

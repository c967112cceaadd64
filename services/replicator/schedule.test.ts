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
    expect(lagOf(schedule, 'v1', 600)).toEqual({ users: 1, ms: 150 });
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
    expect(next(schedule, 1400)).toBeUndefined();
    expect(next(schedule, 1500)).toMatchObject({ volume: first.volume, since: 0 });
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
describe('whatever happens', () => {
  const user = fc.integer({ min: 0, max: 5 }).map((n) => `u${n}`);
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ change: user }) },
    { weight: 6, arbitrary: fc.record({ pass: fc.integer({ min: 0, max: 3000 }) }) },
    {
      weight: 6,
      arbitrary: fc.record({
        end: fc.nat(),
        outcome: fc.constantFrom<Outcome>('synced', 'synced', 'failed', 'unreachable'),
      }),
    },
  );

  it('no change stays unsynced, a mailbox is in one sync at a time, and lag never says less than the truth', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const schedule = with2();
        let now = 0;
        const version = new Map<string, number>();
        const changedAt = new Map<string, number[]>();
        const copy = new Map<string, number>();
        const running: { task: Task; seen: number }[] = [];
        const start = (): void => {
          for (let task = next(schedule, now); task; task = next(schedule, now)) {
            expect(running.some((other) => other.task.uuid === task?.uuid)).toBe(false);
            running.push({ task, seen: version.get(task.uuid) ?? 0 });
          }
          expect(running.length).toBeLessThanOrEqual(schedule.timing.workers);
        };
        const end = (at: number, outcome: Outcome): void => {
          const [ended] = running.splice(at, 1);
          if (ended === undefined) return;
          if (outcome === 'synced') copy.set(`${ended.task.volume} ${ended.task.uuid}`, ended.seen);
          finished(schedule, ended.task, now, outcome, 50);
        };
        for (const one of steps) {
          if ('change' in one) {
            const times = changedAt.get(one.change) ?? [];
            changedAt.set(one.change, [...times, now]);
            version.set(one.change, times.length + 1);
            changed(schedule, one.change, now);
          } else if ('pass' in one) now += one.pass;
          else if (running.length > 0) end(one.end % running.length, one.outcome);
          start();
          for (const volume of VOLUMES) {
            for (const [uuid, latest] of version) {
              const lacks = copy.get(`${volume} ${uuid}`) ?? 0;
              if (lacks === latest) continue;
              const since = changedAt.get(uuid)?.[lacks] ?? 0;
              expect(lagOf(schedule, volume, now).ms).toBeGreaterThanOrEqual(now - since);
              expect(unsynced(schedule).get(uuid)).toContain(volume);
            }
          }
        }
        // From here on everything works: it ends, in bounded time.
        for (let n = 0; n < 200; n++) {
          while (running.length > 0) end(0, 'synced');
          start();
          if (running.length > 0) continue;
          const at = wakeAt(schedule, now);
          if (at === undefined) break;
          expect(at).toBeGreaterThanOrEqual(now);
          // As the timer: never at once.
          now = Math.max(at, now + 20);
          start();
        }
        expect(unsynced(schedule).size).toBe(0);
        for (const volume of VOLUMES) {
          for (const [uuid, latest] of version) expect(copy.get(`${volume} ${uuid}`)).toBe(latest);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('a sync begins at most 5 s after the change when there are enough workers', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.nat({ max: 2000 })), { maxLength: 200 }),
        (changes) => {
          const schedule = newSchedule({ ...DEFAULT_TIMING, workers: 10_000 });
          setPeers(schedule, ['v1']);
          let now = 0;
          const drain = (until: number): void => {
            for (;;) {
              for (let task = next(schedule, now); task; task = next(schedule, now)) {
                expect(now - task.since).toBeLessThanOrEqual(DEFAULT_TIMING.slowMs);
                finished(schedule, task, now, 'synced', 2000);
              }
              const at = wakeAt(schedule, now) ?? Number.POSITIVE_INFINITY;
              if (at > until) break;
              now = at;
            }
            now = until;
          };
          for (const [pass, who] of changes) {
            drain(now + pass);
            changed(schedule, `u${who}`, now);
          }
          drain(now + 10_000);
          expect(unsynced(schedule).size).toBe(0);
        },
      ),
      { numRuns: 100 },
    );
  });
});

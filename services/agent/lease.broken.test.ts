/** The check of lease.model.test.ts finds what is wrong with protocols that are nearly right. */
import { describe, expect, it } from 'vitest';
import type { LeaseTimes } from './lease-state.js';
import { type Bounds, check } from './testing/lease-check.js';
import { type Adversity, type Broken, TICKS } from './testing/lease-world.js';

interface Case extends Bounds {
  readonly title: string;
  readonly broken: Broken;
  readonly adversary: readonly Adversity[];
  readonly members?: 2 | 3;
  readonly times?: Partial<LeaseTimes>;
  readonly delays?: readonly string[];
}

const cases: readonly Case[] = [
  {
    title: 'the holder counts its deadline from the answer',
    broken: { deadlineFromAnswer: true },
    adversary: ['delay', 'pause-agent'],
    delays: ['renewed'],
    times: { renewEvery: 2 },
    ticks: 8,
    budget: 2,
  },
  {
    title: 'a follower counts from its question',
    broken: { watchFromQuestion: true },
    adversary: ['delay', 'cut'],
    delays: ['read'],
    times: { quiet: 2 },
    ticks: 6,
    budget: 2,
  },
  {
    title: 'a follower waits for the TTL without the margin',
    broken: {},
    adversary: ['pause-agent'],
    times: { margin: 0 },
    ticks: 8,
    budget: 1,
  },
  {
    title: 'nobody kills Dovecot when it goes on after a stop',
    broken: { noWatchdog: true },
    adversary: ['pause'],
    ticks: 8,
    budget: 1,
  },
  {
    title: 'a promise is forgotten',
    broken: { promiseForgotten: true },
    adversary: [],
    first: { cut: [0] },
    ticks: 7,
    budget: 0,
  },
  {
    title: 'a promise has no margin',
    broken: { promiseWithoutMargin: true },
    adversary: ['delay'],
    first: { cut: [0] },
    ticks: 7,
    budget: 1,
  },
  {
    title: 'the promise of one of two is enough',
    broken: { oneAnswerIsEnough: true },
    members: 3,
    adversary: ['delay'],
    delays: ['ask-peer'],
    first: { cut: [0] },
    ticks: 5,
    budget: 2,
  },
  {
    title: 'renewals are counted one by one, and a failover forgets one that was seen',
    broken: { plainCounter: true },
    adversary: ['lost-ack', 'failover', 'cut'],
    times: { quiet: 2, requestTimeout: 1 },
    ticks: 5,
    budget: 3,
  },
  {
    title: 'the directory is told before Dovecot is dead',
    broken: { releaseBeforeDeath: true },
    adversary: ['handover'],
    ticks: 5,
    budget: 1,
  },
  {
    title: "a new pod's agent takes the former one for dead",
    broken: { assumedDead: true },
    adversary: ['replace'],
    ticks: 4,
    budget: 1,
  },
  {
    title: 'a pod that another has replaced goes on by promises of the others',
    broken: { volumeUnasked: true },
    adversary: ['replace'],
    first: { cut: [0] },
    ticks: 8,
    budget: 1,
  },
  {
    title: 'a member is seeded of which its primary does not know',
    broken: { seededUnknown: true },
    adversary: ['seed', 'cut'],
    times: { quiet: 2 },
    blank: [1],
    ticks: 9,
    budget: 2,
  },
  {
    title: 'a member that has just been seeded counts the time before',
    broken: { seededWithoutWaiting: true },
    adversary: ['seed', 'cut'],
    times: { quiet: 2 },
    blank: [1],
    ticks: 7,
    budget: 2,
  },
];

describe('a lease protocol that is wrong is found out', () => {
  it.each(cases)(
    '$title',
    ({ members = 2, broken, adversary, delays, times, ...bounds }) => {
      const rules = { members, broken, delays, times: { ...TICKS, ...times }, adversary: new Set(adversary) };
      const { violation, trace } = check(rules, bounds);
      expect(violation).toMatch(/accept mail at once/);
      expect(trace?.length).toBeGreaterThan(3);
    },
    180_000,
  );
});

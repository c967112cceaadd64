/**
 * Every interleaving of the lease protocol up to a bound: the real state machine in a world of ticks, see
 * testing/lease-world.ts. That the check would notice is in lease.broken.test.ts.
 */
import { describe, expect, it } from 'vitest';
import type { LeaseTimes } from './lease-state.js';
import { type Bounds, check } from './testing/lease-check.js';
import { type Adversity, TICKS } from './testing/lease-world.js';

const EVERYTHING: readonly Adversity[] = [
  ...(['delay', 'lost-ack', 'failover', 'away', 'cut', 'pause', 'pause-agent'] as const),
  ...(['crash', 'replace', 'handover', 'stop'] as const),
];

interface Case extends Bounds {
  readonly title: string;
  readonly members: 2 | 3;
  readonly adversary: readonly Adversity[];
  readonly times?: Partial<LeaseTimes>;
  /** Ways of being primary that must have occurred: otherwise the check has seen nothing. */
  readonly seen: readonly string[];
}

const cases: readonly Case[] = [
  {
    title: 'any one thing, two members',
    members: 2,
    adversary: EVERYTHING,
    ticks: 9,
    budget: 1,
    seen: ['member 1, planned', 'member 1, failover'],
  },
  {
    title: 'any one thing, three members',
    members: 3,
    adversary: EVERYTHING,
    ticks: 6,
    budget: 1,
    seen: ['member 1, planned', 'member 1, failover', 'member 2, failover'],
  },
  {
    title: 'messages delayed, answers lost, commits forgotten by a failover',
    members: 2,
    adversary: ['delay', 'lost-ack', 'failover'],
    times: { renewEvery: 2, quiet: 2 },
    ticks: 6,
    budget: 2,
    seen: ['member 1, failover'],
  },
  {
    title: 'the primary cut off from the directory, and something else',
    members: 2,
    adversary: ['delay', 'lost-ack', 'pause', 'pause-agent', 'crash', 'replace'],
    first: { cut: [0] },
    ticks: 7,
    budget: 1,
    seen: ['member 1, failover'],
  },
  {
    title: 'the directory away, coming back at any time, and something else',
    members: 2,
    adversary: ['delay', 'pause', 'crash', 'replace'],
    first: { away: true },
    ticks: 7,
    budget: 1,
    seen: ['member 0, restart', 'member 1, failover'],
  },
  {
    title: 'the primary stopped with its Dovecot, going on at any time, and something else',
    members: 2,
    adversary: ['delay', 'lost-ack', 'cut', 'failover'],
    first: { paused: [0] },
    ticks: 8,
    budget: 1,
    seen: ['member 1, failover'],
  },
  {
    title: 'planned handovers and stops with messages delayed and answers lost',
    members: 2,
    adversary: ['handover', 'stop', 'delay', 'lost-ack'],
    ticks: 4,
    budget: 2,
    seen: ['member 1, planned'],
  },
  {
    title: 'a member that is seeded while its primary is cut off',
    members: 2,
    adversary: ['seed', 'cut'],
    blank: [1],
    times: { quiet: 2 },
    ticks: 8,
    budget: 2,
    seen: ['member 1, failover'],
  },
];

describe('the lease protocol', () => {
  it.each(cases)(
    'has one member at most that accepts mail: $title',
    ({ members, adversary, times, seen, ...bounds }) => {
      const rules = { members, broken: {}, times: { ...TICKS, ...times }, adversary: new Set(adversary) };
      const found = check(rules, bounds);
      expect(found.trace?.join('\n')).toBeUndefined();
      expect(found.violation).toBeUndefined();
      expect([...found.primaries.keys()]).toEqual(expect.arrayContaining([...seen]));
    },
  );
});

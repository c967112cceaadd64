import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { ALWAYS, type Verdict } from '../ledger/judge.js';
import { random, seedOf } from '../ledger/random.js';
import { account, LAG_MS, type Load, log, startLoad, strike } from './lib/campaign.js';
import {
  ensureFailoverSystem,
  ensureMailboxes,
  type FailoverSystem,
  removeFailoverSystem,
  shard,
} from './lib/failover-system.js';
import { FAULTS, type Fault, two } from './lib/faults.js';
import { kubectlOk, waitFor } from './lib/kube.js';
import { handOver, leaseOf, membersOf, nodeOf, podOf, primaryOf, stateOf, waitUntilWhole } from './lib/shard.js';
import { directoryLeader, sql } from './lib/sql.js';

/** POSTHORN_FAILOVER_SEED repeats a run's choices, POSTHORN_FAILOVER_ROUNDS bounds them. */
const SEED = seedOf('POSTHORN_FAILOVER_SEED');
const ROUNDS = Number(process.env.POSTHORN_FAILOVER_ROUNDS ?? 20);
/** Leaves the system for a look, or for the next run. */
const KEEP = process.env.POSTHORN_FAILOVER_KEEP !== undefined;

const accounts = ['ann', 'bob', 'cleo', 'dan'];

const KINDS: readonly Fault[] = [
  FAULTS.dovecotKilled,
  FAULTS.podDeleted,
  FAULTS.nodeKilled,
  FAULTS.volumeDestroyed,
  FAULTS.cutFromDirectory,
  FAULTS.cutFromPeers,
  FAULTS.cutFromClients,
  two(FAULTS.volumeDestroyed, FAULTS.agentKilled),
  FAULTS.agentKilled,
  FAULTS.replicatorAndAgentKilled,
  FAULTS.podDeletedByForce,
  FAULTS.podKilled,
  FAULTS.nodeFlaps,
  FAULTS.cutFromAll,
  FAULTS.networkFlaps,
  FAULTS.podStopped,
  FAULTS.agentStopped,
  FAULTS.leaderDeleted,
  two(FAULTS.nodeKilled, FAULTS.dovecotKilled),
  two(FAULTS.cutFromDirectory, FAULTS.podDeletedByForce),
];

const { outside } = inject('environment');
let system: FailoverSystem;

beforeAll(async () => {
  log(`seed ${SEED} (POSTHORN_FAILOVER_SEED), ${ROUNDS} rounds`);
  system = await ensureFailoverSystem(outside);
  await ensureMailboxes(accounts);
}, 900_000);

afterAll(async () => {
  if (!KEEP) await removeFailoverSystem();
}, 360_000);

interface Outcome {
  load: Load;
  verdict: Verdict;
  /** How often each mail program had to connect again. */
  reconnects: number[];
}

/** Runs `work` under load, then says what the ledger says. */
async function underLoad(work: (load: Load) => Promise<void>): Promise<Outcome> {
  await waitUntilWhole(shard);
  const load = await startLoad(system, accounts, SEED);
  let reconnects: number[] = [];
  try {
    await sleep(3_000);
    await work(load);
    await sleep(2_000);
  } finally {
    reconnects = await load.stop();
  }
  return { load, reconnects, verdict: await account(system, load) };
}

/** What is promised: see docs/safety.md. */
function expectKept(verdict: Verdict): void {
  for (const kind of ALWAYS) expect(verdict[kind], kind).toEqual([]);
  expect(verdict.appendsLost, 'appends that no destroyed volume explains').toEqual([]);
}

describe('a shard of three copies under load', () => {
  it('[R2 R3] keeps every acknowledged delivery exactly once through faults at random, and brings no removed message back', {
    timeout: 3_600_000,
  }, async () => {
    const chance = random(SEED);
    const first = ROUNDS < KINDS.length ? KINDS.slice(0, ROUNDS) : KINDS;
    const rest = Array.from({ length: ROUNDS - first.length }, () => chance.pick(KINDS));
    const { load, verdict } = await underLoad(async (load) => {
      for (const [index, fault] of [...chance.shuffled(first), ...rest].entries()) {
        log(`round ${index + 1} of ${ROUNDS}: ${fault.name}`);
        const { epochs } = await strike(load, fault);
        // What flaps doesn't make the primary flap: it moves away, and perhaps once more.
        expect(epochs, fault.name).toBeLessThanOrEqual(2);
      }
    });
    expectKept(verdict);
    expect(load.ledger.entries.size).toBeGreaterThan(ROUNDS * 20);
    log('the same from each copy');
    for (const member of membersOf(shard)) {
      if ((await primaryOf(shard)).member !== member) await handOver(shard, member);
      expect((await primaryOf(shard)).member).toBe(member);
      expectKept(await account(system, load));
    }
  });

  it('[R2] fills a copy whose disk was lost, and calls it equal only after it has compared everything', {
    timeout: 600_000,
  }, async () => {
    const { load, verdict } = await underLoad(async (load) => {
      const { member } = await primaryOf(shard);
      const replica = (member + load.chance.whole(1, shard.replicas - 1)) % shard.replicas;
      const at = await sql('SELECT clock_timestamp()', shard.namespace);
      await FAULTS.volumeDestroyed.strike(shard, replica, load.chance);
      await waitUntilWhole(shard, 240_000);
      const compared = await sql(
        `SELECT seeded, in_sync, divergent, last_compare > '${at}' FROM posthorn.member_states
         WHERE shard = '${shard.shard}' AND member = ${replica}`,
        shard.namespace,
      );
      expect(compared).toBe('t|t|0|t');
      await handOver(shard, replica);
      expect((await primaryOf(shard)).member).toBe(replica);
    });
    expectKept(verdict);
    expect(load.losses).toEqual([]);
  });

  it('[R2] takes no empty disk for the mail, even if nobody else can be asked', { timeout: 600_000 }, async () => {
    const { verdict } = await underLoad(async (load) => {
      const { member } = await primaryOf(shard);
      const others = membersOf(shard).filter((other) => other !== member);
      // Together, so that the primary has no time to go on alone.
      const frozen = await Promise.all(others.map((other) => FAULTS.podStopped.strike(shard, other, load.chance)));
      try {
        const from = Date.now();
        await FAULTS.volumeDestroyed.strike(shard, member, load.chance);
        load.losses.push({ from: from - LAG_MS, to: Date.now() });
        for (const until = Date.now() + 20_000; Date.now() < until; await sleep(300)) {
          const state = await stateOf(shard, member);
          if (state !== undefined) expect(`${state.role} ${state.seeded}`).toMatch(/^(stopped|replica) false$/);
        }
      } finally {
        await Promise.all(frozen.map(({ undo }) => undo()));
      }
      expect(others).toContain((await primaryOf(shard)).member);
      await waitUntilWhole(shard, 240_000);
    });
    expectKept(verdict);
  });

  it('[R2] does not forget who the primary is when the database loses its leader right after a change', {
    timeout: 600_000,
  }, async () => {
    const { verdict } = await underLoad(async () => {
      await handOver(shard);
      const before = await leaseOf(shard);
      const leader = await directoryLeader(shard.namespace);
      await kubectlOk(['delete', 'pod', '-n', shard.namespace, leader, '--grace-period=0', '--force', '--wait=false']);
      const after = await waitFor(
        'another leader of the database',
        async () => ((await directoryLeader(shard.namespace)) === leader ? undefined : leaseOf(shard)),
        90_000,
      );
      expect(after.epoch).toBeGreaterThanOrEqual(before.epoch);
      const primary = await waitUntilWhole(shard, 180_000);
      expect(primary.epoch).toBeGreaterThanOrEqual(before.epoch);
    });
    expectKept(verdict);
  });

  it('[R4] moves the primary away before its node is drained; people see one reconnect', {
    timeout: 900_000,
  }, async () => {
    let pause = 0;
    const { verdict, reconnects } = await underLoad(async (load) => {
      const before = await primaryOf(shard);
      const pod = podOf(shard, before.member);
      const node = `n${await nodeOf(shard.namespace, pod)}`;
      const at = Date.now();
      // In the end the pod has no node to go to: its volume is on this one.
      const flags = ['--ignore-daemonsets', '--delete-emptydir-data', '--force', '--timeout=240s'];
      try {
        await kubectlOk(['drain', node, ...flags], undefined, 250_000);
        const after = await primaryOf(shard);
        expect(after.member).not.toBe(before.member);
        expect(after.epoch).toBe(before.epoch + 1);
        expect(after.promotion).toBe('planned');
        await sleep(5_000);
        pause = Math.max(...load.readers.map((pulse) => pulse.longestGapMs(at, Date.now())));
        log(`drained ${node} in ${Math.round((Date.now() - at) / 1000)} s, longest pause of a reader ${pause} ms`);
      } finally {
        await kubectlOk(['uncordon', node]);
      }
      await waitUntilWhole(shard, 240_000);
    });
    expectKept(verdict);
    // One for the switch; another when the proxy of the connection was on the same node.
    for (const count of reconnects) expect(count).toBeLessThanOrEqual(2);
    expect(pause).toBeLessThan(10_000);
  });
});

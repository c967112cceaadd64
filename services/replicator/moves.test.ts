import { afterEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../operator/runtime/log.js';
import type { Answer } from './agent.js';
import { MOVE_TIMING, type Moves, startMoves } from './moves.js';

const UUID = 'aaaaaaaa-0000-4000-8000-000000000001';
const timing = {
  ...MOVE_TIMING,
  everyMs: 5,
  drainMs: 5,
  switchMs: 300,
  lateSeconds: 0.02,
  graceSeconds: 0.06,
  patienceMs: 200,
};

type Phase = 'syncing' | 'switching' | 'settling' | 'done' | 'failed';

/** The directory's row of a move, both sides' mail, and an agent that acts on them. */
function world() {
  const row = { phase: 'syncing' as Phase, report: {} as Record<string, unknown>, toEpoch: 4, at: Date.now() };
  const box = { here: new Set(['m1', 'm2']), there: new Set<string>() };
  const seen = { phases: ['syncing'] as Phase[], kicks: 0, sieve: 0, asked: 0, syncs: [] as Record<string, unknown>[] };
  const faults = { role: 'primary', sync: '' as string, mangled: false, onSwitching: () => undefined as unknown };
  const digestOf = (mail: Set<string>) => [...mail].sort().join(' ');
  const folder = (mail: Set<string>) => ({
    folders: [{ name: 'INBOX', guid: 'g', uidvalidity: 1, messages: mail.size, digest: digestOf(mail) }],
  });
  const enter = (to: Phase) => {
    Object.assign(row, { phase: to, at: Date.now() });
    seen.phases.push(to);
    if (to === 'switching') faults.onSwitching();
  };
  /** As directory_v1.move_step: true also for a step that was made before. */
  const step = ({ from, to, report }: { from: Phase; to: Phase; report: Record<string, unknown> }) => {
    if (row.phase !== from) return from !== to && row.phase === to;
    if (from === 'switching' && to === 'settling' && report.toEpoch !== row.toEpoch) return false;
    Object.assign(row.report, report);
    if (from !== to) enter(to);
    return true;
  };
  const sync = (body: Record<string, unknown>) => {
    seen.syncs.push(body);
    if (faults.sync !== '') return { ok: false, code: 75, error: faults.sync };
    for (const mail of box.here) if (!(faults.mangled && mail === 'm2')) box.there.add(mail);
    return { ok: true, state: `s${seen.syncs.length}`, code: 0 };
  };
  const verbs: Record<string, (body: never) => object> = {
    '/v1/state': () => ({ role: faults.role, moves: row.phase === 'done' || row.phase === 'failed' ? 0 : 1 }),
    '/v1/moves': (body: Parameters<typeof step>[0] | undefined) => {
      if (body !== undefined) return { ok: step(body) };
      seen.asked += 1;
      const phaseSeconds = (Date.now() - row.at) / 1000;
      const where = { toShard: 'b', toHost: 'b-0', toPort: 1, toEpoch: row.toEpoch };
      return {
        moves: [
          { mailbox: UUID, username: 'u@example.org', phase: row.phase, phaseSeconds, ...where, report: row.report },
        ],
      };
    },
    '/v1/sync': sync,
    '/v1/kick': () => {
      seen.kicks += 1;
      return { ok: true };
    },
    '/v1/inventory': () => folder(box.here),
    '/v1/remote/inventory': () => folder(box.there),
    '/v1/remote/sieve': () => {
      seen.sieve += 1;
      return { ok: true };
    },
  };
  const call = async (path: string, body?: unknown): Promise<Answer> => ({
    status: 200,
    body: verbs[path]?.(body as never),
  });
  return { row, box, seen, faults, agent: { get: (path: string) => call(path), post: call } };
}

let moves: Moves | undefined;
afterEach(() => moves?.stop());

async function until(what: string, look: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !look(); await new Promise((resolve) => setTimeout(resolve, 5))) {
    if (Date.now() > end) throw new Error(`not within 5 s: ${what}`);
  }
}

const start = ({ agent }: Pick<ReturnType<typeof world>, 'agent'>) => {
  moves = startMoves({ agent, log: silentLog, timing });
};

describe('a move', () => {
  it('copies, keeps everybody out for a moment, compares, switches, and fetches what came late', async () => {
    const w = world();
    w.faults.onSwitching = () => w.box.here.add('m3');
    start(w);
    await until('settling', () => w.row.phase === 'settling');
    expect(w.row.report).toMatchObject({ toEpoch: 4, messages: 3 });
    w.box.here.add('late');
    const syncs = w.seen.syncs.length;
    await until('done', () => w.row.phase === 'done');
    expect(w.seen.syncs).toHaveLength(syncs + 1);
    expect([...w.box.there].sort()).toEqual(['late', 'm1', 'm2', 'm3']);
    expect(w.seen.phases).toEqual(['syncing', 'switching', 'settling', 'done']);
    expect(w.row.report).toMatchObject({ verified: true });
    expect(w.seen).toMatchObject({ sieve: 1 });
    expect(w.seen.kicks).toBeGreaterThanOrEqual(3);
    expect(w.seen.syncs[0]).toMatchObject({
      user: 'u@example.org',
      host: 'b-0',
      port: 1,
      epoch: 4,
      state: '',
      full: true,
    });
    expect(w.seen.syncs[1]).toMatchObject({ state: 's1', full: false });
  });

  it('goes on from each phase in which another primary has left it', async () => {
    for (const phase of ['switching', 'settling'] as const) {
      const w = world();
      w.row.phase = phase;
      start(w);
      await until(`done after ${phase}`, () => w.row.phase === 'done');
      expect([...w.box.there].sort()).toEqual(['m1', 'm2']);
      await moves?.stop();
    }
  });

  it('opens the mailbox again when both sides do not become equal, and is given up after some rounds', async () => {
    const w = world();
    w.faults.mangled = true;
    start(w);
    await until('failed', () => w.row.phase === 'failed');
    expect(w.seen.phases.filter((phase) => phase === 'switching')).toHaveLength(5);
    expect(w.seen.phases).not.toContain('settling');
    expect(w.row.report.message).toBe(
      'both sides did not become equal in time: 1 folders differ (2 messages here, 1 there)',
    );
  });

  it('waits while the other shard is away, copying; is given up when that lasts', async () => {
    const w = world();
    w.faults.sync = 'no route to host';
    start(w);
    await until('told', () => w.row.report.failures === 2);
    expect(w.row.report.message).toBe('the mailbox could not be synced (code 75)');
    w.faults.sync = '';
    await until('done', () => w.row.phase === 'done');

    const hopeless = world();
    hopeless.faults.sync = 'no route to host';
    await moves?.stop();
    start(hopeless);
    await until('failed', () => hopeless.row.phase === 'failed');
    expect(hopeless.seen.phases).toEqual(['syncing', 'failed']);
  });

  it('does not switch to a shard that has got another primary since', async () => {
    const w = world();
    w.faults.onSwitching = () => {
      if (w.row.toEpoch === 4) w.row.toEpoch = 5;
    };
    start(w);
    await until('done', () => w.row.phase === 'done');
    expect(w.row.report.toEpoch).toBe(5);
    expect(w.seen.phases).toEqual(['syncing', 'switching', 'syncing', 'switching', 'settling', 'done']);
  });

  it('brings everything over again when the primary there is lost after the switch', async () => {
    const w = world();
    start(w);
    await until('settling', () => w.row.phase === 'settling');
    w.box.there.delete('m2');
    w.row.toEpoch = 5;
    await until('done', () => w.row.phase === 'done');
    expect([...w.box.there].sort()).toEqual(['m1', 'm2']);
    expect(w.row.report).toMatchObject({ toEpoch: 5 });
    expect(w.seen.syncs.at(-1)).toMatchObject({ epoch: 5, state: '', full: true });
  });

  it('ends when it is cancelled in between', async () => {
    const w = world();
    w.faults.onSwitching = () => {
      w.row.phase = 'failed';
    };
    start(w);
    await until('seen', () => w.row.phase === 'failed');
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(w.row.phase).toBe('failed');
    expect(w.seen.phases).toEqual(['syncing', 'switching']);
  });

  it("is nobody's business who is not the primary, and nothing is asked while nothing moves", async () => {
    const w = world();
    w.faults.role = 'replica';
    start(w);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(w.seen.asked).toBe(0);
    w.faults.role = 'primary';
    await until('done', () => w.row.phase === 'done');
    const asked = w.seen.asked;
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(w.seen.asked).toBe(asked);
  });
});

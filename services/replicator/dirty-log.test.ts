import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDirtyLog } from './dirty-log.js';
import { parseNotices, parseSieveEvents } from './notices.js';
import { readPending, writePending } from './pending.js';

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

let folder: string;
let now = 0;
const open = () => openDirtyLog({ folder, most: 200, graceMs: 1000, clock: () => now });
const say = (n: number, user = ''): void => appendFileSync(join(folder, 'log'), `${uuid(n)}${user && ` ${user}`}\n`);
const numbers = (changed: readonly string[]): number[] => changed.map((id) => Number(id.slice(-12)));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dirty-'));
  now = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('notices', () => {
  it('are lines of a UUID, and maybe an address; anything else is left out', () => {
    const text = `${uuid(1)}\n${uuid(2)} ä@example.org\n\nnonsense\n${uuid(3).slice(4)}\n${uuid(4)} - volume\n`;
    expect(parseNotices(text)).toEqual([uuid(1), uuid(2), uuid(4)]);
  });

  it('of Sieve are events with a user', () => {
    const line = (user: string) =>
      `event:x\tfield:user=${user}\tfield:cmd_name=PUTSCRIPT\tfield:cmd_args="field:user=z"\n`;
    expect(parseSieveEvents(line('a@b.example') + line('a@b.example') + line('c@b.example'))).toEqual([
      'a@b.example',
      'c@b.example',
    ]);
  });
});

describe('the dirty log', () => {
  it('is read once, as it grows, in whole lines', async () => {
    const log = open();
    expect((await log.read()).changed).toEqual([]);
    say(1, 'a@example.org');
    appendFileSync(join(folder, 'log'), uuid(2));
    expect((await log.read()).changed).toEqual([uuid(1)]);
    appendFileSync(join(folder, 'log'), '\n');
    expect(numbers((await log.read()).changed)).toEqual([2]);
    expect((await log.read()).changed).toEqual([]);
  });

  it('is read again from the start by the next process', async () => {
    say(1);
    await open().read();
    expect(numbers((await open().read()).changed)).toEqual([1]);
  });

  it('is put aside when it is long, read on by whoever had it open, removed on request', async () => {
    const log = open();
    for (let n = 0; n < 10; n++) say(n);
    await log.read();
    expect(existsSync(join(folder, 'log'))).toBe(false);
    const [aside = ''] = readdirSync(folder);
    appendFileSync(join(folder, aside), `${uuid(77)}\n`);
    const late = await log.read();
    expect(numbers(late.changed)).toEqual([77]);
    expect(late.done).toEqual([]);
    now = 1000;
    const { done } = await log.read();
    expect(done).toEqual([join(folder, aside)]);
    log.remove(done);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('reads Sieve events, and empties that file in place', async () => {
    const log = open();
    const event = `field:user=a@example.org\tfield:x=${'x'.repeat(70_000)}\n`;
    writeFileSync(join(folder, 'sieve'), event);
    expect((await log.read()).sieve).toEqual(['a@example.org']);
    expect((await log.read()).sieve).toEqual([]);
    appendFileSync(join(folder, 'sieve'), 'field:user=b@example.org\n');
    expect((await log.read()).sieve).toEqual(['b@example.org']);
  });

  it('says when something is appended', async () => {
    const log = open();
    const heard = new Promise<void>((resolve) => {
      const stop = log.onAppend(() => {
        stop();
        resolve();
      });
    });
    say(1);
    await heard;
  });

  it('loses nothing, whenever the process is killed', async () => {
    const step = fc.constantFrom('say', 'read', 'settle', 'keep', 'sync', 'restart', 'wait', 'late');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        rmSync(folder, { recursive: true, force: true });
        const model = createModel();
        for (const one of steps) await model[one as keyof typeof model]();
        await model.restart();
        expect(model.missing()).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });
});

/** The steps of one process, and a kill after any of them. */
function createModel() {
  const pending = join(folder, 'pending');
  const synced = new Set<string>();
  let log = open();
  let dirty = new Set<string>();
  let done: readonly string[] = [];
  let n = 0;
  const read = async (): Promise<void> => {
    const found = await log.read();
    for (const id of found.changed) dirty.add(id);
    done = found.done;
  };
  return {
    say: () => say(++n),
    read,
    settle: () => dirty.size === 0 && log.settle(),
    keep: () => {
      const entries = [...dirty].map((who) => ({ uuid: who, volumes: [] }));
      writePending(pending, entries);
      log.remove(done);
      done = [];
    },
    sync: () => {
      for (const who of dirty) synced.add(who);
      dirty.clear();
    },
    restart: async () => {
      log = open();
      done = [];
      dirty = new Set(readPending(pending).map((entry) => entry.uuid));
      await read();
    },
    wait: () => {
      now += 600;
    },
    /** A process that had opened the log before it was put aside, within the grace. */
    late: () => {
      const aside = readdirSync(folder).findLast((name) => name.startsWith('log.'));
      if (aside !== undefined && !done.includes(join(folder, aside))) {
        appendFileSync(join(folder, aside), `${uuid(++n)}\n`);
      }
    },
    missing: () => {
      const found = new Set(numbers([...synced, ...dirty]));
      return Array.from({ length: n }, (_, at) => at + 1).filter((at) => !found.has(at));
    },
  };
}

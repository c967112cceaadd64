import { describe, expect, it } from 'vitest';
import { silentLog } from '../../../operator/runtime/log.js';
import { reply } from '../../lib/lmtp/reply.js';
import { DoveadmError } from '../doveadm.js';
import type { Delivery, EntryName } from './journal.js';
import {
  createPostponed,
  createReplayer,
  createUnderWay,
  NobodyAnswers,
  type Replayed,
  replayFrom,
  type Source,
} from './replay.js';

const delivery = (mailbox: string, id = 'id'): Delivery => ({
  mailbox,
  id,
  epoch: 1,
  recipient: 'old@example.org',
  sender: 'eve@outside.example',
  content: Buffer.from('Subject: x\r\n\r\n'),
});

function world(answer = reply(250, '2.0.0 ok'), unclear = false) {
  const steps: string[] = [];
  const addresses: Record<string, string> = { amy: 'amy@new.example' };
  const has = new Set<string>();
  const replay = createReplayer({
    addressOf: async (mailbox) => addresses[mailbox],
    search: async (user, id) => {
      steps.push(`search ${user}`);
      return has.has(id);
    },
    gap: async (user) => steps.push(`gap ${user}`),
    lmtp: {
      deliver: async ({ recipients, content }) => {
        steps.push(`deliver ${recipients.join()} ${content[0]}`.trim());
        return [{ reply: answer, unclear }];
      },
    },
    note: async (user) => void steps.push(`note ${user}`),
    log: silentLog,
  });
  return { steps, has, replay };
}

describe('an entry of the journal', () => {
  it('goes to the address that its mailbox has now, after its UIDs were raised', async () => {
    const { replay, steps } = world();
    expect(await replay(delivery('amy'))).toBe('held');
    expect(steps).toEqual([
      'search amy@uuid.invalid',
      'gap amy@new.example',
      'deliver amy@new.example X-Delivery-Id: id',
      'note amy@new.example',
    ]);
  });

  it('goes to nobody when its mailbox is gone', async () => {
    const { replay, steps } = world();
    expect(await replay(delivery('gone'))).toBe('gone');
    expect(steps).toEqual([]);
  });

  it('is not delivered when the mailbox has it', async () => {
    const { replay, steps, has } = world();
    has.add('id');
    expect(await replay(delivery('amy'))).toBe('held');
    expect(steps).toEqual(['search amy@uuid.invalid']);
  });

  it('is kept when the mailbox refuses it, and fails when nothing is sure', async () => {
    expect(await world(reply(552, '5.2.2 full')).replay(delivery('amy'))).toBe('refused');
    await expect(world(reply(451, '4.3.0 x'), true).replay(delivery('amy'))).rejects.toThrow();
    const nobody = reply(451, "4.3.0 the mailbox's server does not answer: refused");
    await expect(world(nobody).replay(delivery('amy'))).rejects.toThrow();
  });
});

describe('a journal', () => {
  const source = (names: readonly EntryName[], done: string[]): Source => ({
    list: async () => names,
    read: async ({ mailbox, id }) => (id === 'vanished' ? undefined : delivery(mailbox, id)),
    done: async ({ id }) => void done.push(id),
  });
  const entry = (mailbox: string, id: string): EntryName => ({ mailbox, id, epoch: 1 });

  it('is replayed in order for each mailbox; what is refused is left, and not tried at once again', async () => {
    const done: string[] = [];
    const tried: string[] = [];
    const names = [
      entry('amy', '1'),
      entry('bob', '2'),
      entry('amy', '3'),
      entry('amy', 'vanished'),
      entry('amy', '4'),
    ];
    const replay = async ({ id }: Delivery): Promise<Replayed> => {
      tried.push(id);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return id === '3' ? 'refused' : id === '4' ? 'later' : 'held';
    };
    const postponed = createPostponed();
    const signal = new AbortController().signal;
    expect(await replayFrom(source(names, done), replay, { signal, postponed, log: silentLog })).toEqual({
      held: 3,
      left: 2,
    });
    expect(done.sort()).toEqual(['1', '2']);
    expect(tried.filter((id) => id !== '2')).toEqual(['1', '3', '4']);
    tried.length = 0;
    await replayFrom(source(names, done), replay, { signal, postponed, log: silentLog });
    expect(tried).not.toContain('3');
    expect(tried).toContain('4');
  });

  const options = (signal = new AbortController().signal) => ({
    signal,
    postponed: createPostponed(),
    log: silentLog,
  });

  it('is replayed though one mailbox is broken, or one entry', async () => {
    const names = [entry('amy', '1'), entry('bob', '2'), entry('cat', '3')];
    const broken = async ({ id }: Delivery): Promise<Replayed> => {
      if (id === '2') throw new DoveadmError('no', 75);
      if (id === '3') throw new Error('connection reset');
      return 'held';
    };
    expect(await replayFrom(source(names, []), broken, options())).toEqual({ held: 1, left: 2 });
    const alone = async (): Promise<Replayed> => {
      throw new DoveadmError('no', 75);
    };
    expect(await replayFrom(source(names, []), alone, options())).toEqual({ held: 0, left: 3 });
  });

  it('is not said to be replayed when nobody answers', async () => {
    let tried = 0;
    const silent = async (): Promise<Replayed> => {
      tried += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
      throw new Error('connection refused');
    };
    const names = Array.from({ length: 100 }, (_, n) => entry(`user${n}`, `${n}`));
    await expect(replayFrom(source(names, []), silent, options())).rejects.toThrow(NobodyAnswers);
    expect(tried).toBeLessThan(10);
    await expect(replayFrom(source([entry('amy', '1')], []), silent, options())).rejects.toThrow(NobodyAnswers);
  });

  it('is left alone when the role is lost', async () => {
    const controller = new AbortController();
    controller.abort();
    const replay = async (): Promise<Replayed> => 'held';
    await expect(replayFrom(source([entry('amy', '1')], []), replay, options(controller.signal))).rejects.toThrow();
  });
});

describe('what is under way', () => {
  it('is replayed once though two ask', async () => {
    const underWay = createUnderWay();
    let runs = 0;
    const work = async (): Promise<Replayed> => {
      runs += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
      return 'held';
    };
    expect(await Promise.all([1, 2].map(() => underWay.replay('amy', 'id', work)))).toEqual(['held', 'held']);
    expect(runs).toBe(1);
  });

  it('is waited for by a search, and a search that found nothing keeps replays off for a minute', async () => {
    let now = 0;
    const underWay = createUnderWay(() => now);
    const has = new Set<string>();
    const replay = async (): Promise<Replayed> => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      has.add('id');
      return 'held';
    };
    const running = underWay.replay('amy', 'id', replay);
    expect(await underWay.search('id', async () => has.has('id'))).toBe(true);
    await running;
    expect(await underWay.search('other', async () => false)).toBe(false);
    expect(await underWay.replay('amy', 'other', replay)).toBe('later');
    now = 61_000;
    expect(await underWay.replay('amy', 'other', replay)).toBe('held');
  });
});

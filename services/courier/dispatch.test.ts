import { describe, expect, it, vi } from 'vitest';
import { createAttempts } from './attempts.js';
import { bounced, type Delivery, deferred, delivered, type Outcome } from './delivery.js';
import { createDispatcher, type DispatchOptions } from './dispatch.js';
import { createRooms } from './room.js';
import type { Target } from './target.js';

const delivery = (id: string, token = 'u.0'): Delivery => ({ id, token, sender: '', message: Buffer.from('x') });
const target: Target = { rule: { namespace: 'mail', name: 'bot', uid: 'u' }, address: 'bot@example.org' };

function dispatcher(perform: DispatchOptions['perform'], more: Partial<DispatchOptions> = {}) {
  return createDispatcher({
    find: async () => target,
    perform,
    attempts: createAttempts(),
    room: createRooms({ places: 2, waiting: 0 }),
    answerMs: 40,
    ...more,
  });
}

function held(): { promise: Promise<Outcome>; end: (outcome: Outcome) => void } {
  let end: (outcome: Outcome) => void = () => undefined;
  const promise = new Promise<Outcome>((resolve) => {
    end = resolve;
  });
  return { promise, end };
}

describe('a delivery', () => {
  it('that takes long is put off, goes on, and its end is told to the next attempt', async () => {
    const work = held();
    const perform = vi.fn(() => work.promise);
    const { dispatch, running } = dispatcher(perform);
    expect(await dispatch(delivery('a'))).toMatchObject({
      result: 'deferred',
      text: expect.stringContaining('under way'),
    });
    expect(running()).toBe(1);
    const second = dispatch(delivery('a'));
    work.end(delivered('done'));
    expect(await second).toMatchObject({ result: 'delivered' });
    expect(await dispatch(delivery('a'))).toMatchObject({ result: 'delivered' });
    expect(perform).toHaveBeenCalledTimes(1);
    expect(running()).toBe(0);
  });

  it('that is put off is tried again, with the next number', async () => {
    const numbers: number[] = [];
    const { dispatch } = dispatcher(async (_delivery, _target, attempt) => {
      numbers.push(attempt);
      return attempt < 3 ? deferred('4.3.0', 'later') : delivered('done');
    });
    const results = [];
    for (let i = 0; i < 4; i += 1) results.push((await dispatch(delivery('a'))).result);
    expect(results).toEqual(['deferred', 'deferred', 'delivered', 'delivered']);
    expect(numbers).toEqual([1, 2, 3]);
  });

  it('of a target that hangs leaves room for other targets', async () => {
    const { dispatch } = dispatcher(({ token }) =>
      token === 'u.0' ? held().promise : Promise.resolve(delivered('done')),
    );
    const hanging = ['a', 'b', 'c', 'd'].map((id) => dispatch(delivery(id)));
    expect(await dispatch(delivery('e', 'v.0'))).toMatchObject({ result: 'delivered' });
    const texts = (await Promise.all(hanging)).map(({ result, text }) => [result, text]);
    expect(texts.filter(([result]) => result === 'deferred')).toHaveLength(4);
    expect(texts.filter(([, text]) => text?.includes('too many'))).toHaveLength(2);
  });

  it('whose rule is gone waits for an hour and then comes back; one of which the directory is not sure waits', async () => {
    const never = async (): Promise<Outcome> => bounced('5.0.0', 'not reached');
    const now = Date.parse('2026-11-24T13:00:00Z');
    const gone = dispatcher(never, { find: async () => undefined, now: () => now });
    const aged = (minutes: number) => ({ ...delivery(`gone-${minutes}`), queuedAt: new Date(now - minutes * 60_000) });
    expect(await gone.dispatch(aged(59))).toMatchObject({
      result: 'deferred',
      text: expect.stringMatching(/^4\.1\.1/),
    });
    expect(await gone.dispatch(aged(61))).toMatchObject({ result: 'bounced', text: expect.stringMatching(/^5\.1\.1/) });
    expect(await gone.dispatch(delivery('undated'))).toMatchObject({ result: 'deferred' });
    const find = () => Promise.reject(new Error('no member answered'));
    const outcome = await dispatcher(never, { find }).dispatch(delivery('a'));
    expect(outcome).toMatchObject({ result: 'deferred' });
    expect(outcome.text).not.toContain('member');
  });

  it('that fails unexpectedly waits, and gives its room back', async () => {
    let fail = true;
    const { dispatch } = dispatcher(async () => {
      if (fail) throw new Error('a bug');
      return delivered('done');
    });
    for (const id of ['a', 'b', 'c']) expect((await dispatch(delivery(id))).result).toBe('deferred');
    fail = false;
    expect((await dispatch(delivery('a'))).result).toBe('delivered');
  });
});

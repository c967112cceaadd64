import { describe, expect, it } from 'vitest';
import type { MailDomain } from '../../crds/maildomain.js';
import type { TxtAnswer } from '../dns/iterate.js';
import { challengeValue } from './ownership.js';
import { createVerifier, type Verification } from './verify.js';

const DOMAIN = 'example.org';
const HOUR = 3_600_000;
const found = (uid: string): TxtAnswer => ({ kind: 'found', values: ['v=other', challengeValue(uid, DOMAIN)] });
const absent: TxtAnswer = { kind: 'absent' };
const failed: TxtAnswer = { kind: 'failed', message: 'SERVFAIL' };

/** A MailDomain in a world whose clock and DNS we set; what is verified is kept, as the status would. */
function world(uid = 'u1') {
  let time = Date.parse('2026-05-01T00:00:00Z');
  let answer: TxtAnswer = absent;
  let lookups = 0;
  let object = { metadata: { name: DOMAIN, namespace: 'shop', uid } } as MailDomain;
  const resolver = { forwarders: [], rootServers: [], trustAnchors: [] };
  const make = () =>
    createVerifier(
      async () => {
        lookups += 1;
        return answer;
      },
      () => new Date(time),
      () => 0.5,
    );
  let verifier = make();
  const look = async (): Promise<Verification> => {
    const verification = await verifier.verify(object, DOMAIN, resolver);
    const { ownership } = verification;
    object = { ...object, status: ownership === undefined ? {} : { ownership } };
    return verification;
  };
  return {
    look,
    /** Waits as long as the verifier asks for, and looks again. */
    next: async (verification: Verification) => {
      time += verification.nextMs;
      return look();
    },
    dns: (next: TxtAnswer) => {
      answer = next;
    },
    wait: (ms: number) => {
      time += ms;
    },
    restart: () => {
      verifier = make();
    },
    lookups: () => lookups,
  };
}

describe('a proof that is waited for', () => {
  it('is looked for with growing intervals, up to ten minutes', async () => {
    const w = world();
    let verification = await w.look();
    const intervals = [verification.nextMs];
    for (let n = 0; n < 9; n += 1) {
      verification = await w.next(verification);
      intervals.push(verification.nextMs);
    }
    expect(intervals.map((ms) => ms / 1000)).toEqual([5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    expect(verification.state).toMatchObject({ ok: false, reason: 'RecordNotFound' });
  });

  it('is not looked for sooner because somebody looks at the object', async () => {
    const w = world();
    const first = await w.look();
    w.wait(1_000);
    const second = await w.look();
    expect(w.lookups()).toBe(1);
    expect(second).toMatchObject({ state: first.state, nextMs: first.nextMs - 1_000 });
  });

  it.each<[string, TxtAnswer]>([
    ['RecordDiffers', found('another')],
    ['RecordDiffers', { kind: 'found', values: [`${challengeValue('u1', DOMAIN)}x`] }],
    ['LookupFailed', failed],
  ])('is none: %s', async (reason, answer) => {
    const w = world();
    w.dns(answer);
    expect((await w.look()).state).toMatchObject({ ok: false, reason });
  });

  it('is remembered with its time when it is seen', async () => {
    const w = world();
    w.dns(found('u1'));
    expect(await w.look()).toMatchObject({
      ownership: { challenge: challengeValue('u1', DOMAIN), verifiedAt: '2026-05-01T00:00:00Z' },
      state: { ok: true, reason: 'Verified' },
      nextMs: 24 * HOUR,
    });
  });
});

describe('a proof that was seen', () => {
  it('holds when the DNS can not be asked, for however long', async () => {
    const w = world();
    w.dns(found('u1'));
    let verification = await w.look();
    w.dns(failed);
    for (let n = 0; n < 50; n += 1) verification = await w.next(verification);
    expect(verification).toMatchObject({ ownership: { verifiedAt: '2026-05-01T00:00:00Z' }, state: { ok: true } });
    expect(verification.ownership?.missingSince).toBeUndefined();
  });

  it('is missing when it is absent three times; two times say nothing', async () => {
    const w = world();
    w.dns(found('u1'));
    let verification = await w.look();
    w.dns(absent);
    verification = await w.next(verification);
    verification = await w.next(verification);
    expect(verification.state.ok).toBe(true);
    w.dns(found('u1'));
    verification = await w.next(verification);
    w.dns(absent);
    for (let n = 0; n < 2; n += 1) verification = await w.next(verification);
    expect(verification.state.ok).toBe(true);
    verification = await w.next(verification);
    expect(verification.state).toMatchObject({ ok: false, reason: 'RecordMissing' });
    expect(verification.ownership).toMatchObject({
      verifiedAt: '2026-05-01T00:00:00Z',
      missingSince: expect.any(String),
    });
    const since = verification.ownership?.missingSince;
    verification = await w.next(verification);
    expect(verification.ownership?.missingSince).toBe(since);
    w.dns(found('u1'));
    verification = await w.next(verification);
    expect(verification.state.ok).toBe(true);
    expect(verification.ownership?.missingSince).toBeUndefined();
  });

  it('is as it was after a restart, and looked at within hours', async () => {
    const w = world();
    w.dns(found('u1'));
    const before = await w.look();
    w.restart();
    w.dns(absent);
    const after = await w.look();
    expect(after).toMatchObject({ ownership: before.ownership, state: before.state });
    expect(after.nextMs).toBe(2 * HOUR);
    expect(w.lookups()).toBe(1);
  });
});

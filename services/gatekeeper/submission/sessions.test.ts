import { describe, expect, it } from 'vitest';
import { DirectoryUnavailable } from '../../../operator/directory/errors.js';
import type { DirectoryPool } from '../../lib/directory.js';
import { askWithMoment, createRevocations, type Moment } from '../auth/revocations.js';
import { createSessions } from './sessions.js';

const ALICE = 'alice@example.org';
const HOME = '198.51.100.7';
const OVER = expect.stringMatching(/^421 4\.7\.0 .*; log in again$/);

/** A gatekeeper's memory, and a clock that moves by hand. The directory has told once, at 0. */
function memory() {
  let now = 0;
  const revocations = createRevocations(() => now);
  const sessions = createSessions(revocations);
  revocations.learn([]);
  const connection = (port: number, fields: object = {}) =>
    new Map(Object.entries({ client_address: HOME, client_port: String(port), server_port: '465', ...fields }));
  return {
    revocations,
    sessions,
    /** The directory tells of a revocation of alice, or that there is none. */
    told: (...at: number[]) => revocations.learn(at.map((each) => ({ username: ALICE, at: each }))),
    greet: (port: number, fields: object = {}) => sessions.greeted(connection(port, fields)),
    logIn: (behind: number[] = [], ip = HOME, time = now) =>
      sessions.loggedIn(ALICE, ip, { time, behind: new Set(behind) }),
    refusal: (port: number, fields: object = {}) => sessions.refusal(ALICE, connection(port, fields)),
    after: (ms: number) => {
      now += ms;
    },
  };
}

describe('a session', () => {
  it('goes on while nothing is revoked, and ends when something is', () => {
    const m = memory();
    m.greet(1);
    m.after(5);
    m.logIn();
    expect(m.refusal(1)).toBeUndefined();
    m.after(5);
    m.told(77);
    expect(m.refusal(1)).toEqual(OVER);
    expect(m.sessions.refusal('bob@example.org', new Map())).toBeUndefined();
  });

  it('that logged in after the change goes on, also when this process learns of the change later', () => {
    const m = memory();
    m.greet(1);
    m.logIn();
    m.after(5);
    m.greet(2);
    m.logIn([77]);
    m.after(5);
    m.told(77);
    expect(m.refusal(2)).toBeUndefined();
    expect(m.refusal(1)).toEqual(OVER);
  });

  it('does not live on by log-ins of other sessions from the same address', () => {
    const m = memory();
    m.greet(1);
    m.logIn();
    m.after(5);
    m.told(77);
    for (let port = 2; port < 40; port += 1) {
      m.after(5);
      m.greet(port);
      m.logIn([77]);
      expect(m.refusal(port), String(port)).toBeUndefined();
    }
    expect(m.refusal(1)).toEqual(OVER);
  });

  it('is over whatever is greeted after the log-in, and is another one on the same port', () => {
    const m = memory();
    m.greet(1);
    m.logIn();
    m.after(5);
    m.told(77);
    m.greet(1, { sasl_username: ALICE });
    expect(m.refusal(1)).toEqual(OVER);
    // The same port of the client, to the other port of ours.
    m.greet(1, { server_port: '587' });
    expect(m.refusal(1)).toEqual(OVER);
    m.after(5);
    m.greet(1);
    m.logIn([77]);
    expect(m.refusal(1)).toBeUndefined();
  });

  it('whose log-in was not told here is as old as its greeting', () => {
    const m = memory();
    m.told(70);
    m.after(5);
    m.greet(1);
    m.after(5);
    expect(m.refusal(1)).toBeUndefined();
    m.told(77);
    expect(m.refusal(1)).toEqual(OVER);
  });

  it('whose greeting was not heard is as old as this process', () => {
    const m = memory();
    m.after(5);
    expect(m.refusal(1)).toBeUndefined();
    m.told(77);
    expect(m.refusal(1)).toEqual(OVER);
    const restarted = createRevocations(() => 0);
    restarted.learn([{ username: ALICE, at: 77 }]);
    expect(createSessions(restarted).refusal(ALICE, new Map())).toBeUndefined();
  });

  it('is found by any form of its address', () => {
    const m = memory();
    m.greet(1, { client_address: '2001:db8::1' });
    m.after(5);
    m.logIn([77], '2001:0DB8:0::1');
    m.after(5);
    m.told(77);
    expect(m.refusal(1, { client_address: '2001:db8::1' })).toBeUndefined();
  });

  it('is over when it is one of very many log-ins between very many revocations', () => {
    const m = memory();
    m.greet(1);
    m.logIn();
    const all: number[] = [];
    for (let at = 1; at <= 30; at += 1) {
      m.after(5);
      all.push(at);
      m.told(at);
      m.logIn(all);
    }
    m.after(5);
    m.greet(2);
    m.logIn(all);
    expect(m.refusal(1)).toEqual(OVER);
    expect(m.refusal(2)).toBeUndefined();
  });

  it('cannot be judged when the directory has not told for a minute', () => {
    const m = memory();
    m.after(59_000);
    expect(m.refusal(1)).toBeUndefined();
    m.after(2_000);
    expect(() => m.refusal(1)).toThrow();
    m.told();
    expect(m.refusal(1)).toBeUndefined();
  });
});

describe('the moment of a log-in', () => {
  const question = { doing: 'look up', sql: 'SELECT $1 AS username' };
  const asked: unknown[][] = [];

  /** `visible`: revocations in the answer's snapshot; undefined: the members lag. */
  const directory = (visible: number[] | undefined) =>
    ({
      ask: async ({ values, sql }: { values: unknown[]; sql: string }) => {
        asked.push(values);
        if (!sql.includes('revoked')) return [{ username: ALICE }];
        if (visible === undefined) throw new DirectoryUnavailable('it lags');
        return [{ username: ALICE, behind: visible }];
      },
    }) as unknown as DirectoryPool;

  const momentOf = async (m: ReturnType<typeof memory>, visible: number[] | undefined): Promise<Moment> =>
    (await askWithMoment(directory(visible), m.revocations, ALICE, question)).moment;

  it('has behind it what its snapshot shows, and not what another member has told', async () => {
    const m = memory();
    m.told(70_000_000);
    m.after(61_000);
    m.told(99_000_000);
    expect([...(await momentOf(m, [])).behind]).toEqual([70_000_000]);
    expect([...(await momentOf(m, [99_000_000])).behind]).toEqual([70_000_000, 99_000_000]);
  });

  it('is asked for as far back as something may not be settled', async () => {
    const m = memory();
    m.told(50_000_000, 99_000_000);
    await momentOf(m, []);
    expect(asked.at(-1)).toEqual([ALICE, 50_000_000]);
    m.after(61_000);
    await momentOf(m, []);
    expect(asked.at(-1)).toEqual([ALICE, 99_000_000]);
  });

  it('of members that lag has behind it what is older than their answers can be', async () => {
    const m = memory();
    m.told(70_000_000);
    m.after(61_000);
    m.told(99_000_000);
    expect([...(await momentOf(m, undefined)).behind]).toEqual([70_000_000]);
  });
});

it('a login is news for some seconds after it was revoked', () => {
  const m = memory();
  expect([...m.told(77)]).toEqual([ALICE]);
  m.after(5_000);
  expect([...m.told(77)]).toEqual([ALICE]);
  m.after(6_000);
  expect([...m.told(77)]).toEqual([]);
});

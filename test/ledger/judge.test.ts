import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { counts, judge, type Loss, type Verdict } from './judge.js';
import { type Copy, createLedger, isAsKnown, isUncertain, type Ledger } from './ledger.js';
import { createPulse } from './pulse.js';
import { random } from './random.js';

let clock = 1_000;
const ledgerOf = (): Ledger => createLedger(() => clock);
const copy = (id: string, more: Partial<Copy> = {}): Copy => ({
  id,
  account: 'ann',
  folder: 'INBOX',
  uidValidity: 7,
  uid: 1,
  flags: [],
  ...more,
});

/** The names of what was found, without their lines. */
function findings(ledger: Ledger, copies: readonly Copy[], losses: readonly Loss[] = []): string[] {
  return Object.entries(counts(judge(ledger, copies, losses)))
    .filter(([, count]) => count > 0)
    .map(([name]) => name);
}

function delivered(...ids: string[]): Ledger {
  const ledger = ledgerOf();
  for (const id of ids) ledger.kept(id, 'ann', 'delivery', 'INBOX', 'yes');
  return ledger;
}

describe('deliveries', () => {
  test('each is there once: nothing to say', () => {
    expect(findings(delivered('<1>', '<2>'), [copy('<1>'), copy('<2>', { uid: 2 })])).toEqual([]);
  });

  test('a lost one is found', () => {
    expect(findings(delivered('<1>', '<2>'), [copy('<1>')])).toEqual(['lost']);
  });

  test('a lost one is not excused by a destroyed volume', () => {
    expect(findings(delivered('<1>'), [], [{ from: 0, to: 1e9 }])).toEqual(['lost']);
  });

  test('a doubled one is found, in one folder and in two', () => {
    expect(findings(delivered('<1>'), [copy('<1>'), copy('<1>', { uid: 2 })])).toEqual(['doubled']);
    expect(findings(delivered('<1>'), [copy('<1>'), copy('<1>', { folder: 'Archive' })])).toEqual(['doubled']);
  });

  test('one that was perhaps taken may be there or not, but not twice', () => {
    const ledger = ledgerOf();
    ledger.kept('<1>', 'ann', 'delivery', 'INBOX', 'maybe');
    expect(findings(ledger, [])).toEqual([]);
    expect(findings(ledger, [copy('<1>')])).toEqual([]);
    expect(findings(ledger, [copy('<1>'), copy('<1>', { uid: 2 })])).toEqual(['doubled']);
  });

  test("one in somebody else's mailbox is found, and one that nobody sent", () => {
    expect(findings(delivered('<1>'), [copy('<1>', { account: 'bob' })])).toEqual(['leaked']);
    expect(findings(delivered('<1>'), [copy('<1>'), copy('<2>')])).toEqual(['strangers']);
  });
});

describe('what a mail program changes', () => {
  test('a removed message that is back is found; one that was perhaps removed may be there', () => {
    const ledger = delivered('<1>', '<2>');
    ledger.expunged('<1>', 'yes');
    ledger.expunged('<2>', 'maybe');
    expect(findings(ledger, [])).toEqual([]);
    expect(findings(ledger, [copy('<2>')])).toEqual([]);
    expect(findings(ledger, [copy('<1>')])).toEqual(['returned']);
  });

  test('a removal is excused only in the time that was destroyed', () => {
    const ledger = delivered('<1>');
    clock = 5_000;
    ledger.expunged('<1>', 'yes');
    expect(findings(ledger, [copy('<1>')], [{ from: 4_000, to: 6_000 }])).toEqual(['excused']);
    expect(findings(ledger, [copy('<1>')], [{ from: 5_001, to: 6_000 }])).toEqual(['returned']);
    expect(findings(ledger, [copy('<1>')], [{ from: 4_000, to: 4_999 }])).toEqual(['returned']);
  });

  test('appends are counted for themselves', () => {
    const ledger = ledgerOf();
    ledger.kept('<a>', 'ann', 'append', 'Drafts', 'yes');
    ledger.kept('<b>', 'ann', 'append', 'Drafts', 'maybe');
    expect(findings(ledger, [copy('<a>', { folder: 'Drafts' })])).toEqual([]);
    expect(findings(ledger, [])).toEqual(['appendsLost']);
    expect(findings(ledger, [copy('<a>', { folder: 'Drafts' }), copy('<a>', { folder: 'Drafts', uid: 2 })])).toEqual([
      'appendsDoubled',
    ]);
  });

  test('a message is where it was put last, or perhaps since', () => {
    const ledger = delivered('<1>');
    ledger.moved('<1>', 'Archive', 'yes');
    expect(findings(ledger, [copy('<1>', { folder: 'Archive' })])).toEqual([]);
    expect(findings(ledger, [copy('<1>')])).toEqual(['misplaced']);
    ledger.moved('<1>', 'Work', 'maybe');
    for (const folder of ['Archive', 'Work']) expect(findings(ledger, [copy('<1>', { folder })])).toEqual([]);
    expect(findings(ledger, [copy('<1>')])).toEqual(['misplaced']);
  });

  test('flags are as they were acknowledged last', () => {
    const ledger = delivered('<1>');
    ledger.flagged('<1>', '\\Flagged', true, 'yes');
    ledger.flagged('<1>', '$k1', true, 'yes');
    ledger.flagged('<1>', '$k1', false, 'yes');
    ledger.flagged('<1>', '$k2', true, 'maybe');
    expect(findings(ledger, [copy('<1>', { flags: ['\\Flagged', '\\Recent'] })])).toEqual([]);
    expect(findings(ledger, [copy('<1>', { flags: ['\\Flagged', '$k1'] })])).toEqual(['misflagged']);
    expect(findings(ledger, [copy('<1>')])).toEqual(['misflagged']);
  });

  test('a UID that has meant two messages is found, in the same folder and validity only', () => {
    const ledger = delivered('<1>', '<2>');
    ledger.seen(copy('<1>'));
    ledger.seen(copy('<1>'));
    ledger.seen(copy('<2>', { uidValidity: 8 }));
    ledger.seen(copy('<2>', { folder: 'Archive' }));
    expect(ledger.reused).toEqual([]);
    ledger.seen(copy('<2>'));
    expect(judge(ledger, [copy('<1>', { uid: 3 }), copy('<2>', { uid: 4 })]).reused).toHaveLength(1);
  });

  test('what is uncertain, or not as acknowledged, is left alone', () => {
    const ledger = delivered('<1>', '<2>', '<3>');
    const entry = (id: string) => ledger.entries.get(id) as NonNullable<ReturnType<typeof ledger.entries.get>>;
    expect(isAsKnown(entry('<1>'), copy('<1>'))).toBe(true);
    ledger.flagged('<1>', '$k1', true, 'yes');
    expect(isAsKnown(entry('<1>'), copy('<1>'))).toBe(false);
    expect(isAsKnown(entry('<1>'), copy('<1>', { flags: ['$k1'] }))).toBe(true);
    ledger.moved('<2>', 'Archive', 'maybe');
    expect(isUncertain(entry('<2>'))).toBe(true);
    expect(isAsKnown(entry('<2>'), copy('<2>', { folder: 'Archive' }))).toBe(false);
    ledger.expunged('<3>', 'yes');
    expect(isAsKnown(entry('<3>'), copy('<3>'))).toBe(false);
  });
});

test('whatever happens to one message of many, it and nothing else is found', () => {
  const WRONGS: Record<string, (copies: Copy[], at: number) => keyof Verdict> = {
    lose: (copies, at) => {
      copies.splice(at, 1);
      return 'lost';
    },
    double: (copies, at) => {
      copies.push({ ...(copies[at] as Copy), uid: 10_000 });
      return 'doubled';
    },
    show: (copies, at) => {
      copies[at] = { ...(copies[at] as Copy), account: 'bob' };
      return 'leaked';
    },
    return: (copies) => {
      copies.push(copy('<gone>', { uid: 10_001 }));
      return 'returned';
    },
    move: (copies, at) => {
      copies[at] = { ...(copies[at] as Copy), folder: 'Trash' };
      return 'misplaced';
    },
  };
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.nat(),
      fc.constantFrom(...Object.keys(WRONGS)),
      (size, at, wrong) => {
        const ids = Array.from({ length: size }, (_, i) => `<${i}>`);
        const ledger = delivered(...ids, '<gone>');
        ledger.expunged('<gone>', 'yes');
        const copies = ids.map((id, uid) => copy(id, { uid }));
        expect(findings(ledger, copies)).toEqual([]);
        const expected = WRONGS[wrong]?.(copies, at % size);
        expect(findings(ledger, copies)).toEqual([expected]);
      },
    ),
  );
});

test('the same seed draws the same, also in its branches', () => {
  const draw = (seed: number) => {
    const source = random(seed);
    const branch = source.fork('faults');
    return [source.whole(1, 6), source.pick(['a', 'b', 'c']), source.shuffled([1, 2, 3, 4, 5]), branch.next()];
  };
  expect(draw(42)).toEqual(draw(42));
  expect(draw(42)).not.toEqual(draw(43));
  const dice = random(1);
  const rolls = Array.from({ length: 600 }, () => dice.whole(1, 6));
  expect([...new Set(rolls)].sort()).toEqual([1, 2, 3, 4, 5, 6]);
});

test('the longest pause is told, also one that lasts still', () => {
  let at = 0;
  const pulse = createPulse(() => at);
  for (const beat of [1000, 2000, 6000, 6500]) {
    at = beat;
    pulse.beat();
  }
  at = 7000;
  expect(pulse.longestGapMs(0, 7000)).toBe(4000);
  expect(pulse.longestGapMs(2500, 3000)).toBe(4000);
  expect(pulse.longestGapMs(6100, 7000)).toBe(500);
  at = 20_000;
  expect(pulse.longestGapMs(6600, 7000)).toBe(13_500);
});

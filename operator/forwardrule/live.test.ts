import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { baseOf } from './landscape.js';
import { cluster } from './testing/cluster.js';

const NAMES = ['a', 'b', 'c', 'd', '*'];
const address = (name: string) => (name === 'out' ? 'x@y.example' : `${name}@example.org`);

type Edit =
  | { do: 'rule'; name: string; to: string[] }
  | { do: 'unrule'; name: string }
  | { do: 'mailbox' | 'unmailbox'; name: string };

const name = fc.constantFrom(...NAMES);
const target = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'out');
const to = fc.uniqueArray(target, { minLength: 1, maxLength: 3 });
const edit: fc.Arbitrary<Edit> = fc.oneof(
  { arbitrary: fc.record({ do: fc.constant('rule' as const), name, to }), weight: 6 },
  { arbitrary: fc.record({ do: fc.constant('unrule' as const), name }), weight: 1 },
  {
    arbitrary: fc.record({
      do: fc.constantFrom('mailbox' as const, 'unmailbox' as const),
      name: fc.constantFrom('a', 'c', 'e'),
    }),
    weight: 2,
  },
);

/** A directory as reconciling makes it. */
function world() {
  const c = cluster();
  const mailboxes = new Set<string>();
  const rules = new Set<string>();
  const held = new Set<string>();

  /** @returns whether the directory has changed */
  const reconcile = (rule: string): boolean => {
    const { forward, problems } = c.desired(rule);
    if (problems.some(({ reason }) => reason === 'LoopDetected')) held.add(rule);
    else held.delete(rule);
    const before = c.live.get(c.uid(rule));
    // The directory refuses a rule whose address a mailbox has: all of these are older than any rule.
    if (forward === 'none' || mailboxes.has(rule)) c.live.delete(c.uid(rule));
    else if (forward !== undefined) c.live.set('mail/mail', c.uid(rule), forward);
    return !isDeepStrictEqual(before, c.live.get(c.uid(rule)));
  };

  const reconcileAll = (touched: readonly (string | undefined)[]): void => {
    const queue = new Set([...touched, ...held]);
    for (const rule of queue) {
      queue.delete(rule);
      if (rule === undefined || !reconcile(rule)) continue;
      for (const other of held) queue.add(other);
    }
  };

  const change: Record<Edit['do'], (at: string, more: string[]) => void> = {
    rule: (at, more) => {
      rules.add(at);
      c.rule(at, more);
    },
    unrule: (at) => {
      if (!rules.delete(at)) return;
      c.live.delete(c.uid(at));
      held.delete(at);
      c.remove('ForwardRule', at);
    },
    mailbox: (at) => {
      mailboxes.add(at);
      c.mailbox(at, [], 'mail', '2020-01-01T00:00:00Z');
    },
    unmailbox: (at) => {
      mailboxes.delete(at);
      c.remove('Mailbox', at);
    },
  };

  /** Forwards that get mail by a live one. */
  const next = (rule: string): string[] =>
    (c.live.at('mail/mail', rule)?.to ?? []).flatMap((each) => {
      const base = baseOf(each);
      if (!base.endsWith('@example.org') || mailboxes.has(base)) return [];
      return [base, '*@example.org'].filter((at) => c.live.at('mail/mail', at) !== undefined).slice(0, 1);
    });

  return {
    c,
    next,
    apply: (edit: Edit) => {
      const at = address(edit.name);
      change[edit.do](at, edit.do === 'rule' ? edit.to.map(address).filter((each) => each !== at) : []);
      reconcileAll(c.interested(at));
    },
    loops: () => [...rules].filter((rule) => comesBack(rule, next)),
  };
}

function comesBack(start: string, next: (rule: string) => string[]): boolean {
  const seen = new Set<string>();
  const open = next(start);
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (at === start) return true;
    if (!seen.has(at)) open.push(...next(at));
    seen.add(at);
  }
  return false;
}

describe('the directory', () => {
  it('never has a loop, whatever is edited in whatever order', () => {
    fc.assert(
      fc.property(fc.array(edit, { minLength: 2, maxLength: 14 }), (edits) => {
        const w = world();
        for (const each of edits) {
          w.apply(each);
          expect(w.loops()).toEqual([]);
        }
      }),
      { numRuns: 150 },
    );
  });

  it('loses a target that comes back since the Mailbox is gone that ended the chain, and keeps the others', () => {
    const w = world();
    w.apply({ do: 'mailbox', name: 'e' });
    w.apply({ do: 'rule', name: '*', to: ['e', 'out'] });
    w.apply({ do: 'unmailbox', name: 'e' });
    expect(w.c.live.at('mail/mail', '*@example.org')?.to).toEqual(['x@y.example']);
    expect(w.c.reasons('*@example.org')).toEqual(['LoopDetected']);
    w.apply({ do: 'mailbox', name: 'e' });
    expect(w.c.live.at('mail/mail', '*@example.org')?.to).toEqual(['e@example.org', 'x@y.example']);
  });
});

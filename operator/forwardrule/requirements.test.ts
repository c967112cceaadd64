import { describe, expect, it } from 'vitest';
import type { ForwardRuleSpec } from '../../crds/forwardrule.js';
import { missingRequirement } from './requirements.js';
import { cluster } from './testing/cluster.js';

const ask = (from: string[], otherwise: 'Reject' | 'Tag' = 'Reject') => ({ from, otherwise });
const from = (...dkimAlignedFrom: string[]) => ({ require: { dkimAlignedFrom } });

describe('missingRequirement', () => {
  it.each([
    ['the same', [ask(['a.example', 'b.example'])], ask(['b.example', 'a.example'])],
    ['fewer domains', [ask(['a.example'])], ask(['b.example', 'a.example'])],
    ['a domain below', [ask(['x.a.example'])], ask(['a.example'])],
    ['refusing where marking is enough', [ask(['a.example'])], ask(['a.example'], 'Tag')],
    ['marking where that is enough', [ask(['a.example'], 'Tag')], ask(['a.example'], 'Tag')],
    ['one of two', [ask(['b.example']), ask(['a.example'])], ask(['a.example'])],
  ])('is none with %s', (_, here, there) => {
    expect(missingRequirement(here, [there])).toBeUndefined();
  });

  it.each([
    ['nothing', [], ask(['a.example'], 'Tag')],
    ['another domain', [ask(['b.example'])], ask(['a.example'])],
    ['more domains', [ask(['a.example', 'b.example'])], ask(['a.example'])],
    ['the domain above', [ask(['a.example'])], ask(['x.a.example'])],
    ['a name that ends alike', [ask(['ba.example'])], ask(['a.example'])],
    ['marking', [ask(['a.example'], 'Tag')], ask(['a.example'])],
    ['each of two for a part', [ask(['a.example', 'b.example']), ask(['a.example'], 'Tag')], ask(['a.example'])],
  ])('is what is asked for there with %s', (_, here, there) => {
    expect(missingRequirement(here, [there])).toBe(there);
  });
});

describe('a Mailbox that believes some senders only', () => {
  const tickets = (c = cluster()) =>
    c.mailbox('tickets@example.org', ['help@example.org'], 'mail', undefined, from('riseup.net', 'example.org'));
  const address = 'a@example.org';
  const out = 'out@y.example';
  const aRule = (to: string[], more: Partial<ForwardRuleSpec> = {}) => tickets().rule(address, to, more);

  it.each(['tickets@example.org', 'help@example.org', 'Tickets+x@example.org'])(
    'gets no mail by a rule for %s that asks less, and the rule says so',
    (target) => {
      for (const more of [{}, from('riseup.net', 'gmail.com')]) {
        const c = aRule([target, out], more);
        expect(c.desired(address).forward).toMatchObject({ to: [out] });
        expect(c.reasons(address)).toEqual(['RequirementMissing']);
        expect(c.message(address)).toContain('{dkimAlignedFrom: [riseup.net, example.org], otherwise: Reject}');
      }
      expect(aRule([target]).desired(address).forward).toBe('none');
    },
  );

  it('gets mail by a rule that asks as much', () => {
    const c = aRule(['tickets@example.org'], from('riseup.net'));
    expect(c.desired(address)).toMatchObject({ forward: { to: ['tickets@example.org'] }, problems: [] });
  });

  it('gets none by a catch-all or the postmaster either', () => {
    const c = tickets(cluster({ postmaster: 'tickets@example.org' }))
      .rule('*@example.org', ['tickets@example.org', out])
      .rule('root@example.org', ['abuse@example.org', out]);
    for (const rule of ['*@example.org', 'root@example.org']) {
      expect(c.desired(rule).forward).toMatchObject({ to: [out] });
      expect(c.reasons(rule)).toEqual(['RequirementMissing']);
    }
  });

  it('keeps no copy for a rule that asks less', () => {
    const copy = { keepCopy: { mailbox: 'tickets' } };
    const c = aRule([out], copy);
    expect(c.desired(address).forward).toMatchObject({ to: [out], keepCopy: null });
    expect(c.reasons(address)).toEqual(['RequirementMissing']);
    expect(c.message(address)).toMatch(/Mailbox tickets takes mail only .* no copy is kept/);
    const same = aRule([out], { ...copy, ...from('example.org') });
    expect(same.desired(address)).toMatchObject({ forward: { keepCopy: 'tickets' }, problems: [] });
  });

  it('may send as the address of any rule', () => {
    expect(aRule([out], { sendAs: { mailbox: 'tickets' } }).reasons(address)).toEqual([]);
  });

  it.each(['tickets@example.org', 'help@example.org'])(
    'keeps its own mail to %s, of which the directory asks the same',
    (own) => {
      const c = tickets()
        .mailbox('second@example.org', [], 'mail', undefined, from('example.org', 'riseup.net'))
        .rule(own, [out, 'second@example.org'], { keepCopy: { mailbox: 'tickets' } });
      expect(c.desired(own)).toMatchObject({
        forward: { to: [out, 'second@example.org'], keepCopy: 'tickets', require: null },
        problems: [],
      });
      // Others' mail doesn't come to it by way of that rule.
      c.rule(address, [own, out]);
      expect(c.desired(address).forward).toMatchObject({ to: [out] });
    },
  );

  it('is safe behind other rules: what the last one may not hand on, those before it may hand to that one', () => {
    const c = tickets().rule(address, ['b@example.org']).rule('b@example.org', ['tickets@example.org', out]);
    expect(c.reasons(address)).toEqual([]);
    expect(c.reasons('b@example.org')).toEqual(['RequirementMissing']);
    c.rule('b@example.org', ['tickets@example.org'], from('example.org'));
    expect(c.reasons('b@example.org')).toEqual([]);
    expect(c.reasons(address)).toEqual(['RequirementMissing']);
    expect(c.rule(address, ['b@example.org'], from('example.org')).reasons(address)).toEqual([]);
    // A rule that leads only there leads nowhere.
    c.rule('b@example.org', ['tickets@example.org']);
    expect(c.reasons(address)).toEqual(['TargetNotFound']);
  });

  it('gets no mail by a rule before it that is held back in a circle', () => {
    const c = cluster().mailbox('tickets@example.org').mailbox('k@example.org');
    const more = { keepCopy: { mailbox: 'k' } };
    c.rule(address, ['tickets@example.org', out], more);
    const live = c.desired(address).forward;
    if (live === undefined || live === 'none') throw new Error('no forward');
    c.live.set('mail/mail', c.uid(address), live);
    c.rule(address, ['b@example.org'], more).rule('b@example.org', [address]);
    expect(c.desired(address).forward).toBeUndefined();
    tickets(c);
    expect(c.desired(address)).toMatchObject({ forward: { to: [out], keepCopy: 'k' } });
    c.mailbox('k@example.org', [], 'mail', undefined, from('example.org'));
    expect(c.desired(address)).toMatchObject({ forward: { to: [out], keepCopy: null } });
    expect(c.reasons(address)).toEqual(['LoopDetected']);
  });

  it('gets nothing at all when nobody can say what it asks for', () => {
    const c = cluster()
      .mailbox('tickets@example.org', ['a_b@\uff0e.example'], 'mail', undefined, from('example.org'))
      .rule(address, [out], { keepCopy: { mailbox: 'tickets' } });
    expect(c.desired(address).forward).toMatchObject({ keepCopy: null });
    expect(c.message(address)).toContain('can not be understood');
  });
});

it('a rule for a program that believes some senders only gets no mail by others that ask less', () => {
  const webhooks = [{ url: 'https://bots.example.net/' }];
  const c = cluster()
    .rule('bot@example.org', [], { webhooks, ...from('gmail.com') })
    .rule('a@example.org', ['bot@example.org', 'out@y.example']);
  expect(c.desired('a@example.org').forward).toMatchObject({ to: ['out@y.example'] });
  expect(c.reasons('a@example.org')).toEqual(['RequirementMissing']);
});

import { describe, expect, it } from 'vitest';
import { cluster } from './testing/cluster.js';

describe('desiredForward', () => {
  it('is what the spec says, in canonical form', () => {
    const c = cluster().rule(
      'Ariel@Example.ORG',
      ['Ariel.F@Gmail.example', 'ariel.f@gmail.EXAMPLE', 'x+y@BÜCHER.example'],
      {
        sendAs: { mailbox: 'ariel' },
        require: { dkimAlignedFrom: ['GMAIL.com'] },
      },
    );
    c.mailbox('ariel@example.org');
    expect(c.desired('ariel@example.org')).toEqual({
      system: 'mail/mail',
      forward: {
        address: 'ariel@example.org',
        to: ['ariel.f@gmail.example', 'x+y@xn--bcher-kva.example'],
        couriers: [],
        keepCopy: null,
        sendAs: 'ariel',
        require: { from: ['gmail.com'], otherwise: 'Reject' },
      },
      problems: [],
    });
  });

  it('changes nothing when its domain is not hosted for its namespace', () => {
    const c = cluster().rule('a@elsewhere.example', ['x@y.example']).rule('b@example.org', ['x@y.example'], {}, 'shop');
    expect(c.desired('a@elsewhere.example')).toEqual({
      problems: [expect.objectContaining({ reason: 'DomainNotFound' })],
    });
    expect(c.reasons('b@example.org')).toEqual(['DomainNotFound']);
  });

  it('leaves out targets of ours that nobody has, and takes them when somebody does', () => {
    const c = cluster().rule('a@example.org', ['box@example.org', 'out@y.example']);
    expect(c.desired('a@example.org').forward).toMatchObject({ to: ['out@y.example'] });
    expect(c.reasons('a@example.org')).toEqual(['TargetNotFound']);
    c.mailbox('box@example.org');
    expect(c.desired('a@example.org').forward).toMatchObject({ to: ['box@example.org', 'out@y.example'] });
  });

  it.each([
    '0b0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11.0@courier.invalid',
    '0b0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11@FORWARD.invalid',
    'x@forward.\uff49nvalid',
    'x@mx.localhost',
    'x@printer.local',
    'x@mail-mx.mail.svc',
    'x@mail-mx.mail.svc.cluster.local',
    'x@metadata.google.internal',
    'x@nas.home.arpa',
  ])('leaves out %s, which only means something in here', (target) => {
    const c = cluster().rule('a@example.org', [target, 'out@y.example']);
    expect(c.desired('a@example.org').forward).toMatchObject({ to: ['out@y.example'] });
    expect(c.reasons('a@example.org')).toEqual(['TargetNotAllowed']);
    expect(c.rule('a@example.org', [target]).desired('a@example.org').forward).toBe('none');
    // Nor does a chain lead anywhere that ends there.
    expect(c.rule('b@example.org', ['a@example.org']).reasons('b@example.org')).toEqual(['TargetNotFound']);
  });

  it('takes a target in a private domain that is hosted here', () => {
    const c = cluster()
      .domain('corp.internal')
      .mailbox('box@corp.internal')
      .rule('a@example.org', ['box@corp.internal']);
    expect(c.desired('a@example.org')).toMatchObject({ forward: { to: ['box@corp.internal'] }, problems: [] });
  });

  it('is none when no target is left, so that the address is not taken', () => {
    const c = cluster().rule('a@example.org', ['box@example.org']);
    expect(c.desired('a@example.org')).toMatchObject({ system: 'mail/mail', forward: 'none' });
  });

  it('does not lead to a rule that leads nowhere itself', () => {
    const c = cluster().rule('a@example.org', ['b@example.org']).rule('b@example.org', ['nobody@example.org']);
    expect(c.reasons('a@example.org')).toEqual(['TargetNotFound']);
    c.rule('b@example.org', [], { webhooks: [{ url: 'https://10.0.0.1/' }] });
    expect(c.reasons('a@example.org')).toEqual(['TargetNotFound']);
    c.rule('b@example.org', [], { webhooks: [{ url: 'https://bots.example.net/' }] });
    expect(c.reasons('a@example.org')).toEqual([]);
  });

  it('finds targets by aliases, details, postmaster and catch-all', () => {
    const c = cluster({ postmaster: 'box@example.org' })
      .mailbox('box@example.org', ['alias@example.org'])
      .rule('a@example.org', ['alias@example.org', 'box+detail@example.org', 'postmaster@example.org']);
    expect(c.reasons('a@example.org')).toEqual([]);
    c.rule('b@example.org', ['nobody@example.org']);
    expect(c.reasons('b@example.org')).toEqual(['TargetNotFound']);
    c.rule('*@example.org', ['box@example.org']);
    expect(c.reasons('b@example.org')).toEqual([]);
  });

  it('says which Mailboxes are missing, and forwards all the same', () => {
    const c = cluster().rule('a@example.org', ['x@y.example'], {
      keepCopy: { mailbox: 'k' },
      sendAs: { mailbox: 's' },
    });
    expect(c.desired('a@example.org')).toMatchObject({ forward: { to: ['x@y.example'], keepCopy: 'k', sendAs: 's' } });
    expect(c.message('a@example.org')).toMatch(/Mailbox k .*spec.keepCopy.*Mailbox s .*spec.sendAs/);
    expect(c.mailbox('k@example.org').mailbox('s@example.org').reasons('a@example.org')).toEqual([]);
  });
});

describe('a loop', () => {
  it('is found over several rules, and every rule in it is held back and shows the chain', () => {
    const c = cluster()
      .rule('a@example.org', ['b@example.org'])
      .rule('b@example.org', ['out@y.example', 'c+x@example.org'])
      .rule('c@example.org', ['a@example.org']);
    for (const [address, chain] of [
      ['a@example.org', 'a@example.org → b@example.org → c@example.org → a@example.org'],
      ['c@example.org', 'c@example.org → a@example.org → b@example.org → c@example.org'],
    ] as const) {
      expect(c.desired(address).forward).toBeUndefined();
      expect(c.reasons(address)).toEqual(['LoopDetected']);
      expect(c.message(address)).toContain(chain);
    }
  });

  it('is a rule that forwards to a detail of its own address', () => {
    const c = cluster().rule('a@example.org', ['a+again@example.org']);
    expect(c.message('a@example.org')).toContain('forwards to itself: a@example.org → a@example.org');
  });

  it.each<[string, (c: ReturnType<typeof cluster>) => unknown]>([
    ['a catch-all', (c) => c.rule('*@example.org', ['nobody@example.org'])],
    [
      'a catch-all and another rule',
      (c) => c.rule('*@example.org', ['a@example.org']).rule('a@example.org', ['nobody@example.org']),
    ],
    ['the postmaster', (c) => c.rule('root@example.org', ['abuse@example.org'])],
    [
      'namespaces that agree',
      (c) => c.rule('a@example.org', ['b@open.example']).rule('b@open.example', ['a@example.org'], {}, 'shop'),
    ],
    [
      "a mailbox's own address",
      (c) =>
        c
          .mailbox('a@example.org')
          .rule('a@example.org', ['b@example.org'], { keepCopy: { mailbox: 'a' } })
          .rule('b@example.org', ['a@example.org']),
    ],
  ])('is found by way of %s', (_, prepare) => {
    const c = cluster({ postmaster: 'root@example.org' });
    c.domain('open.example', 'shop', { systemNamespace: 'mail', acceptForwardsFrom: ['mail'] });
    c.domain('example.org', 'mail', { acceptForwardsFrom: ['shop'] });
    prepare(c);
    const found = ['*@example.org', 'a@example.org', 'b@example.org', 'root@example.org', 'b@open.example'].filter(
      (address) => {
        try {
          return c.reasons(address).includes('LoopDetected');
        } catch {
          return false;
        }
      },
    );
    expect(found).not.toEqual([]);
  });

  it('is none where a mailbox ends the chain', () => {
    const c = cluster()
      .mailbox('b@example.org')
      .rule('a@example.org', ['b@example.org'])
      .rule('*@example.org', ['a@example.org']);
    expect(c.reasons('a@example.org')).toEqual([]);
    expect(c.reasons('*@example.org')).toEqual([]);
  });

  it('is none for a rule that does not have its address', () => {
    const c = cluster()
      .mailbox('a@example.org')
      .rule('a@example.org', ['b@example.org'])
      .rule('b@example.org', ['a@example.org']);
    expect(c.reasons('a@example.org')).toEqual([]);
    expect(c.reasons('b@example.org')).toEqual([]);
  });

  it('is a chain that is too long, too', () => {
    const c = cluster().rule('f11@example.org', ['out@y.example']);
    for (let n = 10; n > 0; n -= 1) c.rule(`f${n}@example.org`, [`f${n + 1}@example.org`]);
    expect(c.reasons('f2@example.org')).toEqual([]);
    expect(c.reasons('f1@example.org')).toEqual(['ChainTooLong']);
  });
});

describe('other namespaces', () => {
  it('give consent for their domains, or that target gets no mail', () => {
    const c = cluster()
      .mailbox('box@shop.example', [], 'shop')
      .rule('a@example.org', ['box@shop.example', 'x@y.example']);
    expect(c.desired('a@example.org').forward).toMatchObject({ to: ['x@y.example'] });
    expect(c.message('a@example.org')).toMatch(
      /does not take forwards from mail: ask for mail in spec.acceptForwardsFrom/,
    );
    for (const acceptForwardsFrom of [['mail'], ['*']]) {
      c.domain('shop.example', 'shop', { systemNamespace: 'mail', acceptForwardsFrom });
      expect(c.desired('a@example.org').forward).toMatchObject({ to: ['box@shop.example', 'x@y.example'] });
    }
  });

  it('are not told whether somebody has an address', () => {
    const c = cluster().rule('a@example.org', ['nobody@shop.example']);
    expect(c.reasons('a@example.org')).toEqual(['ConsentMissing']);
  });

  it('run no commands', () => {
    const command = { image: 'bot', command: ['/bot'] };
    const c = cluster()
      .rule('a@shop.example', ['x@y.example'], { commands: [command] }, 'shop')
      .rule('a@example.org', [], { commands: [command] });
    expect(c.desired('a@shop.example')).toMatchObject({
      forward: { couriers: [{ refused: 'CommandNotAllowed' }] },
      problems: [{ reason: 'CommandNotAllowed' }],
    });
    expect(c.desired('a@example.org')).toMatchObject({
      forward: { couriers: [{ command: { image: 'bot', command: ['/bot'], args: [], timeoutSeconds: 300 } }] },
      problems: [],
    });
  });
});

describe('webhooks', () => {
  const webhooks = [{ url: 'https://bot.bots.svc/a' }, { url: 'https://bots.example.net/b', timeoutSeconds: 5 }];

  it('keep their place when one is refused', () => {
    const c = cluster().rule('a@example.org', [], { webhooks });
    expect(c.desired('a@example.org')).toMatchObject({
      forward: {
        couriers: [
          { refused: 'WebhookNotAllowed' },
          { webhook: { url: 'https://bots.example.net/b', timeoutSeconds: 5 } },
        ],
      },
      problems: [{ reason: 'WebhookNotAllowed' }],
    });
  });

  it('and commands say which Secret is missing; mail for them waits', () => {
    const c = cluster().rule('a@example.org', [], {
      webhooks: [{ url: 'https://bots.example.net/', secretRef: { name: 'there' } }],
      commands: [{ image: 'bot', command: ['/bot'], secretRef: { name: 'gone' } }],
    });
    expect(c.desired('a@example.org')).toMatchObject({ forward: { couriers: [{ webhook: {} }, { command: {} }] } });
    expect(c.reasons('a@example.org')).toEqual(['SecretNotFound']);
    expect(c.message('a@example.org')).toContain('Secret gone in namespace mail');
  });

  it('of other namespaces have no Secret', () => {
    const bot = { url: 'https://bots.example.net/', secretRef: { name: 'there' } };
    const c = cluster().rule('a@shop.example', ['x@y.example'], { webhooks: [bot] }, 'shop');
    expect(c.reasons('a@shop.example')).toEqual(['WebhookNotAllowed']);
  });

  it('are nothing to take mail for when all are refused, and all right when the MailSystem allows their host', () => {
    const only = { webhooks: webhooks.slice(0, 1) };
    expect(cluster().rule('a@example.org', [], only).desired('a@example.org').forward).toBe('none');
    const allowed = cluster({ webhooks: { allowHosts: ['bot.bots.svc'] } }).rule('a@example.org', [], only);
    expect(allowed.desired('a@example.org')).toMatchObject({ forward: { couriers: [{ webhook: {} }] }, problems: [] });
  });

  it('of other namespaces get nothing by what the MailSystem allows', () => {
    const only = { webhooks: webhooks.slice(0, 1) };
    const c = cluster({ webhooks: { allowHosts: ['bot.bots.svc'] } }).rule('a@shop.example', [], only, 'shop');
    expect(c.desired('a@shop.example').forward).toBe('none');
    expect(c.reasons('a@shop.example')).toEqual(['WebhookNotAllowed']);
  });
});

it('rules that an address matters to are those that claim it and those upstream', () => {
  const c = cluster()
    .rule('a@example.org', ['b@example.org'])
    .rule('b@example.org', ['c+d@example.org'])
    .rule('c@example.org', ['a@example.org', 'x@y.example'])
    .rule('*@example.org', ['z@y.example'])
    .rule('far@shop.example', ['nobody@example.org'], {}, 'shop')
    .rule('other@example.org', ['q@y.example']);
  expect(c.interested('c@example.org')).toEqual(['a@example.org', 'b@example.org', 'c@example.org']);
  expect(c.interested('q@y.example')).toEqual(['other@example.org']);
  expect(c.interested('*@example.org')).toEqual([
    '*@example.org',
    'a@example.org',
    'b@example.org',
    'c@example.org',
    'far@shop.example',
  ]);
});

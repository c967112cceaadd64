import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Check, mx, type Queued, queue, rcpt, until, withSubject } from './play.js';
import { type Client, message, open, transaction } from './smtp.js';
import { HOSTNAME, IP, ROLES, type Stage } from './stage.js';

/**
 * Ways in which strangers have made mail servers pass their mail on, tried on port 25. Each is refused for good (5xx) unless
 * it says otherwise. docs/reference/refusals.md lists them by these names.
 */
const RECIPIENTS: Readonly<Record<string, readonly string[]>> = {
  'an address elsewhere': ['<user@outside.test>', 'user@outside.test', '<USER@OUTSIDE.TEST>'],
  'percent hack': [
    '<user%outside.test@example.org>',
    `<user%outside.test@${HOSTNAME}>`,
    '<user%outside.test>',
    '<user%outside.test%example.org@example.org>',
  ],
  'quoted address as local part': ['<"user@outside.test"@example.org>', `<"user@outside.test"@${HOSTNAME}>`],
  'quoted address without a domain': [
    '<"user@outside.test">',
    '<"user%outside.test">',
    '<"user@outside.test" @example.org>',
  ],
  'address within an address': ['<user@outside.test@example.org>', '<user@example.org@outside.test>'],
  'source route': [
    '<@example.org:user@outside.test>',
    '<@outside.test,@example.org:user@outside.test>',
    '<@outside.test:user@example.org>',
    '<@example.org:user>',
  ],
  'bang path': [
    '<outside.test!user@example.org>',
    '<outside.test!user>',
    '<example.org!outside.test!user@example.org>',
  ],
  'address literal': [
    `<user@[${IP.here}]>`,
    `<user@[${IP.mx}]>`,
    '<user@[127.0.0.1]>',
    '<user@[IPv6:::1]>',
    `<user@outside.test@[${IP.mx}]>`,
    `<"user@outside.test"@[${IP.mx}]>`,
    `<user%outside.test@[${IP.mx}]>`,
  ],
  'trailing dots': ['<user@outside.test.>', '<user@outside.test..>', '<user%outside.test.@example.org.>'],
  'a domain that looks like ours': ['<user@sub.example.org>', '<user@example.org.outside.test>', '<user@xexample.org>'],
  comments: ['<user@outside.test(@example.org)>', '<user(@example.org)@outside.test>', '<(x)user@outside.test>'],
  'escaped at sign': ['<user@outside.test\\@example.org>', '<user\\@outside.test@example.org>'],
  'nested details': [
    '<nobody+user@outside.test@example.org>',
    '<"nobody+user%outside.test"@example.org>',
    '<+user@outside.test@example.org>',
    '<user+alice@example.org@outside.test>',
  ],
  'internal names': [
    '<f-bot.0@courier.invalid>',
    '<f-same@forward.invalid>',
    '<user@localhost>',
    '<user@forward.mail.example.org>',
    '<user@mail-egress.mail.svc.cluster.local>',
  ],
  'forged SRS address': [
    `<SRS0=0123456789=aa=outside.test=user@${HOSTNAME}>`,
    `<SRS0=aaaa=aa=outside.test=user@${HOSTNAME}>`,
    `<SRS0+0123456789=aa=outside.test=user@${HOSTNAME}>`,
    `<SRS0=0123456789=aa=outside.test=user@example.org>`,
    `<SRS1=0123456789=elsewhere.test==aaaa=aa=outside.test=user@${HOSTNAME}>`,
    `<"SRS0=0123456789=aa=outside.test=user"@${HOSTNAME}>`,
  ],
  'no address': ['<>', '<@>', '<user@>', '<@outside.test>', '<user>'],
};

/** Senders that servers have trusted. */
const SENDERS: Readonly<Record<string, string>> = {
  'sender of ours': 'alice@example.org',
  'postmaster as sender': `postmaster@${HOSTNAME}`,
  'null sender': '',
  'local sender': 'root@localhost.localdomain',
};

const OUTSIDE = '<user@outside.test>';
const REFUSED = /^5\d\d /;

/** Nothing of it got any further: no queue has it, and the world has not seen it. */
async function nothingLeft(stage: Stage, marks: RegExp): Promise<void> {
  for (const role of ROLES) {
    const queued = (await queue(stage, role)).flatMap(({ recipients }: Queued) =>
      recipients.map(({ address }) => address),
    );
    assert.deepEqual(
      queued.filter((address) => marks.test(address)),
      [],
      `queue of ${role}`,
    );
  }
}

async function refused(client: Client, lines: readonly string[]): Promise<void> {
  let reply = '';
  for (const line of lines) reply = await client.send(line);
  assert.match(reply, REFUSED, lines.join(' | '));
  client.close();
}

/** In the mx's own network namespace. */
async function fromLoopback(stage: Stage, lines: readonly string[]): Promise<string> {
  const sent = lines.map((line) => `'${line}'`).join(' ');
  const script = `exec 3<>/dev/tcp/127.0.0.1/25; read -r l <&3; for c in ${sent}; do printf '%s\\r\\n' "$c" >&3; read -r l <&3; done; echo "$l"`;
  return stage.exec('mx', 'bash', '-c', script);
}

const special: Readonly<Record<string, Check>> = {
  'client on loopback': async ({ stage }) => {
    const lines = ['HELO localhost', 'MAIL FROM:<root@localhost.localdomain>', `RCPT TO:${OUTSIDE}`];
    assert.match(await fromLoopback(stage, lines), REFUSED);
  },
  'our own name in HELO': async () => {
    for (const helo of [`HELO ${HOSTNAME}`, 'HELO localhost', 'HELO [127.0.0.1]', `EHLO egress.${HOSTNAME}`]) {
      await refused(await open(IP.mx, 25), [helo, 'MAIL FROM:<user@elsewhere.test>', `RCPT TO:${OUTSIDE}`]);
    }
  },
  'XCLIENT and XFORWARD': async () => {
    for (const line of [
      'XCLIENT ADDR=127.0.0.1 NAME=localhost',
      'XCLIENT LOGIN=alice@example.org',
      'XFORWARD ADDR=127.0.0.1 SOURCE=LOCAL',
    ]) {
      const client = await mx();
      assert.match(await client.send(line), REFUSED, line);
      await refused(client, ['MAIL FROM:<alice@example.org>', `RCPT TO:${OUTSIDE}`]);
    }
  },
  'PROXY header': async () => {
    const client = await open(IP.mx, 25);
    const reply = await client.send('PROXY TCP4 127.0.0.1 127.0.0.1 4711 25').catch(() => '5 closed');
    assert.match(reply, /^5|^4/);
    const again = await mx();
    await again.send('MAIL FROM:<user@elsewhere.test>');
    assert.match(await again.send(`RCPT TO:${OUTSIDE}`), REFUSED);
    again.close();
  },
  'log-in on port 25': async () => {
    const client = await mx();
    const plain = Buffer.from('\0alice@example.org\0secret').toString('base64');
    assert.match(await client.send(`AUTH PLAIN ${plain}`), REFUSED);
    await refused(client, ['MAIL FROM:<alice@example.org> AUTH=alice@example.org', `RCPT TO:${OUTSIDE}`]);
  },
  'client certificate': async ({ stage }) => {
    for (const name of ['submission', 'egress', 'stranger', 'public']) {
      const client = await open(IP.mx, 25);
      await client.send('EHLO peer');
      await client.startTls(stage.identities[name]);
      await refused(client, ['EHLO peer', 'MAIL FROM:<alice@example.org>', `RCPT TO:${OUTSIDE}`]);
    }
  },
  'ETRN, TURN and delivery reports': async () => {
    for (const line of ['ETRN outside.test', 'ETRN #outside.test', 'TURN', 'ATRN outside.test']) {
      await refused(await mx(), [line]);
    }
    await refused(await mx(), [
      'MAIL FROM:<user@outside.test>',
      'RCPT TO:<alice@example.org> NOTIFY=SUCCESS ORCPT=rfc822;user@outside.test',
    ]);
  },
  'UTF-8 address': async () => {
    assert.match(await rcpt('<jörg@outside.test>'), REFUSED);
    assert.match(await rcpt('<user@öutside.test>'), REFUSED);
    assert.match(await rcpt('<user＠outside.test@example.org>'), REFUSED);
  },
  'sender that would break our headers': async () => {
    for (const from of [
      '"a; dkim=pass"@outside.test',
      '"a) auth=pass ("@outside.test',
      '"a\\"b"@outside.test',
      '"a\\\\b"@outside.test',
      '"a b"@outside.test',
      'a\\;b@outside.test',
      '"a,b"@outside.test',
      'user@courier.invalid',
      'user@FORWARD.invalid',
      'user@invalid',
    ]) {
      assert.match(await rcpt('<alice@example.org>', from), /^553 5\.1\.7 |^501 |^504 /, from);
    }
  },
  'recipient behind a good one': async ({ outside, store }) => {
    const client = await mx();
    await client.send('MAIL FROM:<user@elsewhere.test>');
    assert.match(await client.send('RCPT TO:<alice@example.org>'), /^250 /);
    assert.match(await client.send(`RCPT TO:${OUTSIDE}`), REFUSED);
    assert.match(await client.send('RCPT TO:<user%outside.test@example.org>'), REFUSED);
    await client.send('DATA');
    const text = message({ Subject: 'behind a good one', To: 'user@outside.test', Bcc: 'user@outside.test' });
    assert.match(await client.send(`${text}\r\n.`), /^250 /);
    client.close();
    const { to } = await until('delivery', () => withSubject(store, 'behind a good one'));
    assert.deepEqual(to, ['alice@example.org']);
    await sleep(2000);
    assert.equal(withSubject(outside, 'behind a good one'), undefined);
  },
  'smuggled second message': async ({ store, outside }) => {
    const client = await mx();
    const smuggled = `MAIL FROM:<alice@example.org>\r\nRCPT TO:${OUTSIDE}\r\nDATA\r\nSubject: smuggled\r\n\r\nx`;
    for (const [n, end] of ['\n.\n', '\n.\r\n', '\r.\r', '\r\n.\n'].entries()) {
      const text = `${message({ Subject: `smuggler ${n}` })}${end}${smuggled}`;
      const envelope = { from: 'user@elsewhere.test', to: 'alice@example.org', message: text };
      const session = n === 0 ? client : await mx();
      const reply = await transaction(session, envelope).catch(() => '421 closed');
      assert.match(reply, /^[245]/);
      session.close();
    }
    await sleep(3000);
    for (const sink of [store, outside]) {
      assert.equal(
        sink.deliveries.find(({ to }) => to.includes('user@outside.test')),
        undefined,
      );
    }
  },
  'details of a real address': async ({ store, outside }) => {
    // taken, as alice's own mail: what stands behind her name leads nowhere
    for (const to of ['"alice+user@outside.test"@example.org', 'alice+user%outside.test@example.org']) {
      const client = await mx();
      await transaction(client, { from: 'x@elsewhere.test', to, message: message({ Subject: `detail ${to}` }) });
      client.close();
    }
    await until('delivery', () => store.deliveries.find(({ raw }) => raw.includes('Subject: detail alice+user%')));
    await sleep(2000);
    assert.equal(
      outside.deliveries.find(({ raw }) => raw.includes('Subject: detail ')),
      undefined,
    );
  },
  'gatekeeper away': async ({ stage }) => {
    const gatekeeper = stage.container('mx', 'gatekeeper');
    await stage.podman('stop', '-t', '2', gatekeeper);
    try {
      for (const to of [OUTSIDE, '<alice@example.org>', '<nobody@example.org>', '<user%outside.test@example.org>']) {
        assert.match(await rcpt(to), /^450 /, to);
      }
    } finally {
      await stage.podman('start', gatekeeper);
      await until('gatekeeper', () => stage.healthy('mx', 'gatekeeper', 'gatekeeper'), 60);
    }
    assert.match(await rcpt('<alice@example.org>'), /^250 /);
    assert.match(await rcpt(OUTSIDE), REFUSED);
  },
};

const named = (checks: Readonly<Record<string, Check>>): Record<string, Check> =>
  Object.fromEntries(Object.entries(checks).map(([name, check]) => [`relay: ${name}`, check]));

const byRecipient = Object.entries(RECIPIENTS).map(([name, addresses]): [string, Check] => [
  name,
  async ({ stage }) => {
    for (const from of ['user@elsewhere.test', 'alice@example.org', '']) {
      for (const to of addresses) assert.match(await rcpt(to, from), REFUSED, `${to} from <${from}>`);
    }
    await nothingLeft(stage, /outside\.test/);
  },
]);

const bySender = Object.entries(SENDERS).map(([name, from]): [string, Check] => [
  name,
  async () => {
    assert.match(await rcpt(OUTSIDE, from), REFUSED);
  },
]);

export const relayChecks: Readonly<Record<string, Check>> = named(
  Object.fromEntries([...byRecipient, ...bySender, ...Object.entries(special)]),
);

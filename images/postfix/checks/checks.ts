import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { forwardChecks } from './forward.js';
import {
  type Check,
  firstRefusal,
  GTUBE,
  internal,
  internalRcpt,
  loadKeys,
  mx,
  rcpt,
  signatures,
  submission,
  submit,
  until,
  untilReloaded,
  waits,
  withSubject,
} from './play.js';
import { relayChecks } from './relay.js';
import { type Client, message, open, transaction } from './smtp.js';
import { HOSTNAME, IP, type Stage } from './stage.js';
import { store as startStore } from './world.js';

// --- mx ----------------------------------------------------------------------

const mxChecks: Record<string, Check> = {
  'mx: known address is taken and reaches the store': async ({ store }) => {
    const client = await mx();
    const reply = await transaction(client, {
      from: 'someone@outside.test',
      to: 'alice@example.org',
      message: message({ Subject: 'mx-known', 'X-Spam': 'No', 'Authentication-Results': `${HOSTNAME}; dkim=pass` }),
    });
    client.close();
    assert.match(reply, /^250/);
    const delivery = await until('delivery', () => withSubject(store, 'mx-known'));
    assert.deepEqual(delivery.to, ['alice@example.org']);
    assert.doesNotMatch(delivery.raw, /^X-Spam:/m);
    assert.doesNotMatch(delivery.raw, /dkim=pass/);
    assert.match(delivery.raw, new RegExp(`^Authentication-Results: ${HOSTNAME};`, 'm'));
    assert.match(delivery.raw, /^X-Spamd-Result: /m);
  },
  'mx: aliases, details and postmaster reach their mailbox': async ({ store }) => {
    for (const [to, expected] of [
      ['<SALES@Example.ORG>', 'alice@example.org'],
      ['<bob+list@example.org>', 'bob+list@example.org'],
      ['<postmaster>', 'alice@example.org'],
      ['<abuse@example.org>', 'alice@example.org'],
    ] as const) {
      const subject = `mx-alias-${to.replaceAll(/[<>]/g, '')}`;
      const client = await mx();
      await client.send('MAIL FROM:<>');
      assert.match(await client.send(`RCPT TO:${to}`), /^250/, to);
      await client.send('DATA');
      assert.match(await client.send(`${message({ Subject: subject })}\r\n.`), /^250/);
      client.close();
      assert.deepEqual((await until(subject, () => withSubject(store, subject))).to, [expected]);
    }
  },
  'mx: unknown address is refused with 550 5.1.1': async () => {
    assert.match(await rcpt('<nobody@example.org>'), /^550 5\.1\.1 /);
  },
  'mx: no XCLIENT, XFORWARD, VRFY, ETRN, EXPN, AUTH, SMTPUTF8': async () => {
    const client = await open(IP.mx, 25);
    const features = await client.send('EHLO client.outside.test');
    assert.doesNotMatch(features, /XCLIENT|XFORWARD|VRFY|ETRN|AUTH|SMTPUTF8|DSN/);
    assert.match(features, /250-SIZE 200000/);
    assert.match(features, /STARTTLS/);
    for (const line of [
      'XCLIENT ADDR=127.0.0.1',
      'XFORWARD ADDR=127.0.0.1',
      'VRFY alice',
      'EXPN alice',
      'ETRN outside.test',
      'AUTH PLAIN AAAA',
    ]) {
      assert.match(await client.send(line), /^5/, line);
    }
    assert.match(await client.send('MAIL FROM:<jörg@outside.test> SMTPUTF8'), /^5/);
    client.close();
  },
  'mx: STARTTLS shows the public certificate': async () => {
    const client = await mx();
    await client.startTls();
    assert.match(await client.send('EHLO client.outside.test'), /^250/);
    client.close();
  },
  'mx: GTUBE is refused, what looks like spam is marked': async ({ store }) => {
    const client = await mx();
    const envelope = { from: 'someone@outside.test', to: 'alice@example.org' };
    assert.match(await transaction(client, { ...envelope, message: message({}, GTUBE) }), /^554 5\.7\.1 /);
    // whoever says so of his own mail is believed: 5 points, and no name of the client to be found
    const marked = message({ Subject: 'tagged', 'X-Spam': 'Yes', From: 'x@elsewhere.test', 'Message-ID': 'x' });
    assert.match(await transaction(client, { ...envelope, message: marked }), /^250/);
    client.close();
    const { raw } = await until('delivery', () => withSubject(store, 'tagged'));
    assert.deepEqual(raw.match(/^X-Spam:.*/gm), ['X-Spam: Yes']);
  },
  'mx: loopback is not spared by the filter': async ({ stage }) => {
    const lines = [
      'HELO x',
      'MAIL FROM:<a@outside.test>',
      'RCPT TO:<alice@example.org>',
      'DATA',
      `Subject: x\\r\\n\\r\\n${GTUBE}\\r\\n.`,
    ];
    const script = `exec 3<>/dev/tcp/127.0.0.1/25; read -r l <&3; for c in ${lines.map((l) => `"${l}"`).join(' ')}; do printf "$c\\r\\n" >&3; read -r l <&3; done; echo "$l"`;
    assert.match(await stage.exec('mx', 'bash', '-c', script), /^554 5\.7\.1 /);
  },
  'mx: what the store refuses waits; only a full mailbox bounces': async ({ stage, outside }) => {
    await loadKeys(stage);
    const client = await mx();
    for (const who of ['gone', 'broken', 'full']) {
      const envelope = { from: 'someone@outside.test', to: `${who}@example.org` };
      assert.match(await transaction(client, { ...envelope, message: message({ Subject: `store-${who}` }) }), /^250/);
    }
    client.close();
    assert.match(await waits(stage, 'mx', 'gone@example.org'), /User does not exist/);
    assert.match(await waits(stage, 'mx', 'broken@example.org'), /configured wrongly/);
    const report = await until('report to the sender', () =>
      outside.deliveries.find(({ from, raw }) => from === '' && raw.includes('Quota exceeded')),
    );
    assert.deepEqual(report.to, ['someone@outside.test']);
    assert.deepEqual(await signatures(report.raw), [`${HOSTNAME}=pass`]);
    await stage.exec('mx', 'postsuper', '-d', 'ALL');
  },
  'mx: the store being away defers': async (world) => {
    await world.store.stop();
    const client = await mx();
    const envelope = { from: 'someone@outside.test', to: 'alice@example.org' };
    assert.match(await transaction(client, { ...envelope, message: message({ Subject: 'store-away' }) }), /^250/);
    client.close();
    assert.match(await waits(world.stage, 'mx', 'alice@example.org'), /onnection refused|lost connection/);
    world.store = await startStore(world.stage);
    await until('delivery after the store is back', () => withSubject(world.store, 'store-away'), 60);
  },
  'mx: rspamd being away defers': async ({ stage }) => {
    await stage.podman('stop', '-t', '2', stage.container('mx', 'rspamd'));
    try {
      const client = await open(IP.mx, 25);
      await client.send('EHLO client.outside.test');
      const envelope = { from: 'someone@outside.test', to: 'alice@example.org' };
      assert.match(await transaction(client, { ...envelope, message: message({}) }), /^4/);
      client.close();
    } finally {
      await stage.podman('start', stage.container('mx', 'rspamd'));
      await until('rspamd', () => stage.healthy('mx', 'rspamd', 'filter'), 120);
    }
  },
};

// --- internal listeners ------------------------------------------------------

const listenerChecks: Record<string, Check> = Object.fromEntries(
  (['mx', 'egress', 'forward'] as const).map((role): [string, Check] => [
    `${role}: the internal listener takes mail only from listed certificates`,
    async ({ stage }) => {
      const to = { mx: 'alice@example.org', egress: 'user@outside.test', forward: 'ariel@example.org' }[role];
      const client = role === 'forward' ? 'mx' : 'submission';
      const clear = await open(IP[role], 10025);
      await clear.send('EHLO stranger');
      assert.match(await clear.send('MAIL FROM:<alice@example.org>'), /^530 /);
      clear.close();
      assert.match(await internalRcpt(stage, IP[role], undefined, to), /^no session|^[45]/, 'no certificate');
      assert.match(await internalRcpt(stage, IP[role], 'stranger', to), /^no session|^[45]/, 'foreign authority');
      assert.match(await internalRcpt(stage, IP[role], 'unlisted', to), /^450 /, 'our authority, not listed');
      assert.match(await internalRcpt(stage, IP[role], 'public', to), /^450 /, 'the public certificate');
      assert.match(await internalRcpt(stage, IP[role], role, to), /^450 /, 'its own role is not among its clients');
      assert.match(await internalRcpt(stage, IP[role], client, to), /^250 /, client);
      if (role === 'forward')
        assert.match(await internalRcpt(stage, IP[role], 'submission', to), /^450 /, 'submission');
    },
  ]),
);

listenerChecks['mx: the internal listener takes our own domains only'] = async ({ stage }) => {
  assert.match(await internalRcpt(stage, IP.mx, 'submission', 'user@outside.test'), /^4/);
};

listenerChecks['egress: each of its ports takes mail from the roles that are meant only'] = async ({ stage }) => {
  const to = 'user@outside.test';
  for (const role of ['mx', 'submission', 'store', 'unlisted']) {
    assert.match(await internalRcpt(stage, IP.egress, role, to, 10026), /^450 /, role);
  }
  assert.match(await internalRcpt(stage, IP.egress, 'forward', to, 10026), /^250 /);
  assert.match(await internalRcpt(stage, IP.egress, 'forward', to), /^450 /);
  for (const role of ['mx', 'store']) {
    assert.match(await internalRcpt(stage, IP.egress, role, to, 10025, ''), /^250 /, `report of ${role}`);
    assert.match(await internalRcpt(stage, IP.egress, role, to), /^450 /, `other mail of ${role}`);
  }
};

// --- submission ----------------------------------------------------------------

/** The gatekeeper asks every second what has been revoked. */
const heard = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2_500));

/** A session at submission before its log-in. */
async function greeted(): Promise<Client> {
  const client = await open(IP.submission, 465, { tls: true });
  await client.send('EHLO laptop');
  return client;
}

const logIn = (client: Client, password: string): Promise<string> =>
  client.send(`AUTH PLAIN ${Buffer.from(`\0alice@example.org\0${password}`).toString('base64')}`);

const submissionChecks: Record<string, Check> = {
  'submission: no log-in in the clear, none with a wrong password, no mail without': async () => {
    const client = await open(IP.submission, 587);
    assert.doesNotMatch(await client.send('EHLO laptop'), /AUTH/);
    assert.match(await client.send('MAIL FROM:<alice@example.org>'), /^530 /);
    await client.startTls();
    assert.match(await client.send('EHLO laptop'), /AUTH PLAIN/);
    assert.match(
      await client.send(`AUTH PLAIN ${Buffer.from('\0alice@example.org\0wrong').toString('base64')}`),
      /^535 /,
    );
    // the same answer whether there is such an address or not
    for (const sender of ['alice@example.org', 'nobody@example.org', 'someone@outside.test']) {
      assert.match(await client.send(`MAIL FROM:<${sender}>`), /^554 5\.7\.1 .*Access denied/, sender);
    }
    assert.match(await client.send('RCPT TO:<user@outside.test>'), /^503 /);
    client.close();
    const wrapped = await open(IP.submission, 465, { tls: true });
    assert.match(await wrapped.send('EHLO laptop'), /AUTH PLAIN/);
    wrapped.close();
  },
  'submission: the envelope sender must be one of the login’s addresses': async () => {
    for (const from of ['bob@example.org', 'nobody@example.org', 'someone@outside.test', '']) {
      const client = await submission();
      assert.match(await client.send(`MAIL FROM:<${from}>`), /^553 5\.7\.1 /, `<${from}>`);
      client.close();
    }
    // an alias, a detail, a shared mailbox that says so, and a forward that says so
    const mine = [
      'alice@example.org',
      'sales@example.org',
      'Alice+tag@Example.org',
      'box@example.org',
      'ariel@example.org',
    ];
    for (const from of mine) {
      const client = await submission();
      await client.send(`MAIL FROM:<${from}>`);
      assert.match(await client.send('RCPT TO:<user@outside.test>'), /^250 /, from);
      assert.match(await client.send('RCPT TO:<nobody@example.org>'), /^550 5\.1\.1 /, from);
      client.close();
    }
    const bob = await submission('bob@example.org');
    for (const from of ['box@example.org', 'ariel@example.org', 'alice@example.org']) {
      assert.match(await bob.send(`MAIL FROM:<${from}>`), /^553 5\.7\.1 /, from);
    }
    bob.close();
  },
  'submission: an account that is suspended or blocked is refused at its next MAIL, in an open session': async ({
    stage,
  }) => {
    for (const state of ['Suspended', 'SendBlocked', 'ReceiveOnly', 'LoginOff']) {
      const client = await submission('bob@example.org');
      assert.match(await client.send('MAIL FROM:<bob@example.org>'), /^250 /);
      await client.send('RSET');
      await stage.sql(`UPDATE posthorn.mailboxes SET state = '${state}' WHERE object_name = 'bob'`);
      try {
        assert.match(await client.send('MAIL FROM:<bob@example.org>'), /^(421|5\d\d) /, state);
      } finally {
        await stage.sql("UPDATE posthorn.mailboxes SET state = 'Active' WHERE object_name = 'bob'");
        client.close();
      }
      await heard();
    }
  },
  'submission: a session that is older than a revocation ends, and a later one goes on': async ({ stage }) => {
    const [busy, idle] = [await submission('bob@example.org'), await submission('bob@example.org')];
    assert.match(await busy.send('MAIL FROM:<bob@example.org>'), /^250 /);
    await stage.sql("INSERT INTO posthorn.revocations (username) VALUES ('bob@example.org')");
    await heard();
    assert.match(await busy.send('RCPT TO:<user@outside.test>'), /^421 4\.7\.0 .*log in again$/);
    // another greeting makes it no younger
    await idle.send('EHLO laptop');
    assert.match(await idle.send('MAIL FROM:<bob@example.org>'), /^421 4\.7\.0 .*log in again$/);
    await assert.rejects(idle.send('NOOP'), /closed|EPIPE|ECONNRESET/);
    const later = await submission('bob@example.org');
    assert.match(await later.send('MAIL FROM:<bob@example.org>'), /^250 /);
    for (const client of [busy, idle, later]) client.close();
  },
  'submission: without its gatekeeper nothing is taken, and no password called wrong': async ({ stage }) => {
    const [loggedIn, first, second] = [await submission(), await greeted(), await greeted()];
    const gatekeeper = stage.container('submission', 'gatekeeper');
    await stage.podman('stop', '-t', '2', gatekeeper);
    try {
      assert.match(await loggedIn.send('MAIL FROM:<alice@example.org>'), /^4/);
      loggedIn.close();
      // At once, in one session again and again, and by either mechanism. No harm to another session.
      for (const password of ['secret', 'secret', 'wrong']) {
        const asked = Date.now();
        assert.match(await logIn(first, password), /^454 4\.7\.0 /, password);
        assert.ok(Date.now() - asked < 3_000, 'waits for something');
      }
      assert.match(await second.send('AUTH LOGIN'), /^334 /);
      assert.match(await second.send(Buffer.from('alice@example.org').toString('base64')), /^334 /);
      assert.match(await second.send(Buffer.from('secret').toString('base64')), /^454 4\.7\.0 /);
    } finally {
      await stage.podman('start', gatekeeper);
      await until('gatekeeper', () => stage.healthy('submission', 'gatekeeper', 'gatekeeper'), 60);
    }
    // The same sessions go on.
    assert.match(await logIn(second, 'wrong'), /^535 5\.7\.8 /);
    for (const client of [first, second]) {
      assert.match(await logIn(client, 'secret'), /^235 /);
      client.close();
    }
  },
  'submission: log-ins go on when the auth service was away, and forty at once are told apart': async ({ stage }) => {
    const before = await greeted();
    await stage.podman('restart', '-t', '2', stage.container('submission', 'auth'));
    await until('auth', () => stage.healthy('submission', 'auth', 'auth'), 60);
    assert.match(await logIn(before, 'secret'), /^235 /);
    before.close();
    const passwords = Array.from({ length: 40 }, (_, n) => (n % 4 === 0 ? `wrong ${n}` : 'secret'));
    const clients = await Promise.all(passwords.map(() => greeted()));
    const replies = await Promise.all(clients.map((client, n) => logIn(client, passwords[n] ?? '')));
    for (const [n, reply] of replies.entries()) assert.match(reply, n % 4 === 0 ? /^535 / : /^235 /, `${n}: ${reply}`);
    for (const client of clients) client.close();
  },
  'submission: mail to us goes to the store by way of the mx, and hides the client': async ({ store }) => {
    const headers = {
      Subject: 'internal',
      From: 'alice@example.org',
      'X-Originating-IP': '192.0.2.7',
      'x-client-ip': '192.0.2.7',
      'X-Spam': 'Yes',
      'X-Posthorn-Policy': 'x',
      'Authentication-Results': `${HOSTNAME}; auth=pass`,
      Received: 'from home (home [192.0.2.7])\r\n\tby laptop.lan with ESMTP id 1;\r\n\tTue, 24 Nov 2026 10:00:00 +0000',
    };
    assert.match(await submit('alice@example.org', 'bob@example.org', message(headers)), /^250/);
    const { raw, to } = await until('delivery', () => withSubject(store, 'internal'));
    assert.deepEqual(to, ['bob@example.org']);
    assert.doesNotMatch(raw, /laptop|10\.99\.7\.1\b|192\.0\.2\.7|X-Spam|X-Posthorn/);
    assert.match(raw, /^Received: by client\.invalid; Tue, 24 Nov 2026 10:00:00 \+0000\r$/m);
    // the mx's, and no other
    assert.deepEqual(raw.match(/^Authentication-Results: .*/gm), [`Authentication-Results: ${HOSTNAME}; auth=pass`]);
    assert.match(raw, /^Received: by mail\.example\.org \(Postfix\) with ESMTPSA id /m);
  },
  'submission: mail to the world leaves signed': async ({ stage, outside }) => {
    await loadKeys(stage);
    const headers = { Subject: 'outward', From: 'Alice <Alice@Example.org.>' };
    const long = `${'word '.repeat(400)}\r\n.dot\r\n`;
    assert.match(await submit('alice@example.org', 'user@outside.test', message(headers, long)), /^250/);
    const { raw } = await until('delivery', () => withSubject(outside, 'outward'));
    assert.deepEqual(await signatures(raw), ['example.org=pass']);
    assert.doesNotMatch(raw, /laptop|10\.99\.7\.1\b/);
    assert.equal(raw.match(/^DKIM-Signature:/gm)?.length, 1);
    assert.doesNotMatch(raw, /^(X-Spam|X-Rspamd|Authentication-Results)/im);
  },
  'submission: a bounce from outside comes back to its sender': async ({ stage, store }) => {
    await loadKeys(stage);
    const headers = { Subject: 'to be refused', From: 'alice@example.org' };
    assert.match(await submit('alice@example.org', 'reject@outside.test', message(headers)), /^250/);
    const report = await until('report', () =>
      store.deliveries.find(({ from, raw }) => from === '' && raw.includes('reject@outside.test')),
    );
    assert.deepEqual(report.to, ['alice@example.org']);
  },
};

// --- egress ----------------------------------------------------------------------

/** Hands a message to egress as submission would, and returns its answer. */
async function handOver(stage: Stage, text: string): Promise<string> {
  try {
    const client = await internal(stage, IP.egress, 'submission');
    const reply = await transaction(client, { from: 'alice@example.org', to: 'user@outside.test', message: text });
    client.close();
    return reply;
  } catch (error) {
    // STARTTLS is refused when the milter is away
    return error instanceof Error ? error.message : String(error);
  }
}

const from = (author: string): string => message({ From: author, Subject: 'signing' });

const egressChecks: Record<string, Check> = {
  'egress: without keys nothing leaves (cache empty, key missing, key broken)': async ({ stage }) => {
    await stage.redis('egress', 'FLUSHALL');
    assert.match(await handOver(stage, from('alice@example.org')), /^451 /);
    assert.match(await handOver(stage, from('someone@elsewhere.test')), /^451 /);
    await loadKeys(stage);
    assert.match(await handOver(stage, from('alice@example.org')), /^250 /);
    await stage.redis('egress', 'HDEL', 'DKIM_KEYS', 's1.example.org');
    assert.match(await handOver(stage, from('alice@example.org')), /^451 /);
    await stage.redis('egress', 'HSET', 'DKIM_KEYS', 's1.example.org', 'nonsense');
    assert.match(await handOver(stage, from('alice@example.org')), /^451 /);
    await loadKeys(stage);
  },
  'egress: mail that claims to be from elsewhere passes unsigned': async ({ stage, outside }) => {
    await loadKeys(stage);
    assert.match(await handOver(stage, message({ From: 'someone@elsewhere.test', Subject: 'not ours' })), /^250 /);
    const { raw } = await until('delivery', () => withSubject(outside, 'not ours'));
    assert.doesNotMatch(raw, /^DKIM-Signature/m);
  },
  'egress: From must hold exactly one mailbox': async ({ stage }) => {
    await loadKeys(stage);
    for (const author of [
      'alice@example.org, bob@example.org',
      'alice@example.org\r\nFrom: evil@elsewhere.test',
      'not an address',
      '',
      'undisclosed:;',
    ]) {
      assert.match(await handOver(stage, from(author)), /^554 5\.7\.1 From header must /, author);
    }
    assert.match(await handOver(stage, 'Subject: no author\r\n\r\nx'), /^554 5\.7\.1 From header must /);
  },
  'egress: Redis away, or frozen, defers': async ({ stage }) => {
    await loadKeys(stage);
    const redis = stage.container('egress', 'redis');
    await stage.podman('pause', redis);
    try {
      assert.match(await handOver(stage, from('alice@example.org')), /^451 /);
      assert.match(await handOver(stage, from('someone@elsewhere.test')), /^451 /);
    } finally {
      await stage.podman('unpause', redis);
    }
    await stage.podman('stop', '-t', '2', redis);
    try {
      assert.match(await handOver(stage, from('alice@example.org')), /^451 /);
    } finally {
      await stage.podman('start', redis);
    }
    await until('redis', () =>
      stage.redis('egress', 'PING').then(
        (answer) => answer === 'PONG',
        () => false,
      ),
    );
    await loadKeys(stage);
    assert.match(await handOver(stage, from('alice@example.org')), /^250 /);
  },
  'egress: the signer away defers': async ({ stage }) => {
    await loadKeys(stage);
    await stage.podman('stop', '-t', '2', stage.container('egress', 'rspamd'));
    try {
      assert.match(await handOver(stage, from('alice@example.org')), /^4/);
    } finally {
      await stage.podman('start', stage.container('egress', 'rspamd'));
      await until('rspamd', () => stage.healthy('egress', 'rspamd', 'signer'), 120);
    }
    assert.match(await handOver(stage, from('alice@example.org')), /^250 /);
  },
  'egress: a message the signer refuses goes back to its sender, nothing else does': async ({ stage, store }) => {
    await loadKeys(stage);
    // past the filter at submission, which would have refused it while the author was on the line
    const text = message({ Subject: 'two authors', From: 'alice@example.org, bob@example.org' }).replaceAll('\r', '');
    const hand = `printf %s "$0" | sendmail -i -f alice@example.org user@outside.test`;
    await stage.exec('submission', 'bash', '-c', hand, text);
    const report = await until('report', () =>
      store.deliveries.find(({ from: sender, raw }) => sender === '' && raw.includes('From header must')),
    );
    assert.deepEqual(report.to, ['alice@example.org']);
    await stage.redis('egress', 'DEL', 'posthorn:dkim:loaded');
    await submit('alice@example.org', 'user@outside.test', message({ Subject: 'waits', From: 'alice@example.org' }));
    assert.match(await waits(stage, 'submission', 'user@outside.test'), /try again later/);
    await stage.exec('submission', 'postsuper', '-d', 'ALL');
    await loadKeys(stage);
  },
  'egress: GTUBE leaves, for the signer judges nothing': async ({ stage }) => {
    await loadKeys(stage);

    assert.match(await handOver(stage, message({ From: 'alice@example.org' }, GTUBE)), /^250 /);
  },
};

// --- faults of our own ------------------------------------------------------------

const faultChecks: Record<string, Check> = {
  'faults: egress without a name, an address or a listed key: mail waits at submission': async ({ stage }) => {
    const restore = stage.hosts();
    try {
      stage.rename('mail-egress', 'mail-egress-gone');
      await submit('alice@example.org', 'noname@outside.test', message({ From: 'alice@example.org' }));
      assert.match(await waits(stage, 'submission', 'noname@outside.test'), /look up host|not found/);
    } finally {
      restore();
    }
    await stage.exec('submission', 'postsuper', '-d', 'ALL');
    const relist = await untilReloaded(stage, 'egress', () => stage.unlist('submission'));
    try {
      await submit('alice@example.org', 'unlisted@outside.test', message({ From: 'alice@example.org' }));
      assert.match(await waits(stage, 'submission', 'unlisted@outside.test'), /450 |Client host rejected/);
    } finally {
      await untilReloaded(stage, 'egress', relist);
    }
    await stage.exec('submission', 'postsuper', '-d', 'ALL');
  },
  'faults: a new certificate is taken over without a restart, a broken one is not': async ({ stage }) => {
    const serial = (): Promise<string> =>
      stage.exec(
        'mx',
        'bash',
        '-c',
        'echo QUIT | openssl s_client -starttls smtp -connect 127.0.0.1:25 2>/dev/null | openssl x509 -noout -serial',
      );
    const before = await serial();
    stage.renewPublic('mx', true);
    await sleep(8000);
    assert.equal(await serial(), before, 'key and certificate that do not belong together');
    stage.renewPublic('mx', false);
    await until('new certificate on port 25', async () => (await serial()) !== before, 20);
  },
  'faults: the directory away means 4xx, everywhere; and it recovers': async ({ stage }) => {
    const [loggedIn, other] = [await submission(), await greeted()];
    stage.cutDirectory(true);
    try {
      for (const to of ['<alice@example.org>', '<nobody@example.org>', '<user@outside.test>']) {
        assert.match(await rcpt(to), /^4/, to);
      }
      const lines = ['MAIL FROM:<alice@example.org>', 'RCPT TO:<bob@example.org>'];
      assert.match(await firstRefusal(loggedIn, lines), /^4/);
      assert.match(await logIn(other, 'secret'), /^454 4\.7\.0 /);
    } finally {
      stage.cutDirectory(false);
    }
    other.close();
    await until('log-ins', async () => /^235 /.test(await logIn(await greeted(), 'secret')), 30);
    for (const end = Date.now() + 40_000; ; await sleep(1000)) {
      const reply = await rcpt('<alice@example.org>');
      if (reply.startsWith('250')) break;
      assert.ok(Date.now() < end, reply);
    }
    assert.match(await rcpt('<nobody@example.org>'), /^(550 5\.1\.1|4)/);
  },
  'faults: a stopping mx finishes what it has begun': async ({ stage, store }) => {
    const client = await mx();
    await client.send('MAIL FROM:<someone@outside.test>');
    assert.match(await client.send('RCPT TO:<alice@example.org>'), /^250/);
    const stopped = stage.stopInBackground('mx');
    await until('stopping', async () => (await stage.logs('mx')).includes('no new connections'));
    await until('421 for new clients', async () => (await open(IP.mx, 25)).greeting.startsWith('421 '), 15);
    assert.match(await client.send('DATA'), /^354/);
    assert.match(await client.send(`${message({ Subject: 'last one' })}\r\n.`), /^250/);
    await client.send('QUIT');
    assert.equal(await stopped, 0, 'exit status');
    await until('delivery', () => withSubject(store, 'last one'), 5);
  },
};

/** In order: the last ones break things. */
export const checks: Readonly<Record<string, Check>> = {
  ...mxChecks,
  ...relayChecks,
  ...listenerChecks,
  ...submissionChecks,
  ...egressChecks,
  ...forwardChecks,
  ...faultChecks,
};

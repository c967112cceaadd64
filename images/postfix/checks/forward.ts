import assert from 'node:assert/strict';
import {
  type Check,
  internal,
  loadKeys,
  mx,
  rcpt,
  signatures,
  submit,
  until,
  untilReloaded,
  waits,
  withSubject,
} from './play.js';
import { message, transaction } from './smtp.js';
import { HOSTNAME, IP } from './stage.js';
import { courier as startCourier } from './world.js';

const SENDER = 'someone@outside.test';
/** What the directory makes of SENDER. */
const SRS = new RegExp(`^SRS0=[0-9a-f]{10}=[a-z2-7]{2}=outside\\.test=someone@${HOSTNAME.replaceAll('.', '\\.')}$`);

/** What our own mail carries inside, in the ways that others write it. */
const OWN_MARKS = {
  'Authentication-Results': `${HOSTNAME}; auth=pass`,
  'Authentication-results ': `${HOSTNAME}; auth=pass`,
  'AUTHENTICATION-RESULTS': `\r\n ${HOSTNAME};\r\n auth=pass`,
};

/** Mail from outside to several recipients in one transaction. */
async function deliver(to: readonly string[], headers: Readonly<Record<string, string>>, from = SENDER): Promise<void> {
  const client = await mx();
  await client.send(`MAIL FROM:<${from}>`);
  for (const recipient of to) assert.match(await client.send(`RCPT TO:<${recipient}>`), /^250 /, recipient);
  await client.send('DATA');
  assert.match(await client.send(`${message(headers)}\r\n.`), /^250 /);
  client.close();
}

/** The SRS address that a forward's target outside has seen. */
async function srsAddress(world: Parameters<Check>[0], subject: string): Promise<string> {
  await loadKeys(world.stage);
  await deliver(['ariel@example.org'], { Subject: subject });
  return (await until('delivery', () => withSubject(world.outside, subject))).from;
}

export const forwardChecks: Readonly<Record<string, Check>> = {
  'forward: mail to a target outside gets a sender of ours and a loop header, and no signature': async (world) => {
    await loadKeys(world.stage);
    await deliver(['Ariel+tag@Example.org'], { Subject: 'fwd-out' });
    const { from, to, raw } = await until('delivery', () => withSubject(world.outside, 'fwd-out'));
    assert.deepEqual(to, ['ariel@outside.test']);
    assert.match(from, SRS);
    assert.deepEqual(
      raw.match(/^Delivered-To: .*$/gm)?.map((line) => line.trim()),
      ['Delivered-To: ariel@example.org'],
    );
    assert.doesNotMatch(raw, /^DKIM-Signature/m);
    assert.match(raw, /^From: Someone <someone@outside\.test>\r$/m);
  },
  'forward: a mailbox beside a forward keeps the sender; only the forward is rewritten': async (world) => {
    await loadKeys(world.stage);
    await deliver(['alice@example.org', 'ariel@example.org'], { Subject: 'fwd-both' });
    const inside = await until('mailbox', () => withSubject(world.store, 'fwd-both'));
    const away = await until('forward', () => withSubject(world.outside, 'fwd-both'));
    assert.equal(inside.from, SENDER);
    assert.deepEqual(inside.to, ['alice@example.org']);
    assert.doesNotMatch(inside.raw, /^Delivered-To/m);
    assert.match(away.from, SRS);
    assert.deepEqual(away.to, ['ariel@outside.test']);
  },
  'forward: a copy kept and a target inside come straight from the mx': async ({ stage, store, outside }) => {
    await loadKeys(stage);
    await deliver(['keep@example.org'], { Subject: 'fwd-keep' });
    const away = await until('forward', () => withSubject(outside, 'fwd-keep'));
    assert.deepEqual(away.to, ['keep@outside.test']);
    const copies = await until('both mailboxes', () => {
      const found = store.deliveries.filter(({ raw }) => raw.includes('Subject: fwd-keep\r\n'));
      return found.flatMap(({ to }) => to).length >= 2 && found;
    });
    assert.deepEqual(copies.flatMap(({ to }) => to).sort(), ['bob@example.org', 'box@example.org']);
    for (const { from } of copies) assert.equal(from, SENDER);
  },
  'forward: on the address of a mailbox, the mailbox gets its copy': async ({ stage, store, outside }) => {
    await loadKeys(stage);
    await deliver(['kept@example.org'], { Subject: 'fwd-same' });
    const away = await until('forward', () => withSubject(outside, 'fwd-same'));
    assert.deepEqual(away.to, ['same@outside.test']);
    assert.match(away.raw, /^Delivered-To: kept@example\.org\r$/m);
    assert.deepEqual((await until('mailbox', () => withSubject(store, 'fwd-same'))).to, ['kept@example.org']);
  },
  'forward: what the outside refuses comes back to the original sender, signed': async ({ stage, outside }) => {
    await loadKeys(stage);
    await deliver(['moved@example.org'], { Subject: 'fwd-refused' });
    const report = await until('report', () =>
      outside.deliveries.find(({ raw }) => raw.includes('reject@outside.test') && raw.includes('fwd-refused')),
    );
    assert.equal(report.from, '');
    assert.deepEqual(report.to, [SENDER]);
    assert.deepEqual(await signatures(report.raw), [`${HOSTNAME}=pass`]);
    assert.doesNotMatch(report.raw, /Hello\./, 'the message itself stays here');
  },
  'forward: a bounce to an SRS address reaches the original sender, unchanged and unsigned': async (world) => {
    const address = await srsAddress(world, 'fwd-srs');
    const from = 'Mail Delivery System <MAILER-DAEMON@outside.test>';
    await deliver([address], { Subject: 'srs-bounce', From: from, 'Auto-Submitted': 'auto-replied' }, '');
    const bounce = await until('bounce', () => withSubject(world.outside, 'srs-bounce'));
    assert.equal(bounce.from, '');
    assert.deepEqual(bounce.to, [SENDER]);
    assert.doesNotMatch(bounce.raw, /^DKIM-Signature/m);
    // changed case, as some servers do
    assert.match(await rcpt(`<${address.toLowerCase()}>`, ''), /^250 /);
    assert.match(await rcpt(`<${address.replace('=someone@', '=somebody@')}>`, ''), /^550 5\.1\.1 /);
    assert.match(await rcpt(`<${address.replace('=outside.test=', '=inside.test=')}>`, ''), /^550 5\.1\.1 /);
  },
  'forward: a stranger’s From of ours is refused, by a forward and by an SRS address': async (world) => {
    const address = await srsAddress(world, 'fwd-forged-srs');
    const forged = { Subject: 'fwd-forged', From: 'Alice <alice@example.org>', 'Auto-Submitted': 'auto-replied' };
    for (const [to, from] of [
      ['ariel@example.org', SENDER],
      [address, ''],
    ] as const) {
      const client = await mx();
      const reply = await transaction(client, { from, to, message: message({ ...forged, ...OWN_MARKS }) });
      client.close();
      assert.match(reply, /^550 5\.7\.26 /, to);
    }
    assert.equal(withSubject(world.outside, 'fwd-forged'), undefined);
  },
  'forward: what a stranger’s message says of itself gets it no signature': async ({ stage, outside }) => {
    await loadKeys(stage);
    await deliver(['ariel@example.org'], { Subject: 'fwd-marked', ...OWN_MARKS });
    const { raw } = await until('delivery', () => withSubject(outside, 'fwd-marked'));
    assert.doesNotMatch(raw, /^DKIM-Signature/m);
    assert.doesNotMatch(raw, /auth=pass/);
  },
  'forward: what our own people write is signed on its way out': async ({ stage, outside }) => {
    await loadKeys(stage);
    const headers = { Subject: 'fwd-own', From: 'alice@example.org' };
    assert.match(await submit('alice@example.org', 'ariel@example.org', message(headers)), /^250/);
    const { from, to, raw } = await until('delivery', () => withSubject(outside, 'fwd-own'));
    assert.equal(from, 'alice@example.org');
    assert.deepEqual(to, ['ariel@outside.test']);
    assert.deepEqual(await signatures(raw), ['example.org=pass']);
  },
  'forward: a webhook’s message goes to the courier, whose refusal goes back to the sender': async (world) => {
    await loadKeys(world.stage);
    await deliver(['bot@example.org'], { Subject: 'fwd-bot' });
    const { from, to, raw } = await until('courier', () => withSubject(world.courier, 'fwd-bot'));
    assert.match(to.join(), /^f-bot\.[0-9a-f]{16}@courier\.invalid$/);
    assert.match(from, SRS);
    assert.match(raw, /^Delivered-To: bot@example\.org\r$/m);
    await deliver(['nobot@example.org'], { Subject: 'fwd-nobot' });
    const report = await until('report', () =>
      world.outside.deliveries.find(({ raw: text }) => text.includes('webhook said 410')),
    );
    assert.deepEqual([report.from, report.to], ['', [SENDER]]);
    assert.deepEqual(await signatures(report.raw), [`${HOSTNAME}=pass`]);
  },
  'forward: trouble with the courier waits': async (world) => {
    await deliver(['badbot@example.org'], { Subject: 'fwd-bad' });
    assert.match(await waits(world.stage, 'forward', 'f-bad.'), /syntax/);
    await world.stage.exec('forward', 'postsuper', '-d', 'ALL');
    await world.courier.stop();
    await deliver(['bot@example.org'], { Subject: 'fwd-later' });
    assert.match(await waits(world.stage, 'forward', 'f-bot.'), /onnection refused|lost connection/);
    world.courier = await startCourier(world.stage);
    await until('delivery after the courier is back', () => withSubject(world.courier, 'fwd-later'), 60);
  },
  'forward: egress that doesn’t list it makes mail wait': async ({ stage, outside }) => {
    await loadKeys(stage);
    const relist = await untilReloaded(stage, 'egress', () => stage.unlist('forward'));
    try {
      await deliver(['ariel@example.org'], { Subject: 'fwd-unlisted' });
      assert.match(await waits(stage, 'forward', 'ariel@outside.test'), /450 |Client host rejected/);
    } finally {
      await untilReloaded(stage, 'egress', relist);
    }
    await stage.exec('forward', 'postqueue', '-f');
    await until('delivery when it is listed again', () => withSubject(outside, 'fwd-unlisted'), 90);
  },
  'forward: an SRS key that is replaced goes on to verify': async (world) => {
    const address = await srsAddress(world, 'fwd-key');
    await world.stage.sql(
      "INSERT INTO posthorn.srs_secrets (key, created_at) VALUES (decode(repeat('77', 32), 'hex'), now() - interval '5 minutes')",
    );
    const newer = await srsAddress(world, 'fwd-newer-key');
    assert.notEqual(newer, address);
    for (const known of [address, newer]) assert.match(await rcpt(`<${known}>`, ''), /^250 /, known);
    await world.stage.sql("DELETE FROM posthorn.srs_secrets WHERE key = decode(repeat('77', 32), 'hex')");
    // the gatekeeper remembers for 2 s what it has taken
    await until('refusal', async () => (await rcpt(`<${newer}>`, '')).startsWith('550 5.1.1 '), 5);
  },
  'forward: a message that comes back to the same forward is refused': async () => {
    const client = await mx();
    const looping = message({ Subject: 'fwd-loop', 'Delivered-To': 'ariel@example.org' });
    const reply = await transaction(client, { from: SENDER, to: 'ariel@example.org', message: looping });
    client.close();
    assert.match(reply, /^55\d 5\.4\.6 /);
  },
  'forward: mail whose address changed its kind while it waited at the mx comes back there, once, and is expanded':
    async ({ stage, store, outside }) => {
      await loadKeys(stage);
      await stage.sql("UPDATE posthorn.forwards SET targets = '{bob@example.org}' WHERE uid IN ('f-keep', 'f-same')");
      // As the mx's queue would hand it over: an alias; a forward that has nothing outside any more, by both its names.
      const waiting = { 'sales@example.org': 'alice', 'keep@example.org': 'box', 'f-same@forward.invalid': 'kept' };
      try {
        for (const [to, subject] of Object.entries(waiting)) {
          const client = await internal(stage, IP.forward, 'mx');
          const text = message({ Subject: `fwd-detour-${subject}` });
          assert.match(await transaction(client, { from: SENDER, to, message: text }), /^250 /, to);
          client.close();
          const copies = await until(`${to} in the mailbox`, () => {
            const found = store.deliveries.filter(({ raw }) => raw.includes(`Subject: fwd-detour-${subject}\r\n`));
            return found.some((copy) => copy.to.includes(`${subject}@example.org`)) && found;
          });
          for (const { raw } of copies) assert.equal(raw.match(/^Received: /gm)?.length, 3, 'forward, egress, mx');
          assert.equal(withSubject(outside, `fwd-detour-${subject}`), undefined);
        }
      } finally {
        await stage.sql(`UPDATE posthorn.forwards SET targets = '{same@outside.test}' WHERE uid = 'f-same';
        UPDATE posthorn.forwards SET targets = '{keep@outside.test,bob@example.org}' WHERE uid = 'f-keep'`);
      }
    },
  'forward: mail for a forward that is gone, or leads nowhere, is put off; others go on': async ({
    stage,
    outside,
  }) => {
    await loadKeys(stage);
    const offer = async (to: string): Promise<string> => {
      const client = await internal(stage, IP.forward, 'mx');
      await client.send(`MAIL FROM:<${SENDER}>`);
      const reply = await client.send(`RCPT TO:<${to}>`);
      client.close();
      return reply;
    };
    assert.match(await offer('f-gone-long-ago@forward.invalid'), /^450 4\.3\.0 .*this forward is gone/);
    await stage.sql("UPDATE posthorn.forwards SET couriers = '[]' WHERE uid = 'f-no'");
    try {
      assert.match(await offer('nobot@example.org'), /^450 4\.3\.0 .*no target/);
    } finally {
      await stage.sql(
        `UPDATE posthorn.forwards SET couriers = '[{"webhook": {"url": "https://no.example"}}]' WHERE uid = 'f-no'`,
      );
    }
    await deliver(['ariel@example.org'], { Subject: 'fwd-others' });
    await until('delivery', () => withSubject(outside, 'fwd-others'));
  },
  'forward: the directory away makes mail wait at the mx': async ({ stage, outside }) => {
    await loadKeys(stage);
    await stage.sql('REVOKE EXECUTE ON FUNCTION directory_v1.forward_targets(text) FROM posthorn_forward');
    try {
      await deliver(['ariel@example.org'], { Subject: 'fwd-directory' });
      assert.match(await waits(stage, 'mx', 'ariel@example.org'), /451 |queue file write error/);
    } finally {
      await stage.sql('GRANT EXECUTE ON FUNCTION directory_v1.forward_targets(text) TO posthorn_forward');
    }
    await until('delivery afterwards', () => withSubject(outside, 'fwd-directory'), 120);
  },
};

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentChecks } from './agent.js';
import type { Name } from './directory.js';
import { sharedMailboxes } from './shared.js';
import type { Stage } from './stage.js';
import { type Check, deliver, imap, subjects, withImap } from './world.js';

/** Polls until `look` gives something; says what was awaited when that takes too long. */
export async function until<T>(what: string, seconds: number, look: () => Promise<T | undefined | false>): Promise<T> {
  for (const end = Date.now() + seconds * 1000; ; await sleep(200)) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
  }
}

/** The error of a log-in that must fail. */
async function refused(who: string, password?: string): Promise<string> {
  const client = await imap(who, password).catch(
    (error: { serverResponseCode?: string; responseText?: string }) => error,
  );
  assert.ok(!('close' in client), `${who} must not get in`);
  return `${client.serverResponseCode ?? ''} ${client.responseText ?? ''}`;
}

const revoke = (stage: Stage, who: string): Promise<unknown> =>
  stage.sql('INSERT INTO posthorn.revocations (username, at) VALUES ($1, clock_timestamp())', [`${who}@example.org`]);

const hashOf = (script: string): string => createHash('sha256').update(script).digest('hex');

/** Declares a script (null: none) and waits for what the store makes of it. */
async function declare(stage: Stage, who: Name, script: string | null): Promise<string | null> {
  const uuid = stage.mailboxes[who];
  const hash = script === null ? null : hashOf(script);
  await stage.sql(
    `INSERT INTO posthorn.sieve (mailbox, script, hash, changed_at) VALUES ($1, $2, $3, clock_timestamp())
     ON CONFLICT (mailbox) DO UPDATE SET script = excluded.script, hash = excluded.hash, changed_at = excluded.changed_at`,
    [uuid, script, hash],
  );
  const folder = `/srv/mail/mailboxes/00/${uuid}/declared`;
  if (script === null) {
    await until('the script is gone', 15, () =>
      stage.exec('store', 'test', '!', '-e', folder).then(
        () => true,
        () => false,
      ),
    );
    return null;
  }
  const [row] = await until('a result', 15, async () => {
    const rows = await stage.sql<{ result_error: string | null }>(
      'SELECT result_error FROM posthorn.sieve WHERE mailbox = $1 AND result_hash = hash',
      [uuid],
    );
    return rows.length > 0 && rows;
  });
  return row?.result_error ?? null;
}

const over = async (stage: Stage, who: Name): Promise<boolean | null | undefined> =>
  (
    await stage.sql<{ over: boolean | null }>('SELECT over FROM directory_v1.userdb WHERE username = $1', [
      `${who}@example.org`,
    ])
  )[0]?.over;

const learnt = (stage: Stage): string[] =>
  stage
    .asked('store')
    .filter(({ port }) => port === 11334)
    .map(({ path, headers, body }) => `${path} ${headers['deliver-to']} ${/Subject: (.*)/.exec(body)?.[1]?.trim()}`);

export const checks: Record<string, Check> = {
  'logins: the gatekeeper is asked, its hashes are tried, and it is told what came of it': async ({ stage }) => {
    await withImap('alice', (client) => client.noop());
    const [question, result] = stage.asked('proxy').filter(({ body }) => body.includes('alice@example.org'));
    assert.deepEqual(JSON.parse(question?.body ?? ''), {
      login: 'alice@example.org',
      protocol: 'imap',
      ip: '10.99.8.1',
      password: 'secret',
    });
    assert.deepEqual(JSON.parse(result?.body ?? ''), {
      login: 'alice@example.org',
      protocol: 'imap',
      ip: '10.99.8.1',
      ok: true,
      credential: 'password',
      ticket: 'ticket of alice',
    });
    assert.match(await refused('alice', 'wrong'), /AUTHENTICATIONFAILED/);
    const last = JSON.parse(stage.asked('proxy').at(-1)?.body ?? '');
    assert.deepEqual([last.ok, last.credential, last.ticket], [false, undefined, 'ticket of alice']);
    assert.match(await refused('nobody', 'secret'), /AUTHENTICATIONFAILED/);
    assert.match(await refused('alice', ''), /./);
  },

  'logins: no trouble of the gatekeeper looks like a wrong password': async ({ stage }) => {
    for (const mode of ['hang', 'error'] as const) {
      stage.mode('proxy', mode);
      assert.match(await refused('alice'), /UNAVAILABLE/, mode);
    }
    stage.mode('proxy', 'ok');
    stage.answer('odd@example.org', { result: 'unavailable' });
    assert.match(await refused('odd'), /UNAVAILABLE/);
    stage.answer('odd@example.org', { result: 'limited' });
    assert.match(await refused('odd'), /UNAVAILABLE/);
    stage.answer('odd@example.org', { result: 'something new' });
    assert.match(await refused('odd'), /UNAVAILABLE/);
    stage.answer('odd@example.org', { result: 'denied' });
    assert.match(await refused('odd'), /AUTHENTICATIONFAILED/);
    for (const hash of ['{PLAIN}secret', 'secret', '{ARGON2ID}', '', '{SSHA}Zm9v']) {
      stage.answer('odd@example.org', {
        result: 'verify',
        username: 'alice@example.org',
        host: 'x',
        port: 1,
        hashes: [{ id: 'password', hash }],
      });
      assert.match(await refused('odd'), /UNAVAILABLE/, hash);
    }
    await withImap('alice', (client) => client.noop());
  },

  'logins: no password in any log': async ({ stage }) => {
    await refused('alice', 'a-very-secret-word');
    for (const role of ['proxy', 'store', 'auth'] as const) {
      const log = await stage.logs(role);
      assert.ok(
        !log.includes('a-very-secret-word') && !/password[=: ]+secret\b/.test(log) && !log.includes('argon2id'),
        role,
      );
    }
  },

  'logins: SASL for the submission service': async ({ stage }) => {
    assert.match(await stage.sasl('alice@example.org', 'secret'), /^OK\t1\tuser=alice@example.org/m);
    assert.equal(JSON.parse(stage.asked('auth')[0]?.body ?? '').protocol, 'submission');
    assert.match(await stage.sasl('alice@example.org', 'wrong'), /^FAIL\t1\t(?!.*temp)/m);
    // Postfix would answer 535 to a FAIL with code=temp_fail: bin/sasl-bridge hangs up.
    stage.mode('auth', 'error');
    assert.match(await stage.sasl('alice@example.org', 'secret'), /\nDONE\n$/);
    stage.mode('auth', 'ok');
    assert.match(await stage.sasl('alice@example.org', 'secret'), /^OK\t1\tuser=alice@example.org/m);
  },

  'sessions: who is revoked is cut off within 3 s, others are not': async ({ stage }) => {
    const [alice, bob] = [await imap('alice'), await imap('bob')];
    await alice.mailboxOpen('INBOX');
    void alice.idle().catch(() => undefined);
    await sleep(500);
    await revoke(stage, 'alice');
    const committed = Date.now();
    await until('the connection is gone', 3, async () => !alice.usable);
    assert.ok(Date.now() - committed < 3000);
    await sleep(1000);
    await bob.noop();
    assert.ok(bob.usable);
    bob.close();
    // whoever slips in during the next seconds is cut off too
    for (const which of ['second', 'third']) {
      const again = await imap('alice');
      await until(`the ${which} kick`, 8, async () => !again.usable);
    }
  },

  'sessions: one among many who are revoked at once': async ({ stage }) => {
    const carol = await imap('carol');
    await stage.sql(`INSERT INTO posthorn.revocations (username, at)
      SELECT CASE n WHEN 150 THEN 'carol@example.org' ELSE 'person' || n || '@example.org' END, clock_timestamp() FROM generate_series(1, 200) n`);
    await until('the connection is gone', 3, async () => !carol.usable);
    await sleep(11_000);
    const later = await imap('carol');
    await sleep(3000);
    assert.ok(later.usable);
    later.close();
  },

  'sessions: what was revoked during an outage of the directory is made up for': async ({ stage }) => {
    const carol = await imap('carol');
    stage.cutDirectory(true);
    try {
      await sleep(8000);
      await revoke(stage, 'carol');
      await sleep(3000);
      assert.ok(carol.usable);
    } finally {
      stage.cutDirectory(false);
    }
    await until('the connection is gone', 12, async () => !carol.usable);
  },

  'delivery: 451 while the directory is away and for whom it does not know, never 550': async ({ stage }) => {
    assert.match(await deliver(stage, 'nobody', { subject: 'x' }), /^451 /);
    assert.match(await deliver(stage, 'away', { subject: 'x' }), /^451 /);
    stage.cutDirectory(true);
    try {
      await sleep(4000);
      assert.match(await deliver(stage, 'alice', { subject: 'x' }), /^451 /);
    } finally {
      stage.cutDirectory(false);
    }
    await until('deliveries again', 15, async () =>
      (await deliver(stage, 'alice', { subject: 'after the outage' })).startsWith('250'),
    );
  },

  'filing: spam goes to Junk, what is held to Quarantine, the rest to INBOX': async ({ stage }) => {
    await deliver(stage, 'carol', { subject: 'plain' });
    await deliver(stage, 'carol', { subject: 'spam', headers: ['X-Spam: Yes'] });
    await deliver(stage, 'carol', { subject: 'held', headers: ['X-Spam: Yes', 'X-Spam-Action: quarantine'] });
    assert.deepEqual(await subjects('carol'), { INBOX: ['plain'], Junk: ['spam'], Quarantine: ['held'] });
  },

  'learning: moves into and out of Junk, deliveries not; a silent rspamd blocks nobody': async ({ stage }) => {
    const before = learnt(stage).length;
    await deliver(stage, 'bob', { subject: 'good' });
    await deliver(stage, 'bob', { subject: 'bad' });
    await deliver(stage, 'bob', { subject: 'delivered', headers: ['X-Spam: Yes'] });
    await withImap('bob', async (client) => {
      await client.mailboxOpen('INBOX');
      await client.messageMove('2', 'Junk');
      await until('spam is learnt', 8, async () => learnt(stage).length === before + 1);
      await client.mailboxOpen('Junk');
      await client.messageMove({ subject: 'delivered' }, 'INBOX');
      await until('ham is learnt', 8, async () => learnt(stage).length === before + 2);
      await client.messageMove({ subject: 'bad' }, 'Trash');
      stage.mode('store', 'hang');
      await client.mailboxOpen('INBOX');
      const started = Date.now();
      await client.messageMove({ subject: 'good' }, 'Junk');
      assert.ok(Date.now() - started < 2000);
      stage.mode('store', 'ok');
    });
    await until('it is learnt later', 45, async () => learnt(stage).includes('/learnspam bob@example.org good'));
    const all = [...new Set(learnt(stage).slice(before))];
    assert.deepEqual(all, [
      '/learnspam bob@example.org bad',
      '/learnham bob@example.org delivered',
      '/learnspam bob@example.org good',
    ]);
  },

  'quota: warnings, full is told to the directory, and not full again; a changed quota is looked at': async ({
    stage,
  }) => {
    const text = `${'x'.repeat(70)}\r\n`.repeat(125);
    let n = 0;
    while ((await deliver(stage, 'small', { subject: `m${++n}`, text })).startsWith('250')) assert.ok(n < 40);
    assert.match(await deliver(stage, 'small', { subject: 'too much', text }), /^552 5\.2\.2/);
    await until('full', 8, async () => (await over(stage, 'small')) === true);
    await until('both warnings', 5, async () => {
      const inbox = (await subjects('small')).INBOX ?? [];
      return inbox.includes('Your mailbox is nearly full') && inbox.includes('Your mailbox is full');
    });
    await withImap('small', async (client) => {
      await client.mailboxOpen('INBOX');
      await client.messageDelete('1:6');
    });
    await until('not full', 8, async () => (await over(stage, 'small')) === false);
    assert.ok((await subjects('small')).INBOX?.includes('Your mailbox takes messages again'));
    const set = (bytes: number): Promise<unknown> =>
      stage.sql(
        "UPDATE posthorn.mailboxes SET quota_bytes = $1, over_quota = NULL WHERE address = 'small@example.org'",
        [bytes],
      );
    await set(50_000);
    await until('full by a smaller quota', 8, async () => (await over(stage, 'small')) === true);
    await set(200_000);
    await until('not full by a larger one', 8, async () => (await over(stage, 'small')) === false);
  },

  'Sieve: a declared script is compiled and runs before the own one; a broken one changes nothing': async ({
    stage,
  }) => {
    assert.equal(
      await declare(
        stage,
        'alice',
        'require ["fileinto", "mailbox"];\nif header :contains "subject" "work" { fileinto :create "Work"; }\n',
      ),
      null,
    );
    await stage.script('alice', 'require ["fileinto", "mailbox"];\nfileinto :create "Own";\n');
    await deliver(stage, 'alice', { subject: 'work 1' });
    await deliver(stage, 'alice', { subject: 'other 1' });
    const error = await declare(stage, 'alice', 'require "fileinto";\n\nif header "subject" { fileinto "Nowhere" }\n');
    assert.match(error ?? '', /^declared: line 3: error: /);
    assert.ok(!error?.includes('/srv/mail'));
    await deliver(stage, 'alice', { subject: 'work 2' });
    for (const [script, words] of [
      ['redirect "x@elsewhere.example";', /redirect is not available/],
      ['require "reject"; reject "no";', /unknown Sieve capability `?'?reject/],
      ['require "vnd.dovecot.pipe"; pipe "queue-learning";', /unknown Sieve capability/],
      ['require "editheader"; deleteheader "Received";', /unknown Sieve capability/],
      ['require "include"; include :global "x";', /does not exist|unknown/],
    ] as const) {
      assert.match((await declare(stage, 'alice', script)) ?? '', words);
    }
    const found = await subjects('alice');
    assert.deepEqual(found.Work, ['work 1', 'work 2']);
    assert.deepEqual(found.Own, ['other 1']);
    await declare(stage, 'alice', null);
    await deliver(stage, 'alice', { subject: 'work 3' });
    assert.deepEqual((await subjects('alice')).Own, ['other 1', 'work 3']);
    await stage.script('alice', 'keep;');
  },

  'vacation: answers once, from an own address, to people only; the egress being away holds nothing up': async ({
    stage,
    egress,
  }) => {
    egress.sent.length = 0;
    egress.refuse = { code: 451, text: '4.3.0 later' };
    const words =
      'require "vacation";\nvacation :days 7 :subject "Away" :addresses "chief@example.org" :from "Chief <chief@example.org>" "Back on Monday";';
    assert.equal(await declare(stage, 'alice', words), null);
    const started = Date.now();
    assert.match(await deliver(stage, 'alice', { subject: 'hello', from: 'person@outside.example' }), /^250/);
    assert.ok(Date.now() - started < 2000);
    await deliver(stage, 'alice', { subject: 'hello again', from: 'person@outside.example' });
    for (const [from, headers, toHeader] of [
      ['list@outside.example', ['List-Id: <l.outside.example>']],
      ['bulk@outside.example', ['Precedence: bulk']],
      ['robot@outside.example', ['Auto-Submitted: auto-replied']],
      ['', []],
      ['spammer@outside.example', ['X-Spam: Yes']],
      ['mailer-daemon@outside.example', []],
      ['blind@outside.example', [], 'somebody@outside.example'],
      // what the mx's filter puts on mail whose sender neither SPF nor DKIM vouches for
      ['forged@outside.example', ['X-Auto-Response-Suppress: OOF']],
    ] as const) {
      await deliver(stage, 'alice', { subject: 'no answer', from, headers, ...(toHeader ? { toHeader } : {}) });
    }
    await sleep(3000);
    assert.equal(egress.sent.length, 0);
    egress.refuse = null;
    await until('the answer', 20, async () => egress.sent.length > 0);
    await sleep(2000);
    assert.deepEqual(
      egress.sent.map(({ from, to }) => [from, to]),
      [['', ['person@outside.example']]],
    );
    const raw = egress.sent[0]?.raw ?? '';
    assert.deepEqual(raw.match(/^from:.*$/gim), ['From: <alice@example.org>']);
    assert.match(raw, /^Auto-Submitted: auto-replied/m);
    assert.match(raw, /^Message-ID: <[^>]*@mail\.example\.org>/m);
    assert.match(raw, /Back on Monday/);
    await declare(stage, 'alice', null);
  },

  "vacation: a person's own script can't answer as somebody else; what the egress refuses is dropped": async ({
    stage,
    egress,
  }) => {
    egress.sent.length = 0;
    const mime = 'From: <chief@example.org>\r\nSender: <chief@example.org>\r\nContent-Type: text/plain\r\n\r\nhidden';
    await stage.script('bob', `require "vacation";\nvacation :from "bob@example.org" :mime text:\n${mime}\n.\n;`);
    await deliver(stage, 'bob', { subject: 'hello', from: 'one@outside.example' });
    await until('the answer', 10, async () => egress.sent.length === 1);
    assert.deepEqual(egress.sent[0]?.raw.match(/^(from|sender):.*$/gim), ['From: <bob@example.org>']);
    await stage.script('bob', 'require "vacation";\nvacation :from "Bob <bob@example.org>" "gone";');
    egress.refuse = { code: 550, text: '5.7.1 no' };
    await deliver(stage, 'bob', { subject: 'hello', from: 'two@outside.example' });
    await until('the refusal', 10, async () =>
      (await stage.logs('store')).includes('a reply to <two@outside.example> is refused'),
    );
    egress.refuse = null;
    await deliver(stage, 'bob', { subject: 'hello', from: 'three@outside.example' });
    await until('the answer', 10, async () => egress.sent.length === 2);
    assert.deepEqual(egress.sent[1]?.raw.match(/^from:.*$/gim), ['From: Bob <bob@example.org>']);
    await stage.script('bob', 'keep;');
  },

  'vacation: not while the mailbox may not send, and no more than 60 an hour': async ({ stage, egress }) => {
    egress.sent.length = 0;
    const state = (value: string): Promise<unknown> =>
      stage.sql("UPDATE posthorn.mailboxes SET state = $1 WHERE address = 'carol@example.org'", [value]);
    await stage.script('carol', 'require "vacation";\nvacation "gone";');
    await state('SendBlocked');
    await deliver(stage, 'carol', { subject: 'x', from: 'blocked@outside.example' });
    await state('Active');
    for (let n = 1; n <= 63; n++) await deliver(stage, 'carol', { subject: 'x', from: `p${n}@outside.example` });
    await until('the replies', 30, async () => egress.sent.length >= 60);
    await sleep(3000);
    assert.equal(egress.sent.length, 60);
    assert.ok(egress.sent.every(({ to }) => to[0] !== 'blocked@outside.example'));
    const log = await stage.logs('store');
    assert.match(log, /no reply to <p63@outside\.example>: 60 replies within an hour/);
    assert.match(log, /no reply to <blocked@outside\.example>: it may not send now/);
    await stage.script('carol', 'keep;');
  },

  'retention: old messages leave the folders that say so, and no others': async ({ stage }) => {
    await withImap('carol', async (client) => {
      await client.mailboxCreate('Trash/below');
      await client.mailboxCreate('Trash2');
      for (const folder of ['Trash', 'Trash/below', 'Trash2', 'Archive']) {
        await client.append(folder, `Subject: in ${folder}\r\n\r\ntext\r\n`);
      }
      for (const folder of ['Shared/info/INBOX', '*']) assert.ok(folder);
    });
    await stage.sql(`UPDATE posthorn.mailboxes SET retention = '[{"folder":"Trash","days":3},{"folder":"*","days":1},
      {"folder":"Nowhere","days":1},{"folder":"Shared/info/INBOX","days":1}]' WHERE address = 'carol@example.org'`);
    await until('they are gone', 20, async () => {
      const found = await subjects('carol');
      return !found.Trash && !found['Trash/below'];
    });
    await sleep(5000);
    const found = await subjects('carol');
    assert.deepEqual([found.Trash2, found.Archive], [['in Trash2'], ['in Archive']]);
    await stage.sql('UPDATE posthorn.mailboxes SET retention = NULL');
  },

  ...sharedMailboxes,
  ...agentChecks,
};

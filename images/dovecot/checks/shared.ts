import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ImapFlow } from 'imapflow';
import type { Name } from './directory.js';
import type { Stage } from './stage.js';
import { type Check, deliver, imap, message, subjects, withImap } from './world.js';

/** Makes somebody a member; the sessions that this ends are over when it returns. */
async function member(stage: Stage, box: Name, who: Name, rights: 'ReadWrite' | 'ReadOnly' | null): Promise<void> {
  const key = [stage.mailboxes[box], who];
  await stage.sql('DELETE FROM posthorn.members WHERE mailbox = $1 AND member = $2', key);
  if (rights) {
    await stage.sql(
      `INSERT INTO posthorn.members (mailbox, namespace, member, rights, send_as) VALUES ($1, 'mail', $2, $3, false)`,
      [...key, rights],
    );
  }
  await sleep(LAST_KICK);
}

/** After a revocation sessions are ended again, here for the last time after 9 s (stage.ts). */
const LAST_KICK = 11_500;

const folders = (who: string): Promise<string[]> =>
  withImap(who, async (client) =>
    (await client.list()).filter(({ flags }) => !flags.has('\\Noselect')).map(({ path }) => path),
  );

/** Does the server refuse this? */
async function refuses(what: string, attempt: Promise<unknown>): Promise<void> {
  const outcome = await attempt.then(
    (value) => value,
    () => false,
  );
  assert.ok(
    outcome === false || outcome === undefined || outcome === null,
    `${what} must be refused: ${JSON.stringify(outcome)}`,
  );
}

/** The answer to a raw command. */
async function says(client: ImapFlow, command: string, ...attributes: string[]): Promise<string> {
  try {
    const atoms = attributes.map((value) => ({ type: 'STRING', value }));
    // biome-ignore lint/suspicious/noExplicitAny: not in the type declarations
    const response = await (client as any).exec(command, atoms);
    response.next();
    return 'OK';
  } catch (error) {
    return (error as { responseStatus?: string }).responseStatus ?? 'BAD';
  }
}

export const sharedMailboxes: Record<string, Check> = {
  'shared: a member with ReadWrite does what the owner can': async ({ stage }) => {
    await deliver(stage, 'info', { subject: 'to info' });
    await member(stage, 'info', 'alice', 'ReadWrite');
    assert.ok((await folders('alice')).includes('Shared/info/INBOX'));
    await withImap('alice', async (client) => {
      await client.mailboxCreate('Shared/info/Projects');
      await client.mailboxOpen('Shared/info/INBOX');
      assert.ok(await client.messageFlagsAdd('1', ['\\Flagged']));
      assert.ok(await client.messageCopy('1', 'Shared/info/Projects'));
      assert.ok(await client.messageCopy('1', 'Archive'));
      await client.append('Shared/info/INBOX', 'Subject: by alice\r\n\r\ntext\r\n');
      assert.deepEqual(await client.search({ subject: 'by alice' }), [2]);
    });
    assert.deepEqual(await subjects('info'), { INBOX: ['to info', 'by alice'], Projects: ['to info'] });
    await withImap('alice', async (client) => {
      await client.mailboxOpen('Shared/info/INBOX');
      await client.messageDelete({ subject: 'by alice' });
      await client.mailboxDelete('Shared/info/Projects');
    });
    assert.deepEqual(await subjects('info'), { INBOX: ['to info'] });
  },

  'shared: a member with ReadOnly changes nothing': async ({ stage }) => {
    await member(stage, 'info', 'bob', 'ReadOnly');
    const before = await subjects('info');
    await withImap('bob', async (client) => {
      assert.equal((await client.mailboxOpen('Shared/info/INBOX')).readOnly, true);
      assert.equal((await message(client, '1')).source?.includes('to info'), true);
      await refuses('flags', client.messageFlagsAdd('1', ['\\Seen', '\\Deleted']));
      await refuses('delete', client.messageDelete('1'));
      await refuses('move', client.messageMove('1', 'Archive'));
      await refuses('append', client.append('Shared/info/INBOX', 'Subject: x\r\n\r\nx\r\n'));
      await refuses('create', client.mailboxCreate('Shared/info/New'));
      await refuses('delete folder', client.mailboxDelete('Shared/info/INBOX'));
      await refuses('rename', client.mailboxRename('Shared/info/INBOX', 'Mine'));
      assert.notEqual(await says(client, 'SETACL', 'Shared/info/INBOX', 'bob@example.org', 'lrwstipekxa'), 'OK');
      assert.notEqual(await says(client, 'SETMETADATA', 'Shared/info/INBOX'), 'OK');
    });
    assert.deepEqual(await subjects('info'), before);
    await withImap('info', async (client) => {
      await client.mailboxOpen('INBOX');
      assert.ok(!(await message(client, '1')).flags?.has('\\Deleted'));
    });
  },

  'shared: nobody else sees it, by whatever name': async ({ stage }) => {
    const uuid = stage.mailboxes.info;
    await withImap('carol', async (client) => {
      assert.ok(!(await client.list()).some(({ path }) => path.startsWith('Shared')));
      assert.ok(!JSON.stringify(client.namespaces ?? client.namespace).includes('Shared'));
      for (const name of [
        'Shared/info/INBOX',
        'Shared/info',
        'shared1/INBOX',
        'Shared',
        `/srv/mail/mailboxes/00/${uuid}/mail/mailboxes/INBOX`,
        `../../${uuid}/mail/mailboxes/INBOX`,
        '~info@example.org/INBOX',
        '#shared/info/INBOX',
        '../INBOX',
        'user/info@example.org/INBOX',
      ]) {
        await refuses(`SELECT ${name}`, client.mailboxOpen(name));
        await refuses(`STATUS ${name}`, client.status(name, { messages: true }));
        assert.notEqual(await says(client, 'EXAMINE', name), 'OK', name);
      }
      await client.append('INBOX', 'Subject: own\r\n\r\nx\r\n');
      await client.mailboxOpen('INBOX');
      await refuses('copy', client.messageCopy('1', 'Shared/info/INBOX'));
      await refuses('append', client.append('Shared/info/INBOX', 'Subject: x\r\n\r\nx\r\n'));
    });
    // nor does a script of one's own get there
    await stage.script('carol', 'require ["fileinto", "mailbox"]; fileinto "Shared/info/INBOX";');
    await deliver(stage, 'carol', { subject: 'filed by carol' });
    await stage.script('carol', 'keep;');
    assert.deepEqual(await subjects('info'), { INBOX: ['to info'] });
    await withImap('info', async (client) => {
      assert.ok(!(await client.list()).some(({ path }) => path.startsWith('Shared')));
    });
  },

  'shared: a ReadOnly member files nothing into it by Sieve either': async ({ stage }) => {
    await stage.script('bob', 'require ["fileinto"]; fileinto "Shared/info/INBOX";');
    assert.match(await deliver(stage, 'bob', { subject: 'filed by bob' }), /^250/);
    await stage.script('bob', 'keep;');
    assert.deepEqual(await subjects('info'), { INBOX: ['to info'] });
    assert.ok((await subjects('bob')).INBOX?.includes('filed by bob'));
  },

  'shared: who is no member any more has no right, who has less has less': async ({ stage }) => {
    await member(stage, 'info', 'alice', 'ReadOnly');
    await withImap('alice', async (client) => {
      await client.mailboxOpen('Shared/info/INBOX');
      await refuses('flags', client.messageFlagsAdd('1', ['\\Deleted']));
    });
    const open = await imap('alice');
    await open.mailboxOpen('Shared/info/INBOX');
    const removed = Date.now();
    const removal = member(stage, 'info', 'alice', null);
    while (open.usable && Date.now() < removed + 3000) await sleep(50);
    assert.ok(!open.usable, 'the open session must end within 3 s');
    await removal;
    await withImap('alice', async (client) => {
      assert.ok(!(await client.list()).some(({ path }) => path.startsWith('Shared')));
      await refuses('SELECT', client.mailboxOpen('Shared/info/INBOX'));
    });
  },

  'shared: a mailbox in another shard, one that is shut, and one that is deleted are not shown': async ({ stage }) => {
    await deliver(stage, 'sales', { subject: 'to sales' });
    await member(stage, 'away', 'alice', 'ReadWrite');
    await member(stage, 'sales', 'alice', 'ReadWrite');
    const shown = async (): Promise<string[]> => (await folders('alice')).filter((path) => path.startsWith('Shared'));
    assert.deepEqual(await shown(), ['Shared/sales/INBOX']);
    await stage.sql("UPDATE posthorn.mailboxes SET state = 'Suspended' WHERE address = 'sales@example.org'");
    await sleep(LAST_KICK);
    assert.deepEqual(await shown(), []);
    await stage.sql(
      "UPDATE posthorn.mailboxes SET state = 'Active', deleted_at = now() WHERE address = 'sales@example.org'",
    );
    await sleep(LAST_KICK);
    assert.deepEqual(await shown(), []);
    await stage.sql("UPDATE posthorn.mailboxes SET deleted_at = NULL WHERE address = 'sales@example.org'");
  },

  'shared: one that its members have filled refuses mail, and the directory knows': async ({ stage }) => {
    const quota = (bytes: number | null): Promise<unknown> =>
      stage.sql("UPDATE posthorn.mailboxes SET quota_bytes = $1 WHERE address = 'sales@example.org'", [bytes]);
    await deliver(stage, 'sales', { subject: 'to sales' });
    await member(stage, 'sales', 'alice', 'ReadWrite');
    await quota(100_000);
    await withImap('alice', (client) =>
      client.append('Shared/sales/INBOX', `Subject: big\r\n\r\n${`${'x'.repeat(70)}\r\n`.repeat(2000)}`),
    );
    assert.match(await deliver(stage, 'sales', { subject: 'one more' }), /^552 /);
    for (const end = Date.now() + 8000; ; await sleep(200)) {
      const [row] = await stage.sql("SELECT over FROM directory_v1.userdb WHERE username = 'sales@example.org'");
      if (row?.over === true) break;
      assert.ok(Date.now() < end, 'the directory does not know');
    }
    await quota(null);
  },

  'shared: what a member puts there is not on the own quota, and a member of many still logs in': async ({ stage }) => {
    await deliver(stage, 'sales', { subject: 'to sales' });
    await member(stage, 'sales', 'small', 'ReadWrite');
    const quota = (): Promise<number> =>
      withImap('small', async (client) => {
        const answer = await client.getQuota('INBOX');
        return answer ? (answer.storage?.usage ?? 0) : 0;
      });
    const before = await quota();
    await withImap('small', (client) =>
      client.append('Shared/sales/INBOX', `Subject: big\r\n\r\n${'x'.repeat(60_000)}\r\n`),
    );
    assert.equal(await quota(), before);
    const names = Array.from({ length: 60 }, (_, n) => `team-with-a-rather-long-name-${n}`);
    for (const [n, name] of names.entries()) {
      await stage.sql(
        `WITH m AS (INSERT INTO posthorn.mailboxes (uuid, address, shard, object_uid, object_namespace, object_name)
           VALUES ($1::uuid, $2, 'a', $3, 'mail', $3) RETURNING uuid),
         a AS (INSERT INTO posthorn.addresses (address, domain, kind, mailbox, claimed_at, claimant)
           SELECT $2, 'example.org', 'mailbox', uuid, now(), $3 FROM m)
         INSERT INTO posthorn.members (mailbox, namespace, member, rights, send_as) SELECT uuid, 'mail', 'small', 'ReadOnly', false FROM m`,
        [`00000000-0000-4000-8000-0000000001${String(n).padStart(2, '0')}`, `${name}@example.org`, name],
      );
    }
    // an answer of more than 8 KiB would be a failed log-in
    const shown = await withImap('small', (client) => client.list());
    const spaces = shown.filter(({ path }) => /^Shared\/[^/]+$/.test(path)).length;
    assert.ok(spaces >= 20 && spaces < 61, `${spaces} shared mailboxes`);
  },
};

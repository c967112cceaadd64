import assert from 'node:assert/strict';
import { HOSTS, type Stage } from './stage.js';
import { account, type Check, deliver, imap, withImap } from './world.js';

/** The agent's word on what this copy is. */
async function state(stage: Stage): Promise<{ role: string; epoch: number }> {
  return JSON.parse(await stage.exec('store', 'curl', '-s', '--max-time', '5', 'http://127.0.0.1:24010/v1/state'));
}

/** The agent is the only Node here. */
async function pid(stage: Stage): Promise<string> {
  const found = await stage.exec('store', 'bash', '-c', "find /proc/[0-9]*/exe -maxdepth 0 -lname '*/node'");
  return found.split('/')[2] ?? '';
}

async function until(what: string, seconds: number, look: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await look().catch(() => false)); ) {
    assert.ok(Date.now() < end, `not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const serves = (stage: Stage) => async (): Promise<boolean> =>
  (await deliver(stage, 'bob', { subject: 'after' })).startsWith('250') &&
  (await withImap('bob', async (client) => client.usable));

/** A session's end, in ms from now; fails after 5 s. */
function ended(client: { usable: boolean }): Promise<number> {
  const started = Date.now();
  return until('the session has ended', 5, async () => !client.usable).then(() => Date.now() - started);
}

const told = (who: string, epoch: number): object => ({ ...account(who), epoch });

/** A store's Dovecot as its agent owns it, in a shard of one copy. */
export const agentChecks: Record<string, Check> = {
  'agent: who was led to another epoch is put off, who was led to this one is let in': async ({ stage }) => {
    const { role, epoch } = await state(stage);
    assert.equal(role, 'primary');
    stage.answer('bob@example.org', told('bob', epoch));
    await withImap('bob', (client) => client.noop());
    for (const other of [epoch - 1, epoch + 1]) {
      stage.answer('bob@example.org', told('bob', other));
      const error = await imap('bob').then(
        () => assert.fail('let in'),
        (refusal: { serverResponseCode?: string }) => refusal,
      );
      assert.equal(error.serverResponseCode, 'UNAVAILABLE');
    }
    stage.answer('bob@example.org', account('bob'));
  },

  'agent: when it is killed Dovecot goes with it, and both are back in the same container': async ({ stage }) => {
    const client = await imap('bob');
    const before = await state(stage);
    const gone = ended(client);
    await stage.exec('store', 'kill', '-KILL', await pid(stage));
    assert.ok((await gone) < 3000);
    await until('it serves again', 20, serves(stage));
    assert.ok((await state(stage)).epoch > before.epoch);
    assert.ok(await stage.healthy('store'));
  },

  'agent: when Dovecot is killed another is started': async ({ stage }) => {
    await stage.exec('store', 'bash', '-c', 'kill -9 $(cat /run/dovecot/master.pid)');
    await until('it serves again', 20, serves(stage));
  },

  'agent: when it is stopped for good the watchdog ends the sessions by the lease': async ({ stage }) => {
    const client = await imap('bob');
    const gone = ended(client);
    const agent = await pid(stage);
    await stage.exec('store', 'kill', '-STOP', agent);
    assert.ok((await gone) < 4500);
    await stage.exec('store', 'kill', '-CONT', agent);
    await until('it serves again', 20, serves(stage));
  },

  'agent: of what has moved away, or is removed elsewhere, this copy is removed too, and the directory told': async ({
    stage,
  }) => {
    const uuid = '00000000-0000-4000-8000-00000000dead';
    const home = `/srv/mail/mailboxes/00/${uuid}`;
    await stage.exec('store', 'mkdir', '-p', `${home}/mail`, `/srv/mail/mailboxes/00/${stage.mailboxes.alice}/mail`);
    await stage.sql("SELECT posthorn.bury($1, 'a', '{0}')", [uuid]);
    // It is removed a minute later.
    await stage.sql("UPDATE posthorn.tombstones SET at = at - interval '61 seconds'", []);
    await stage.exec('store', 'bash', '-c', 'timeout 10 reaper || true');
    await stage.exec('store', 'test', '!', '-e', home);
    await stage.exec('store', 'test', '-e', `/srv/mail/mailboxes/00/${stage.mailboxes.alice}`);
    const rows = await stage.sql('SELECT waiting FROM posthorn.tombstones WHERE mailbox = $1', [uuid]);
    assert.deepEqual(rows, [{ waiting: [] }]);
  },

  'proxy: sessions end that lead to a store that is not the primary any more': async ({ stage }) => {
    const client = await imap('bob');
    await stage.sql('UPDATE posthorn.shards SET epoch = epoch + 1000, host = $1 WHERE name = $2', [HOSTS.egress, 'a']);
    assert.ok((await ended(client)) < 4000);
    await stage.sql('UPDATE posthorn.shards SET host = $1 WHERE name = $2', [HOSTS.store, 'a']);
  },
};

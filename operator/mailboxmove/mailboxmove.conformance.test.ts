import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../directory/testing/postgres.js';
import type { Client } from '../runtime/client.js';
import { createNamespace, eventually, installCrds, sharedClient } from '../runtime/testing/shared.js';
import { CRDS, type Kubectl, kubectl, startOperator, type TestOperator } from '../testing/operator.js';

let client: Client;
let namespace: string;
let postgres: TestPostgres;
let operator: TestOperator;
let k: Kubectl;
const PEOPLE = ['ann', 'ben', 'cora', 'dan', 'eve'];

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, CRDS);
  postgres = await startPostgres();
  namespace = await createNamespace(client, 'moves');
  k = kubectl(client, namespace);
  operator = await startOperator({ namespace, postgres });
  await k.system('mail', { store: { shards: [{ name: 'a' }] } });
  await k.domain('example.org');
  await k.until('domain', 'example.org', 'Ready', 'True');
  for (const name of PEOPLE) {
    await k.mailbox(name);
    await k.until('mailbox', name, 'Ready', 'True');
  }
  await k.patch('system', 'mail', { spec: { store: { shards: [{ name: 'a' }, { name: 'b' }] } } });
  await eventually(async () => expect(await directory('SELECT name FROM posthorn.shards')).toHaveLength(2), 20_000);
});
afterAll(async () => {
  await operator?.stop();
  await postgres?.stop();
  client?.close();
});

const directory = (sql: string, values: unknown[] = []) =>
  postgres.query<Record<string, unknown>>('posthorn', sql, values);
const uuidOf = async (name: string) => (await k.get('mailbox', name)).status?.uuid;
const rows = () => directory('SELECT mailbox, phase FROM posthorn.moves ORDER BY started_at, mailbox');
const phases = async () => (await rows()).map(({ phase }) => phase);
const active = async () => (await phases()).filter((phase) => phase === 'syncing' || phase === 'switching').length;

/** What the source's primary does, in the table. */
async function step(uuid: unknown, phase: string, report: object = {}): Promise<void> {
  await directory('UPDATE posthorn.moves SET phase = $2, phase_at = now(), report = report || $3 WHERE mailbox = $1', [
    uuid,
    phase,
    JSON.stringify(report),
  ]);
  if (phase === 'settling') await directory("UPDATE posthorn.mailboxes SET shard = 'b' WHERE uuid = $1", [uuid]);
}
const untilPhase = (name: string, phase: string) =>
  eventually(async () => expect((await k.get('move', name)).status?.phase).toBe(phase), 20_000);

describe('a MailboxMove of one mailbox', () => {
  it('is an order in the directory; its phase and the shard of the Mailbox follow', async () => {
    await k.move('ann', { mailboxes: ['ann'], to: 'b' });
    const uuid = await uuidOf('ann');
    await untilPhase('ann', 'PreSync');
    expect(await rows()).toEqual([{ mailbox: uuid, phase: 'syncing' }]);
    await step(uuid, 'switching', { step: 'drain' });
    await untilPhase('ann', 'Draining');
    await step(uuid, 'switching', { step: 'compare' });
    await untilPhase('ann', 'Switching');
    expect((await k.get('mailbox', 'ann')).status?.shard).toBe('a');
    await step(uuid, 'settling', { step: 'late' });
    await untilPhase('ann', 'Verifying');
    await eventually(async () => expect((await k.get('mailbox', 'ann')).status?.shard).toBe('b'), 20_000);
    await k.until('move', 'ann', 'Ready', 'False', 'Moving');
    await step(uuid, 'settling', { verified: true });
    await k.until('move', 'ann', 'Ready', 'True', 'Done');
    await k.delete('move', 'ann');
    await k.untilGone('move', 'ann');
  });

  it('that is deleted while it runs is rolled back', async () => {
    await k.move('ben', { mailboxes: ['ben'], to: 'b' });
    const uuid = await uuidOf('ben');
    await untilPhase('ben', 'PreSync');
    await k.delete('move', 'ben');
    await k.untilGone('move', 'ben');
    expect((await rows()).find(({ mailbox }) => mailbox === uuid)).toBeUndefined();
    expect((await k.get('mailbox', 'ben')).status?.shard).toBe('a');
  });

  it('that has switched is completed before its object goes', async () => {
    await directory("DELETE FROM posthorn.tombstones WHERE shard = 'b'");
    await k.move('again', { mailboxes: ['ben'], to: 'b' });
    const uuid = await uuidOf('ben');
    await untilPhase('again', 'PreSync');
    await step(uuid, 'settling');
    await untilPhase('again', 'Verifying');
    await k.delete('move', 'again');
    await eventually(async () => expect((await k.get('move', 'again')).metadata.deletionTimestamp).toBeDefined());
    expect((await k.get('move', 'again')).metadata.finalizers).toEqual(['posthorn.dev/move']);
    await step(uuid, 'done', { verified: true });
    await k.untilGone('move', 'again');
  });

  it('says what is wrong with it', async () => {
    await k.move('nobody', { mailboxes: ['nobody'], to: 'b' });
    await k.until('move', 'nobody', 'Accepted', 'False', 'MailboxNotFound');
    await k.move('nowhere', { mailboxes: ['cora'], to: 'z' });
    await k.until('move', 'nowhere', 'Accepted', 'False', 'ShardNotFound');
    await k.move('lost', { mailboxes: ['cora'], to: 'b', system: 'other' });
    await k.until('move', 'lost', 'Accepted', 'False', 'SystemNotFound');
  });

  it.each([
    [{ mailboxes: ['cora'], from: 'a', to: 'b' }, 'exactly one'],
    [{ to: 'b' }, 'exactly one'],
    [{ from: 'b', to: 'b' }, 'another shard'],
  ])('is refused by the API server as %j', async (spec, message) => {
    await expect(k.move('bad', spec)).rejects.toThrow(message);
  });

  it('can be changed in nothing but concurrency', async () => {
    await expect(k.patch('move', 'nowhere', { spec: { to: 'b' } })).rejects.toThrow("can't be changed");
    await expect(k.patch('move', 'nowhere', { spec: { mailboxes: ['dan'] } })).rejects.toThrow("can't be changed");
    await k.patch('move', 'nowhere', { spec: { concurrency: 4 } });
  });
});

describe('a MailboxMove that empties a shard', () => {
  it('moves so many at a time, keeps new mailboxes away, and says what did not move', async () => {
    await k.move('empty', { from: 'a', to: 'b', concurrency: 2 });
    await eventually(async () => expect(await active()).toBe(2), 20_000);
    const { status } = await k.until('move', 'empty', 'Ready', 'False', 'Moving');
    expect(status).toMatchObject({ phase: 'Moving', total: 3, running: 2 });

    await k.mailbox('newcomer');
    await eventually(async () => expect((await k.get('mailbox', 'newcomer')).status?.shard).toBe('b'), 20_000);

    const cora = await uuidOf('cora');
    for (let rounds = 0; rounds < 3; rounds += 1) {
      await eventually(async () => expect(await active()).toBeGreaterThan(0), 20_000);
      const moving = (await rows()).filter(({ phase }) => phase === 'syncing');
      expect(moving.length).toBeLessThanOrEqual(2);
      const [first] = moving;
      if (first?.mailbox === cora) await step(cora, 'failed', { message: 'too large' });
      else {
        await step(first?.mailbox, 'settling');
        await step(first?.mailbox, 'done', { verified: true });
      }
    }
    const over = await k.until('move', 'empty', 'Ready', 'False', 'RolledBack');
    expect(over.status).toMatchObject({ phase: 'Done', total: 3, moved: 2, failed: 1 });
    expect(over.status).toMatchObject({ failures: [{ mailbox: 'cora', message: 'too large' }] });
    for (const name of ['dan', 'eve'])
      await eventually(async () => expect((await k.get('mailbox', name)).status?.shard).toBe('b'), 20_000);
  });

  it('goes on after a restart of the operator, and starts nothing twice', async () => {
    await directory("DELETE FROM posthorn.tombstones WHERE shard = 'b'");
    await k.move('rest', { from: 'a', to: 'b' });
    await untilPhase('rest', 'Moving');
    await operator.stop();
    const before = await rows();
    operator = await startOperator({ namespace, postgres });
    await step(await uuidOf('cora'), 'settling', { verified: true });
    await k.until('move', 'rest', 'Ready', 'True', 'Done');
    expect((await rows()).length).toBe(before.length);
  });
});

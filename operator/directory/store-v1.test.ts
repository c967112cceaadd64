import { beforeAll, describe, expect, it } from 'vitest';
import { sieveHash } from './inventory.js';
import type { MailboxRow } from './rows.js';
import { caughtUp, inSeconds, mailbox, setHeartbeatAge } from './testing/directory.js';
import type { TestPostgres } from './testing/postgres.js';
import { useDirectory } from './testing/use.js';

const directory = useDirectory();
const { project, call, answer } = directory;
let replica: TestPostgres;

beforeAll(async () => {
  replica = await directory.test.server.addReplica('replica_1');
});

describe('Sieve', () => {
  const declared = async (since: string) => {
    const rows = await call('store', 'declared_sieve', ['a', since]);
    return rows.sort((l, r) => (String(l.username) < String(r.username) ? -1 : 1));
  };
  const result = (uuid: string, script: string, error: string | null) =>
    call('store', 'sieve_result', [uuid, sieveHash(script), error]);

  it('scripts reach the store with each change, also the last', async () => {
    const a = mailbox('a', { sieve: 'keep;' });
    await project(a, mailbox('b'), mailbox('c', { sieve: 'stop;' }));
    const all = await declared('-infinity');
    expect(all).toMatchObject([
      { username: 'a@example.org', script: 'keep;', hash: sieveHash('keep;') },
      { username: 'c@example.org' },
    ]);
    expect(all[0]).toMatchObject({ mailbox: a.uuid, home: expect.stringContaining(a.uuid) });
    await directory.test.server.query('posthorn', "UPDATE posthorn.sieve SET changed_at = now() - interval '1 minute'");
    expect(await declared(inSeconds(0))).toEqual([]);
    expect(await project({ ...a, sieve: null })).toEqual(['written']);
    expect(await declared(inSeconds(0))).toMatchObject([{ username: 'a@example.org', script: null, hash: null }]);
    expect(await declared('-infinity')).toMatchObject([{ username: 'c@example.org' }]);
    expect(await call('store', 'declared_sieve', ['b', '-infinity'])).toEqual([]);
  });

  it('what the compiler said is heard of the declared script only', async () => {
    const a = mailbox('a', { sieve: 'fileinto;' });
    await project(a);
    expect(await directory.test.directory.sieveResults()).toEqual([]);
    await result(a.uuid, 'fileinto;', 'line 1: fileinto what?');
    await result(a.uuid, 'another', null);
    const told = { uuid: a.uuid, hash: sieveHash('fileinto;'), error: 'line 1: fileinto what?', at: expect.any(Date) };
    expect(await directory.test.directory.sieveResults()).toEqual([told]);
    expect(await directory.test.directory.sieveResults([a.uuid])).toEqual([told]);
    expect(await directory.test.directory.sieveResults([mailbox('x').uuid])).toEqual([]);
    await project({ ...a, sieve: 'keep;' });
    expect(await directory.test.directory.sieveResults()).toEqual([]);
    await result(a.uuid, 'keep;', null);
    expect(await directory.test.directory.sieveResults()).toMatchObject([{ error: null }]);
  });
});

describe('shared mailboxes', () => {
  const shared = async (name: string, server = directory.test.server) => {
    const sql = 'SELECT shared FROM directory_v1.userdb WHERE username = $1';
    return (await server.query('posthorn_store', sql, [`${name}@example.org`]))[0]?.shared;
  };
  const member = (name: string, rights: 'ReadWrite' | 'ReadOnly' = 'ReadWrite', sendAs = false) => ({
    mailbox: name,
    rights,
    sendAs,
  });

  it('are seen by members of the same namespace and shard, while they are open', async () => {
    await directory.test.directory.projectShards([
      { name: 'a', host: 'mail-store-a.mail.svc.cluster.local', lmtpPort: 10024, imapPort: 10143, sievePort: 14190 },
      { name: 'b', host: 'b', lmtpPort: 10024, imapPort: 10143, sievePort: 14190 },
    ]);
    const office = mailbox('office', { members: [member('ann'), member('bea', 'ReadOnly')] });
    const rooms = mailbox('rooms', { members: [member('ann')], retention: [{ folder: 'Trash', days: 30 }] });
    const foreign = mailbox('foreign', {
      members: [member('ann')],
      object: { uid: 'f', namespace: 'other', name: 'foreign' },
    });
    const far = mailbox('far', { members: [member('ann')], shard: 'b' });
    // Members may come later than the mailbox that they share.
    await project(office, rooms, foreign, far);
    await project(mailbox('ann'), mailbox('bea'), mailbox('cat'));
    const seen = (box: MailboxRow, name: string, rights = 'ReadWrite') => ({ uuid: box.uuid, name, rights });
    expect(await shared('ann')).toEqual([seen(office, 'office'), seen(rooms, 'rooms')]);
    expect(await shared('bea')).toEqual([seen(office, 'office', 'ReadOnly')]);
    expect(await shared('cat')).toBeNull();
    await project({ ...office, state: 'LoginOff' });
    expect(await shared('bea')).toBeNull();
    await project({ ...office, state: 'LoginOff', stateUntil: inSeconds(-1) });
    expect(await shared('bea')).toHaveLength(1);
    await directory.test.directory.tombstoneMailboxes([{ uuid: rooms.uuid, objectUid: rooms.object.uid }]);
    expect(await shared('ann')).toEqual([seen(office, 'office')]);
    // Made again while the old one is still there: names must differ.
    const again = {
      ...mailbox('office2', { members: [member('ann')] }),
      object: { uid: 'n', namespace: 'mail', name: 'office' },
    };
    await project(again);
    const names = ((await shared('ann')) as { name: string }[]).map(({ name }) => name);
    expect(names.sort()).toEqual([office, again].map(({ uuid }) => `office.${uuid.slice(0, 8)}`).sort());
    await setHeartbeatAge(directory.test.server, 61);
    expect(await shared('ann')).toBeNull();
  });

  it('send-as is for members that have it, of an alias too', async () => {
    const list = async (address: string) => answer('submission', 'sender_logins', [address]);
    const office = mailbox('office', {
      aliases: ['info@example.org'],
      members: [member('ann', 'ReadOnly', true), member('bea')],
    });
    await project(office, mailbox('ann'), mailbox('bea'));
    expect(await list('office@example.org')).toBe('ann@example.org,office@example.org');
    expect(await list('Info+x@example.org')).toBe('ann@example.org,office@example.org');
    await project({ ...office, members: [] });
    expect(await list('office@example.org')).toBe('office@example.org');
  });
});

it('a home is not told by a replica that is a minute old: the address may be another mailbox now', async () => {
  const homes = (server = directory.test.server) =>
    server.query('posthorn_store', "SELECT uuid FROM directory_v1.userdb WHERE username = 'ann@example.org'");
  const old = mailbox('ann');
  const again = mailbox('ann');
  await project(old);
  for (const age of [0, 55]) {
    await setHeartbeatAge(directory.test.server, age);
    await caughtUp(directory.test);
    expect(await homes(replica)).toEqual([{ uuid: old.uuid }]);
  }
  await setHeartbeatAge(directory.test.server, 61);
  await caughtUp(directory.test);
  await replica.query('postgres', 'SELECT pg_wal_replay_pause()');
  try {
    await directory.test.directory.tombstoneMailboxes([{ uuid: old.uuid, objectUid: old.object.uid }]);
    await project(again);
    expect(await homes()).toEqual([{ uuid: again.uuid }]);
    expect(await homes(replica)).toEqual([]);
  } finally {
    await replica.query('postgres', 'SELECT pg_wal_replay_resume()');
  }
  await setHeartbeatAge(directory.test.server, 0);
  await caughtUp(directory.test);
  expect(await homes(replica)).toEqual([{ uuid: again.uuid }]);
  await directory.test.server.query('posthorn', 'DELETE FROM posthorn.heartbeat');
  await caughtUp(directory.test);
  expect(await homes(replica)).toEqual([]);
  expect(await homes()).toHaveLength(1);
});

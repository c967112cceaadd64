import { describe, expect, it } from 'vitest';
import { contentHash } from './inventory.js';
import type { MailboxRow } from './rows.js';
import { inSeconds, inventory, mailbox, setHeartbeatAge } from './testing/directory.js';
import { useDirectory } from './testing/use.js';

const directory = useDirectory();
const { project, call } = directory;

describe('revocations', () => {
  /** Who has been revoked by `change`. */
  async function revokedBy(change: () => Promise<unknown>): Promise<string[]> {
    await directory.test.server.query('posthorn', 'DELETE FROM posthorn.revocations');
    await change();
    const rows = await call('proxy', 'revoked', [inSeconds(0)]);
    return rows.map(({ username }) => String(username)).sort();
  }

  const password = { hash: '{X}1', source: '1' };
  const app = (hash: string, protocols: string[] | null = null) => [{ name: 'p', source: hash, hash, protocols }];
  const box = mailbox('box', {
    password,
    appPasswords: app('{X}a'),
    aliases: ['x@example.org'],
    members: [{ mailbox: 'ann', rights: 'ReadWrite', sendAs: false }],
  });
  const BOX = ['box@example.org'];
  const ANN = ['ann@example.org'];

  const CHANGES: [string, Partial<MailboxRow>, string[]][] = [
    ['nothing', {}, []],
    ['a new state', { state: 'LoginOff' }, [...ANN, ...BOX]],
    ['another password', { password: { hash: '{X}2', source: '2' } }, BOX],
    ['no password', { password: null }, BOX],
    ['another app password', { appPasswords: app('{X}b') }, BOX],
    ['an app password for less', { appPasswords: app('{X}a', ['imap']) }, BOX],
    ['an app password less', { appPasswords: [] }, BOX],
    ['another main address', { address: 'new@example.org' }, BOX],
    ['its alias as its main address', { address: 'x@example.org', aliases: ['box@example.org'] }, BOX],
    ['an alias less', { aliases: [] }, []],
    ['a member less', { members: [] }, ANN],
    ['a member with less rights', { members: [{ mailbox: 'ann', rights: 'ReadOnly', sendAs: false }] }, ANN],
    ['a member with send-as', { members: [{ mailbox: 'ann', rights: 'ReadWrite', sendAs: true }] }, []],
    ['another quota', { quotaBytes: 5 }, []],
  ];

  it.each(CHANGES)('%s', async (_, change, expected) => {
    await project(box, mailbox('ann'));
    const hash = contentHash(box);
    expect(await inventory(directory.test)).toContainEqual(
      expect.objectContaining({ uuid: box.uuid, contentHash: hash }),
    );
    expect(await revokedBy(() => project({ ...box, ...change }))).toEqual(expected);
  });

  it('a deletion, and a main address that an elder takes', async () => {
    await project(box, mailbox('ann'));
    const gone = { uuid: box.uuid, objectUid: box.object.uid };
    expect(await revokedBy(() => directory.test.directory.tombstoneMailboxes([gone]))).toEqual([...ANN, ...BOX]);
    await project(box);
    expect(await revokedBy(() => project(mailbox('elder', { age: 9, aliases: BOX })))).toEqual(BOX);
  });

  it('setPasswords, and a change by hand', async () => {
    await project(box);
    const set = { uuid: box.uuid, password: { hash: '{X}9', source: '9' } };
    expect(await revokedBy(() => directory.test.directory.setPasswords([set]))).toEqual(BOX);
    const sql = "UPDATE posthorn.mailboxes SET state = 'Suspended'";
    expect(await revokedBy(() => directory.test.server.query('posthorn', sql))).toContain('box@example.org');
  });

  it('a state that ends, and first passwords, revoke nothing', async () => {
    await project({ ...box, state: 'SendBlocked', password: null });
    expect(await revokedBy(() => project({ ...box, password }))).toEqual([]);
  });

  it('looks back 20 s further, a day at most, and old entries are removed', async () => {
    const at = (age: string) =>
      directory.test.server.query(
        'posthorn',
        `INSERT INTO posthorn.revocations (username, at) VALUES ($1::text, now() - $1::text::interval)`,
        [age],
      );
    for (const age of ['15 s', '25 s', '2 h', '25 h']) await at(age);
    const asked = async (since: string) => (await call('store', 'revoked', [since])).map(({ username }) => username);
    expect(await asked(inSeconds(0))).toEqual(['15 s']);
    expect(await asked('-infinity')).toEqual(['2 h', '25 s', '15 s']);
    await directory.test.directory.maintain({ srsRotateDays: 90 });
    const left = await directory.test.server.query('posthorn', 'SELECT username FROM posthorn.revocations');
    expect(left).toHaveLength(3);
    await setHeartbeatAge(directory.test.server, 6);
    await expect(asked('-infinity')).rejects.toThrow(/too old/);
  });
});

describe('the inventory', () => {
  it('tells each declared change by the hash, and a batch of the release before changes none of it', async () => {
    const full = mailbox('full', {
      state: 'SendBlocked',
      stateUntil: '2099-01-01T00:00:00Z',
      suspendedMail: 'Refuse',
      ldapUser: 'full',
      sieve: 'keep;',
      retention: [
        { folder: 'Trash', days: 3 },
        { folder: 'Junk', days: 9 },
      ],
      members: [{ mailbox: 'ann', rights: 'ReadOnly', sendAs: true }],
      require: { from: ['b.test', 'a.test'], otherwise: 'Tag' },
      sending: { hour: 5, day: 7 },
      appPasswords: [{ name: 'p', source: 's', hash: '{X}h', protocols: ['imap'] }],
    });
    const changes: Partial<MailboxRow>[] = [
      { state: 'LoginOff' },
      { stateUntil: null },
      { suspendedMail: 'Accept' },
      { ldapUser: null },
      { sieve: 'stop;' },
      { retention: [] },
      { members: [] },
      { require: null },
      { sending: null },
      { appPasswords: [{ name: 'p', source: 's', hash: '{X}h', protocols: null }] },
    ];
    for (const change of [{}, ...changes]) {
      const row = { ...full, ...change };
      await project(row);
      expect(await inventory(directory.test), JSON.stringify(change)).toMatchObject([
        { contentHash: contentHash(row) },
      ]);
      expect(await project(row)).toEqual(['unchanged']);
      await project(full);
    }
    expect(new Set(changes.map((change) => contentHash({ ...full, ...change }))).size).toBe(changes.length);
    expect(contentHash({ ...full, retention: [...(full.retention ?? [])].reverse() })).toBe(contentHash(full));

    const { uuid, address, aliases, object, createdAt } = full;
    const before = {
      ...{ ord: 0, uuid, address, aliases, shard: 'a', quota_bytes: 77, deletion_policy: 'Retain', adopt: false },
      ...{ object_uid: object.uid, object_namespace: object.namespace, object_name: object.name },
      ...{ claimed_at: createdAt, set_password: false },
    };
    const sql = 'SELECT result FROM posthorn.project_mailboxes($1)';
    expect(await directory.test.server.query('posthorn', sql, [JSON.stringify([before])])).toEqual([
      { result: 'written' },
    ]);
    expect(await inventory(directory.test)).toMatchObject([{ contentHash: contentHash({ ...full, quotaBytes: 77 }) }]);
    const fresh = {
      ...before,
      uuid: mailbox('x').uuid,
      address: 'new@example.org',
      object_uid: 'u',
      object_name: 'new',
    };
    expect(await directory.test.server.query('posthorn', sql, [JSON.stringify([fresh])])).toEqual([
      { result: 'written' },
    ]);
  });
});

import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { contentHash } from './inventory.js';
import type { MailboxInventory, MailboxOutcome, MailboxRow } from './rows.js';
import {
  DOMAIN_OBJECT,
  mailbox,
  setHeartbeatAge,
  shard,
  startDirectory,
  type TestDirectory,
} from './testing/directory.js';

let test: TestDirectory;

beforeAll(async () => {
  test = await startDirectory();
});

afterAll(async () => {
  await test?.stop();
});

beforeEach(async () => {
  await test.server.query('posthorn', 'DELETE FROM posthorn.mailboxes');
});

async function project(...rows: MailboxRow[]): Promise<MailboxOutcome[]> {
  return (await test.directory.projectMailboxes(rows)).value;
}

/** address → uuid of the mailbox, for all addresses. */
async function owners(): Promise<Record<string, string>> {
  const rows = await test.server.query<{ address: string; mailbox: string }>(
    'posthorn',
    'SELECT address, mailbox FROM posthorn.addresses ORDER BY address',
  );
  return Object.fromEntries(rows.map((row) => [row.address, row.mailbox]));
}

async function inventory(): Promise<MailboxInventory[]> {
  const all: MailboxInventory[] = [];
  for await (const page of test.directory.listMailboxes(2)) all.push(...page);
  return all;
}

/** Anything that writes, even a row lock, takes a transaction id. */
async function transactionId(): Promise<string | undefined> {
  const rows = await test.server.query<{ xid: string }>(
    'postgres',
    'SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xid',
  );
  return rows[0]?.xid;
}

async function login(address: string): Promise<string | undefined> {
  const rows = await test.server.query<{ password: string }>(
    'posthorn',
    'SELECT password FROM directory_v1.login($1)',
    [address],
  );
  return rows[0]?.password;
}

describe('projectMailboxes', () => {
  it('writes mailboxes with their aliases', async () => {
    const a = mailbox('a', { aliases: ['sales@example.org', 'a@example.net'], quotaBytes: 2 ** 40 });
    const b = mailbox('b');
    expect(await project(a, b)).toEqual([
      { uuid: a.uuid, result: 'written', reason: undefined, shard: 'a', conflicts: [] },
      { uuid: b.uuid, result: 'written', reason: undefined, shard: 'a', conflicts: [] },
    ]);
    expect(await owners()).toEqual({
      'a@example.org': a.uuid,
      'sales@example.org': a.uuid,
      'a@example.net': a.uuid,
      'b@example.org': b.uuid,
    });
  });

  it('writes nothing at all when nothing differs, conflicts included', async () => {
    const elder = mailbox('a', { age: 9, aliases: ['sales@example.org'], password: { hash: '{X}h', source: 's' } });
    const rows = [elder, mailbox('b', { aliases: ['sales@example.org'] }), mailbox('a')];
    await project(...rows);
    const before = await transactionId();
    const again = await project(...rows);
    expect(again.map((row) => row.result)).toEqual(['unchanged', 'unchanged', 'refused']);
    await test.directory.projectShards([shard('a')]);
    await test.directory.projectDomains([{ domain: 'example.org', object: DOMAIN_OBJECT, dkimSelector: null }]);
    await test.directory.projectSettings({ postmaster: null });
    await test.directory.setPasswords([{ uuid: elder.uuid, password: { hash: '{X}other salt', source: 's' } }]);
    await test.directory.tombstoneMailboxes([{ uuid: randomUUID(), objectUid: 'x' }]);
    expect(await transactionId()).toBe(before);
  });

  it('applies changes, and moves main address and alias into each other', async () => {
    const a = mailbox('a', { aliases: ['b@example.org', 'c@example.org'] });
    await project(a);
    const changed = { ...a, address: 'b@example.org', aliases: ['a@example.org'], quotaBytes: 5 };
    expect((await project(changed))[0]).toMatchObject({ result: 'written', conflicts: [] });
    expect(Object.keys(await owners())).toEqual(['a@example.org', 'b@example.org']);
    expect(await inventory()).toMatchObject([{ uuid: a.uuid, contentHash: contentHash(changed) }]);
  });

  it('leaves a mailbox on its shard', async () => {
    const a = mailbox('a');
    await project(a);
    await test.directory.projectShards([shard('a'), shard('b')]);
    expect(await project({ ...a, shard: 'b' })).toMatchObject([{ result: 'unchanged', shard: 'a' }]);
    expect(await test.directory.projectShards([shard('b')])).toMatchObject({ value: { inUse: ['a'] } });
    expect(await test.directory.projectShards([shard('a')])).toMatchObject({ value: { inUse: [] } });
  });

  it('refuses only the row that is wrong', async () => {
    const rows = [
      mailbox('lost', { address: 'lost@elsewhere.org' }),
      mailbox('nowhere', { shard: 'zzz' }),
      mailbox('adopter', { adopt: true }),
      mailbox('fine', { aliases: ['fine@elsewhere.org'] }),
    ];
    expect(await project(...rows)).toMatchObject([
      { result: 'refused', reason: 'UnknownDomain' },
      { result: 'refused', reason: 'UnknownShard' },
      { result: 'refused', reason: 'NotAdoptable' },
      { result: 'written', conflicts: [{ address: 'fine@elsewhere.org', owner: undefined, kind: undefined }] },
    ]);
    expect(await inventory()).toHaveLength(1);
  });
});

it('a row that the database does not take keeps no other out', async () => {
  const rows = [
    mailbox('a'),
    mailbox('b', { quotaBytes: -1 }),
    mailbox('c'),
    mailbox('d', { uuid: 'none' }),
    mailbox('e'),
  ];
  const { value, lsn } = await test.directory.projectMailboxes(rows);
  expect(value.map((row) => row.reason)).toEqual([undefined, 'Invalid', undefined, 'Invalid', undefined]);
  expect(value[1]?.message).toContain('mailboxes_quota_bytes_check');
  expect(lsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
  expect(Object.keys(await owners())).toEqual(['a@example.org', 'c@example.org', 'e@example.org']);
});

describe('two claims to one address', () => {
  const elder = () => mailbox('elder', { age: 5, aliases: ['both@example.org'] });
  const younger = () => mailbox('younger', { aliases: ['both@example.org'] });

  it.each(['elder first', 'younger first', 'one batch'])('the elder has it: %s', async (order) => {
    const [old, young] = [elder(), younger()];
    if (order === 'one batch') await project(young, old);
    if (order === 'elder first') await project(old);
    if (order !== 'one batch') await project(young);
    if (order === 'younger first') await project(old);
    expect(await owners()).toMatchObject({ 'both@example.org': old.uuid, 'younger@example.org': young.uuid });
    const conflict = { address: 'both@example.org', owner: old.object, kind: 'alias' };
    expect(await project(young)).toMatchObject([{ result: 'unchanged', conflicts: [conflict] }]);
  });

  it('a main address that is lost leaves the mailbox unreachable, not its data gone, until it is free again', async () => {
    const young = mailbox('both', { aliases: ['extra@example.org'], password: { hash: '{X}young', source: 's' } });
    await project(young);
    const old = mailbox('old', { age: 5, aliases: ['both@example.org'] });
    await project(old);
    expect(await owners()).toMatchObject({ 'both@example.org': old.uuid });
    expect(await login('both@example.org')).toBeUndefined();
    const resolved = await test.server.query(
      'posthorn',
      "SELECT directory_v1.alias('extra@example.org') AS a, directory_v1.alias('both@example.org') AS b",
    );
    expect(resolved).toEqual([{ a: null, b: 'old@example.org' }]);
    expect(await project(young)).toMatchObject([
      { result: 'refused', reason: 'AddressConflict', conflicts: [{ address: 'both@example.org', owner: old.object }] },
    ]);
    await project({ ...old, aliases: [] });
    expect(await project(young)).toMatchObject([{ result: 'written', conflicts: [] }]);
    expect(await login('both@example.org')).toBe('{X}young');
  });

  it('objects of the same second: the lesser uid', async () => {
    const [a, b] = [mailbox('x'), mailbox('x')].sort((l, r) => (l.uuid < r.uuid ? -1 : 1));
    if (a === undefined || b === undefined) throw new Error('unreachable');
    expect(await project(b)).toMatchObject([{ result: 'written' }]);
    expect(await project(a, b)).toMatchObject([
      { result: 'written' },
      { result: 'refused', reason: 'AddressConflict' },
    ]);
  });

  it('a refused change of the main address leaves the mailbox as it was', async () => {
    const old = mailbox('old', { age: 5 });
    const young = mailbox('young', { aliases: ['alias@example.org'] });
    await project(old, young);
    const wrong = { ...young, address: 'old@example.org', aliases: [] };
    expect(await project(wrong)).toMatchObject([{ result: 'refused', reason: 'AddressConflict' }]);
    expect(await owners()).toMatchObject({ 'young@example.org': young.uuid, 'alias@example.org': young.uuid });
  });

  it.each([0, 9])('two mailboxes swap their addresses in one batch (age of the first: %i)', async (age) => {
    const [a, b] = [mailbox('a', { age }), mailbox('b', { age: 5 })];
    await project(a, b);
    const swapped = [
      { ...a, address: b.address },
      { ...b, address: a.address },
    ];
    await project(...swapped);
    const again = await project(...swapped);
    expect(again.map((row) => row.reason)).toEqual([undefined, undefined]);
    expect(await owners()).toEqual({ 'a@example.org': b.uuid, 'b@example.org': a.uuid });
  });

  it('the eldest that has its main address wins, whatever the order and the batches', async () => {
    const address = fc.constantFrom('a', 'b', 'c', 'd').map((name) => `${name}@example.org`);
    const claims = fc.array(fc.tuple(address, address), { minLength: 2, maxLength: 6 });
    const property = fc.asyncProperty(claims, fc.infiniteStream(fc.nat(5)), fc.nat(5), async (pairs, order, cut) => {
      await test.server.query('posthorn', 'DELETE FROM posthorn.mailboxes');
      const rows = pairs.map(([main, alias], i) =>
        mailbox(`m${i}`, { age: i, address: main, aliases: [alias, `own${i}@example.org`] }),
      );
      const places = new Map(rows.map((row) => [row, order.next().value]));
      const shuffled = [...rows].sort((l, r) => (places.get(l) ?? 0) - (places.get(r) ?? 0));
      // Level-triggered: what was refused comes again.
      for (let pass = 0; pass < 4; pass += 1) {
        await project(...shuffled.slice(0, cut));
        await project(...shuffled.slice(cut));
      }
      expect(await owners()).toEqual(expectedOwners(rows));
    });
    await fc.assert(property, { numRuns: 25 });
  });

  it('concurrent writers never share an address', async () => {
    const rivals = Array.from({ length: 8 }, (_, i) => mailbox('same', { age: i }));
    await Promise.all(rivals.map((row) => project(row)));
    expect(await owners()).toEqual({ 'same@example.org': rivals.at(-1)?.uuid });
  });
});

/** The rule by itself: from the eldest on, each takes what nobody elder has; without its main address, nothing. */
function expectedOwners(rows: MailboxRow[]): Record<string, string> {
  const has: Record<string, string> = {};
  for (const row of [...rows].sort((l, r) => (l.createdAt < r.createdAt ? -1 : 1))) {
    if (has[row.address] !== undefined) continue;
    for (const address of [row.address, ...row.aliases]) has[address] ??= row.uuid;
  }
  return has;
}

describe('deleting and adopting', () => {
  it('Retain: the address is free, the data stays, and comes back to who adopts it', async () => {
    const first = mailbox('a', { aliases: ['b@example.org'], password: { hash: '{X}old', source: 's' } });
    await project(first);
    const gone = { uuid: first.uuid, objectUid: first.object.uid };
    expect((await test.directory.tombstoneMailboxes([gone])).value).toEqual([first.uuid]);
    expect(await owners()).toEqual({});
    expect(await inventory()).toEqual([]);
    expect(await test.directory.adoptable('a@example.org', 'mail')).toMatchObject([
      { uuid: first.uuid, purgeAfter: null },
    ]);

    const again = mailbox('a');
    expect(await project(again)).toMatchObject([{ result: 'written' }]);
    expect(again.uuid).not.toBe(first.uuid);
    await test.directory.tombstoneMailboxes([{ uuid: again.uuid, objectUid: again.object.uid }]);

    const adopter = { ...mailbox('a'), uuid: first.uuid, adopt: true };
    expect(await project(adopter)).toMatchObject([{ result: 'written' }]);
    expect(await login('a@example.org')).toBeUndefined(); // the password was another object's
    expect(await inventory()).toMatchObject([{ uuid: first.uuid, object: adopter.object, passwordSource: null }]);
    expect(await project(adopter)).toMatchObject([{ result: 'unchanged' }]);
  });

  it('refuses to adopt from another namespace, or a mailbox that lives', async () => {
    const first = mailbox('a');
    await project(first);
    const adopter = { ...mailbox('b'), uuid: first.uuid, adopt: true };
    expect(await project(adopter)).toMatchObject([{ result: 'refused', reason: 'UuidInUse' }]);
    await test.directory.tombstoneMailboxes([{ uuid: first.uuid, objectUid: first.object.uid }]);
    const stranger = { ...adopter, object: { ...adopter.object, namespace: 'other' } };
    expect(await project(stranger)).toMatchObject([{ result: 'refused', reason: 'NotAdoptable' }]);
    expect(await test.directory.adoptable('a@example.org', 'other')).toEqual([]);
  });

  it('of two objects that adopt the same mailbox the elder gets it', async () => {
    const first = mailbox('a');
    await project(first);
    await test.directory.tombstoneMailboxes([{ uuid: first.uuid, objectUid: first.object.uid }]);
    const [one, two] = ['b', 'c'].map((name, age) => ({ ...mailbox(name, { age }), uuid: first.uuid, adopt: true }));
    if (one === undefined || two === undefined) throw new Error('unreachable');
    expect(await project(one, two)).toMatchObject([{ reason: 'UuidInUse' }, { result: 'written' }]);
    expect(await owners()).toEqual({ 'c@example.org': first.uuid });
  });

  it('tombstones only for the object that has the mailbox, and takes a mistake back', async () => {
    const a = mailbox('a', { password: { hash: '{X}h', source: 's' } });
    await project(a);
    expect((await test.directory.tombstoneMailboxes([{ uuid: a.uuid, objectUid: 'former' }])).value).toEqual([]);
    await test.directory.tombstoneMailboxes([{ uuid: a.uuid, objectUid: a.object.uid }]);
    expect(await project({ ...a, password: undefined })).toMatchObject([{ result: 'written' }]);
    expect(await login('a@example.org')).toBe('{X}h');
  });

  it('Delete: purgeable after the grace and not before; adopting in time cancels it', async () => {
    const [soon, later, saved] = ['soon', 'later', 'saved'].map((name) => mailbox(name, { deletionPolicy: 'Delete' }));
    const kept = mailbox('kept');
    if (soon === undefined || later === undefined || saved === undefined) throw new Error('unreachable');
    await project(soon, later, saved, kept);
    const ref = (row: MailboxRow) => ({ uuid: row.uuid, objectUid: row.object.uid });
    await test.directory.tombstoneMailboxes([ref(soon), ref(kept)], 0);
    await test.directory.tombstoneMailboxes([ref(later), ref(saved)]);
    const adopter = { ...mailbox('saved'), uuid: saved.uuid, adopt: true };
    expect(await project(adopter)).toMatchObject([{ result: 'written' }]);
    await setHeartbeatAge(test.server, 0);
    const purgeable = () => test.server.query('posthorn_store', "SELECT * FROM directory_v1.purgeable('a')");
    const home = `/srv/mail/mailboxes/${soon.uuid.slice(0, 2)}/${soon.uuid}`;
    expect(await purgeable()).toEqual([{ uuid: soon.uuid, home }]);
    const late = { ...mailbox('soon'), uuid: soon.uuid, adopt: true };
    expect(await project(late)).toMatchObject([{ result: 'refused', reason: 'NotAdoptable' }]);

    await setHeartbeatAge(test.server, 10);
    expect(await purgeable()).toEqual([]);
    await setHeartbeatAge(test.server, 0);
    for (const row of [soon, soon, later, saved, kept]) {
      await test.server.query('posthorn_store', 'SELECT directory_v1.purged($1)', [row.uuid]);
    }
    const left = await test.server.query<{ uuid: string }>('posthorn', 'SELECT uuid FROM posthorn.mailboxes');
    expect(left.map((row) => row.uuid).sort()).toEqual([later.uuid, saved.uuid, kept.uuid].sort());
  });
});

describe('passwords, domains, settings', () => {
  it('a password follows its source, and setting none closes the login', async () => {
    const a = mailbox('a', { password: { hash: '{X}1', source: 's/1' } });
    await project(a);
    expect(await login('A@Example.org')).toBe('{X}1');
    await project({ ...a, password: { hash: '{X}2', source: 's/2' } });
    expect(await login('a@example.org')).toBe('{X}2');
    await project({ ...a, password: undefined });
    expect(await login('a@example.org')).toBe('{X}2');
    const set = await test.directory.setPasswords([{ uuid: a.uuid, password: { hash: '{X}3', source: 's/3' } }]);
    expect(set.value).toEqual([a.uuid]);
    expect(await login('a@example.org')).toBe('{X}3');
    await project({ ...a, password: null });
    expect(await login('a@example.org')).toBeUndefined();
  });

  it('keeps a domain that addresses lie in', async () => {
    const a = mailbox('a');
    await project(a);
    const gone = ['example.org', 'example.net'].map((domain) => ({ domain, objectUid: DOMAIN_OBJECT.uid }));
    expect((await test.directory.removeDomains(gone)).value).toEqual({ inUse: ['example.org'] });
    const rows = gone.map(({ domain }) => ({ domain, object: DOMAIN_OBJECT, dkimSelector: 's1' }));
    expect((await test.directory.projectDomains(rows)).value.sort()).toEqual(['example.net', 'example.org']);
    expect(await test.directory.listDomains()).toEqual([...rows].reverse());
  });

  it('tells a refusal from an outage', async () => {
    const nameless = { ...mailbox('a'), object: { uid: 'x' } } as unknown as MailboxRow;
    await expect(test.directory.setPasswords([{ uuid: 'no uuid', password: null }])).rejects.toMatchObject({
      name: 'DirectoryRejected',
      message: expect.stringContaining(
        'directory: set the passwords of 1 mailboxes: invalid input syntax for type uuid',
      ),
    });
    expect(await project(nameless)).toMatchObject([{ result: 'refused', reason: 'Invalid' }]);
    await test.server.query('postgres', 'ALTER DATABASE posthorn SET default_transaction_read_only = on');
    await test.server.query(
      'postgres',
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'posthorn'",
    );
    const broken = project(mailbox('a'));
    await expect(broken).rejects.toMatchObject({ name: 'DirectoryUnavailable' });
    await expect(project(mailbox('a'))).rejects.toMatchObject({
      name: 'DirectoryUnavailable',
      message: expect.stringContaining('read-only'),
    });
    await test.server.query('postgres', 'BEGIN READ WRITE; ALTER DATABASE posthorn RESET ALL; COMMIT');
    await test.server
      .query('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'posthorn'")
      .catch(() => undefined);
    await expect
      .poll(() => project(mailbox('a')).catch(() => []), { timeout: 5000 })
      .toMatchObject([{ result: 'written' }]);
  });
});

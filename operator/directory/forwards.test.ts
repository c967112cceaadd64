import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { forwardHash } from './inventory.js';
import type { ForwardInventory, ForwardOutcome, ForwardRow, MailboxRow } from './rows.js';
import { forward, mailbox, startDirectory, type TestDirectory } from './testing/directory.js';

let test: TestDirectory;

beforeAll(async () => {
  test = await startDirectory();
});

afterAll(async () => {
  await test?.stop();
});

beforeEach(clear);

async function clear(): Promise<void> {
  await test.server.query(
    'posthorn',
    `WITH a AS (DELETE FROM posthorn.addresses), m AS (DELETE FROM posthorn.mailboxes) DELETE FROM posthorn.forwards`,
  );
}

async function project(...rows: ForwardRow[]): Promise<ForwardOutcome[]> {
  return (await test.directory.projectForwards(rows)).value;
}

function projectEither(row: ForwardRow | MailboxRow): Promise<unknown> {
  return 'uuid' in row ? test.directory.projectMailboxes([row]) : test.directory.projectForwards([row]);
}

/** address → its mailbox's and its forward's object name. */
async function owners(): Promise<Record<string, string>> {
  const rows = await test.server.query<{ address: string; owner: string }>(
    'posthorn',
    `SELECT a.address, concat_ws('+', m.object_name, f.object_name) AS owner FROM posthorn.addresses a
     LEFT JOIN posthorn.mailboxes m ON m.uuid = a.mailbox LEFT JOIN posthorn.forwards f ON f.uid = a.forward
     ORDER BY a.address`,
  );
  return Object.fromEntries(rows.map((row) => [row.address, row.owner]));
}

async function inventory(): Promise<ForwardInventory[]> {
  const all: ForwardInventory[] = [];
  for await (const page of test.directory.listForwards(2)) all.push(...page);
  return all;
}

async function transactionId(): Promise<string | undefined> {
  const sql = 'SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xid';
  return (await test.server.query<{ xid: string }>('postgres', sql))[0]?.xid;
}

const refused = (reason: string) => ({ result: 'refused', reason });

describe('projectForwards', () => {
  const rich = forward('rich', {
    address: '*@example.net',
    to: ['a@example.org', 'b@outside.test'],
    couriers: [{ refused: 'WebhookNotAllowed' }, { webhook: { url: 'https://bot.test/', timeoutSeconds: 30 } }],
    keepCopy: 'somebody',
    sendAs: 'somebody',
    require: { from: ['gmail.com'], otherwise: 'Tag' },
  });

  it('writes forwards, lists them as declared, and writes nothing when nothing differs', async () => {
    const elder = mailbox('both', { age: 5 });
    await test.directory.projectMailboxes([elder]);
    const rows = [forward('a'), rich, forward('b', { address: 'both@example.org' }), forward('c')];
    const outcomes = await project(...rows);
    expect(outcomes.map(({ result }) => result)).toEqual(['written', 'written', 'refused', 'written']);
    expect(outcomes.map(({ uid }) => uid)).toEqual(rows.map(({ object }) => object.uid));
    const there = [rows[0], rows[1], rows[3]] as ForwardRow[];
    const expected = there.map((row) => {
      const { object, createdAt: _, ...content } = row;
      return { object, contentHash: forwardHash(row), forward: content };
    });
    expect(new Set(await inventory())).toEqual(new Set(expected));

    const before = await transactionId();
    expect((await project(...rows)).map(({ result }) => result)).toEqual([
      'unchanged',
      'unchanged',
      'refused',
      'unchanged',
    ]);
    await test.directory.tombstoneForwards([{ uid: 'nobody' }]);
    expect(await transactionId()).toBe(before);
  });

  it('applies each change, and tells it by the hash', async () => {
    await project(rich);
    const changes: Partial<ForwardRow>[] = [
      { address: 'rich@example.org' },
      { to: ['b@outside.test'] },
      { couriers: [] },
      { keepCopy: null },
      { sendAs: 'other' },
      { require: { from: ['gmail.com'], otherwise: 'Reject' } },
      { object: { ...rich.object, name: 'renamed' } },
    ];
    for (const change of changes) {
      const row = { ...rich, ...change };
      expect(forwardHash(row), JSON.stringify(change)).not.toBe(forwardHash(rich));
      expect(await project(row)).toMatchObject([{ result: 'written' }]);
      expect(await inventory()).toMatchObject([{ contentHash: forwardHash(row) }]);
      expect(await project(row)).toMatchObject([{ result: 'unchanged' }]);
    }
  });

  it('swaps two addresses in one batch', async () => {
    const [a, b] = [forward('a', { age: 3 }), forward('b')];
    await project(a, b);
    await project({ ...a, address: b.address }, { ...b, address: a.address });
    expect(await owners()).toEqual({ 'a@example.org': 'b', 'b@example.org': 'a' });
  });

  it('tombstones, and the address is free', async () => {
    const a = forward('a');
    await project(a);
    expect((await test.directory.tombstoneForwards([{ uid: a.object.uid }, { uid: 'x' }])).value).toEqual([
      a.object.uid,
    ]);
    expect(await owners()).toEqual({});
    expect(await inventory()).toEqual([]);
    await test.directory.projectMailboxes([mailbox('a')]);
    expect(await owners()).toEqual({ 'a@example.org': 'a' });
  });

  it('one bad row keeps no other out', async () => {
    const bad = [
      forward('comma', { to: ['a@outside.test,b@outside.test'] }),
      forward('quote', { to: ['"a,b"@outside.test'] }),
      forward('space', { to: ['a b@outside.test'] }),
      forward('none', { to: ['nothing'] }),
      forward('line', { to: ['a@outside.test\n'] }),
    ];
    const outcomes = await project(forward('a'), ...bad, forward('lost', { address: 'a@elsewhere.org' }), forward('b'));
    expect(outcomes.map(({ reason }) => reason)).toEqual([
      undefined,
      undefined, // two targets in one text are two targets
      'Invalid',
      'Invalid',
      'Invalid',
      'Invalid',
      'UnknownDomain',
      undefined,
    ]);
    expect(Object.keys(await owners())).toEqual(['a@example.org', 'b@example.org', 'comma@example.org']);
  });
});

describe('claims of mailboxes and forwards to one address', () => {
  const box = mailbox('box', { age: 5, aliases: ['both@example.org'] });
  const rule = (age: number) => forward('rule', { age, address: 'both@example.org' });

  it.each(['forward first', 'mailbox first'])('the elder has it, the forward: %s', async (order) => {
    const elder = rule(9);
    if (order === 'forward first') await project(elder);
    await test.directory.projectMailboxes([box]);
    expect(await project(elder)).toMatchObject([{ conflicts: [] }]);
    expect(await owners()).toEqual({ 'both@example.org': 'rule', 'box@example.org': 'box' });
    expect((await test.directory.projectMailboxes([box])).value).toMatchObject([
      { result: 'unchanged', conflicts: [{ address: 'both@example.org', kind: 'forward', owner: elder.object }] },
    ]);
  });

  it.each(['forward first', 'mailbox first'])('the elder has it, the mailbox: %s', async (order) => {
    const younger = rule(1);
    if (order === 'forward first') await project(younger);
    expect((await test.directory.projectMailboxes([box])).value).toMatchObject([{ result: 'written', conflicts: [] }]);
    expect(await owners()).toEqual({ 'both@example.org': 'box', 'box@example.org': 'box' });
    const conflict = { address: 'both@example.org', kind: 'alias', owner: box.object };
    expect(await project(younger)).toMatchObject([{ ...refused('AddressConflict'), conflicts: [conflict] }]);
    expect(await inventory()).toEqual([]);
  });

  it('a mailbox whose main address an elder forward takes lets its aliases go', async () => {
    const box = mailbox('box', { aliases: ['other@example.org'] });
    await test.directory.projectMailboxes([box]);
    await project(forward('rule', { age: 9, address: 'box@example.org' }));
    expect(await owners()).toEqual({ 'box@example.org': 'rule' });
    expect((await test.directory.projectMailboxes([box])).value).toMatchObject([refused('AddressConflict')]);
  });

  it('of two forwards the elder has it; the other is there again when it is free', async () => {
    const [old, young] = [
      forward('old', { age: 5, address: 'x@example.org' }),
      forward('young', { address: 'x@example.org' }),
    ];
    expect(await project(young)).toMatchObject([{ result: 'written' }]);
    expect(await project(young, old)).toMatchObject([
      { ...refused('AddressConflict'), conflicts: [{ address: 'x@example.org', kind: 'forward', owner: old.object }] },
      { result: 'written' },
    ]);
    await test.directory.tombstoneForwards([{ uid: old.object.uid }]);
    expect(await project(young)).toMatchObject([{ result: 'written' }]);
  });

  it('the eldest wins, whatever the order and the batches', async () => {
    const address = fc.constantFrom('a', 'b', 'c').map((name) => `${name}@example.org`);
    const claims = fc.array(fc.tuple(fc.boolean(), address), { minLength: 2, maxLength: 7 });
    const property = fc.asyncProperty(claims, fc.infiniteStream(fc.nat(9)), async (declared, order) => {
      await clear();
      const rows = declared.map(([isForward, main], age) =>
        isForward ? forward(`f${age}`, { age, address: main }) : mailbox(`m${age}`, { age, address: main }),
      );
      const places = new Map(rows.map((row) => [row, order.next().value]));
      const shuffled = [...rows].sort((l, r) => (places.get(l) ?? 0) - (places.get(r) ?? 0));
      for (let pass = 0; pass < 3; pass += 1) {
        for (const row of shuffled) await projectEither(row);
      }
      const eldest: Record<string, string> = {};
      for (const row of rows) eldest[row.address] = row.object.name;
      expect(await owners()).toEqual(eldest);
    });
    await fc.assert(property, { numRuns: 25 });
  });

  it('concurrent writers never share an address', async () => {
    const rivals = Array.from({ length: 8 }, (_, i) =>
      i % 2 ? mailbox('same', { age: i }) : forward('same', { age: i }),
    );
    // A deadlock is no refusal: it is tried again.
    await Promise.all(rivals.map((row) => projectEither(row).catch(() => projectEither(row))));
    const rows = await test.server.query('posthorn', 'SELECT claimant FROM posthorn.addresses');
    expect(rows).toEqual([{ claimant: rivals.at(-1)?.object.uid }]);
  });
});

describe('a forward on an address of the mailbox that keeps its copy', () => {
  const box = (age: number) => mailbox('alice', { age, aliases: ['sales@example.org'] });

  it.each(['alice@example.org', 'sales@example.org'])('both have %s, whoever is elder and first', async (address) => {
    for (const [boxAge, ruleAge] of [
      [1, 5],
      [5, 1],
    ] as const) {
      for (const order of ['mailbox first', 'forward first']) {
        await clear();
        const [alice, rule] = [box(boxAge), forward('rule', { age: ruleAge, address, keepCopy: 'alice' })];
        if (order === 'forward first') await project(rule);
        await test.directory.projectMailboxes([alice]);
        await project(rule);
        const label = `${order}, ages ${boxAge} and ${ruleAge}`;
        expect(await owners(), label).toMatchObject({ [address]: 'alice+rule' });
        const before = await transactionId();
        expect((await test.directory.projectMailboxes([alice])).value, label).toMatchObject([{ result: 'unchanged' }]);
        expect(await project(rule), label).toMatchObject([{ result: 'unchanged' }]);
        expect(await transactionId(), label).toBe(before);
      }
    }
  });

  it('nobody between them in age can part them', async () => {
    const [alice, rule] = [box(1), forward('rule', { age: 9, address: 'sales@example.org', keepCopy: 'alice' })];
    const between = mailbox('between', { age: 5, aliases: ['sales@example.org'] });
    await test.directory.projectMailboxes([alice]);
    await project(rule);
    for (let pass = 0; pass < 3; pass += 1) {
      await test.directory.projectMailboxes([between]);
      await test.directory.projectMailboxes([alice]);
      await project(rule);
      expect(await owners()).toMatchObject({ 'sales@example.org': 'alice+rule' });
    }
    await test.directory.tombstoneForwards([{ uid: rule.object.uid }]);
    await test.directory.projectMailboxes([between]);
    expect(await owners()).toMatchObject({ 'sales@example.org': 'between' });
  });

  it('each keeps the address when the other goes or no longer wants it', async () => {
    const [alice, rule] = [box(1), forward('rule', { age: 9, address: 'sales@example.org', keepCopy: 'alice' })];
    await test.directory.projectMailboxes([alice]);
    await project(rule);
    await test.directory.projectMailboxes([{ ...alice, aliases: [] }]);
    expect(await owners()).toEqual({ 'alice@example.org': 'alice', 'sales@example.org': 'rule' });
    await test.directory.projectMailboxes([alice]);
    expect(await owners()).toMatchObject({ 'sales@example.org': 'alice+rule' });
    await test.directory.tombstoneMailboxes([{ uuid: alice.uuid, objectUid: alice.object.uid }]);
    expect(await owners()).toEqual({ 'sales@example.org': 'rule' });
    await test.directory.projectMailboxes([alice]);
    await project({ ...rule, address: 'elsewhere@example.org' });
    expect(await owners()).toMatchObject({ 'sales@example.org': 'alice', 'elsewhere@example.org': 'rule' });
  });

  it('a forward that keeps its copy elsewhere is a claim like any other', async () => {
    const alice = box(5);
    await test.directory.projectMailboxes([alice]);
    const rule = forward('rule', { address: 'sales@example.org', keepCopy: 'alice' });
    await project(rule);
    expect(await project({ ...rule, keepCopy: 'bob' })).toMatchObject([refused('AddressConflict')]);
    expect(await owners()).toMatchObject({ 'sales@example.org': 'alice' });
    const foreign = { ...rule, object: { ...rule.object, namespace: 'other' } };
    expect(await project(foreign)).toMatchObject([refused('AddressConflict')]);
    const elder = forward('elder', { age: 9, address: 'sales@example.org', keepCopy: 'bob' });
    expect(await project(elder)).toMatchObject([{ result: 'written' }]);
    expect(await owners()).toEqual({ 'alice@example.org': 'alice', 'sales@example.org': 'elder' });
  });

  it('of two forwards for one mailbox the elder is attached', async () => {
    const alice = box(1);
    const [old, young] = [5, 2].map((age) =>
      forward(`f${age}`, { age, address: 'alice@example.org', keepCopy: 'alice' }),
    );
    if (old === undefined || young === undefined) throw new Error('unreachable');
    await test.directory.projectMailboxes([alice]);
    expect(await project(young)).toMatchObject([{ result: 'written' }]);
    expect(await project(old)).toMatchObject([{ result: 'written' }]);
    expect(await project(young)).toMatchObject([refused('AddressConflict')]);
    expect(await owners()).toMatchObject({ 'alice@example.org': 'alice+f5' });
  });
});

/**
 * Replication between two members with a real Dovecot: syncs through the agents' mutual TLS, the journal and its replay, UIDs
 * after a failover, duplicates after a merge. No cluster; root and podman.
 *
 *   ./hack/images --no-load dovecot && npx tsx images/dovecot/checks/replicate.ts [WORDS IN A NAME…]
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readlinkSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { withDeliveryId } from '../../../services/lib/header.js';
import { createPeerClient, type PeerClient } from '../../../services/lib/peer.js';
import { fileOf, type Member, type Shard, startShard } from './members.js';

const uuid = (n: number): string => `${n.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`;
/** Each check has people of its own. */
const PEOPLE = Array.from({ length: 32 }, (_, n) => `user${n}@example.org`);
const directory = Object.fromEntries(PEOPLE.map((address, n) => [address, uuid(n + 1)]));

const message = (subject: string, body = 'text'): string =>
  `Received: from x by mx; ${new Date().toUTCString()}\r\nSubject: ${subject}\r\n\r\n${body}\r\n`;
const idOf = (content: string): string => createHash('sha256').update(content).digest('hex');
const identified = (content: string): Buffer[] => withDeliveryId(Buffer.from(content), idOf(content));

interface World {
  readonly shard: Shard;
  readonly a: Member;
  readonly b: Member;
  /** Somebody who has no mail yet. */
  readonly user: string;
  /** A store's requests to the peer API. */
  readonly client: PeerClient;
}

interface Synced {
  ok: boolean;
  state: string;
  code: number;
  error: string;
  purged?: number;
}

async function sync(from: Member, user: string, more: object = {}): Promise<Synced> {
  const { status, body } = await from.ask('POST', '/v1/sync', { user, peer: 1 - from.number, ...more });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

async function synced(from: Member, user: string, more: object = {}): Promise<Synced> {
  const result = await sync(from, user, more);
  assert.ok(result.ok, JSON.stringify(result));
  return result;
}

/** Folders with messages: an empty parent of a folder is a folder on one side only, until the next sync. */
async function inventory(member: Member, user: string): Promise<{ name: string; messages: number }[]> {
  const { body } = await member.ask('POST', '/v1/inventory', { user });
  return (body as { folders: { name: string; messages: number }[] }).folders.filter(({ messages }) => messages > 0);
}

async function assertEqual({ a, b, user }: World): Promise<void> {
  const mine = await inventory(a, user);
  assert.deepEqual(mine, await inventory(b, user));
  const { body } = await a.ask('POST', '/v1/peers/1/inventory', { user });
  assert.deepEqual(
    (body as { folders: { messages: number }[] }).folders.filter(({ messages }) => messages > 0),
    mine,
  );
}

const subjects = async (member: Member, user: string): Promise<string[]> =>
  (await member.messages(user)).map((row) => `${row.mailbox}: ${row['hdr.subject']}`).sort();

const run = (member: Member, command: string, parameters: Record<string, string | boolean | string[]>) =>
  member.doveadm.run(command, parameters);

const checks: Record<string, (world: World) => Promise<void>> = {
  'a first sync brings messages, flags, keywords and folders': async (world) => {
    const { a, b, user } = world;
    for (const n of [1, 2, 3]) assert.match(await a.deliver(user, message(`${n}`)), /^250 /);
    await run(a, 'mailboxCreate', { user, mailbox: ['Work', 'Work/Old', 'Empty'] });
    await run(a, 'copy', { user, destinationMailbox: 'Work/Old', query: ['subject', '1'] });
    await run(a, 'flagsAdd', {
      user,
      flag: ['\\Seen', '\\Flagged', '$Important'],
      query: ['mailbox', 'INBOX', 'subject', '2'],
    });
    await run(a, 'mailboxSubscribe', { user, mailbox: ['Work/Old'] });
    await synced(a, user);
    await assertEqual(world);
    assert.deepEqual(await subjects(b, user), ['INBOX: 1', 'INBOX: 2', 'INBOX: 3', 'Work/Old: 1']);
    const flags = (await b.messages(user)).find((row) => row['hdr.subject'] === '2')?.flags ?? '';
    for (const flag of ['\\Seen', '\\Flagged', '$Important']) assert.ok(flags.includes(flag), flags);
    const names = (await run(b, 'mailboxList', { user, subscriptions: true })).map((row) => row.mailbox);
    assert.ok(names.includes('Work/Old'), names.join());
  },

  'changes on both sides meet, by the saved state; what was expunged stays away': async (world) => {
    const { a, b, user } = world;
    for (const n of [1, 2, 3, 4]) await a.deliver(user, message(`${n}`));
    let { state } = await synced(a, user);
    await run(a, 'expunge', { user, query: ['mailbox', 'INBOX', 'subject', '1'] });
    await run(b, 'expunge', { user, query: ['mailbox', 'INBOX', 'subject', '2'] });
    await run(b, 'flagsAdd', { user, flag: ['\\Answered'], query: ['mailbox', 'INBOX', 'subject', '3'] });
    await a.deliver(user, message('new at a'));
    await b.deliver(user, message('new at b'));
    await run(b, 'mailboxCreate', { user, mailbox: ['At b'] });
    await run(b, 'move', { user, destinationMailbox: 'At b', query: ['mailbox', 'INBOX', 'subject', '4'] });
    ({ state } = await synced(a, user, { state }));
    ({ state } = await synced(a, user, { state }));
    await assertEqual(world);
    assert.deepEqual(await subjects(a, user), ['At b: 4', 'INBOX: 3', 'INBOX: new at a', 'INBOX: new at b']);
    await run(a, 'mailboxRename', { user, mailbox: 'At b', newName: 'Below/Renamed' });
    ({ state } = await synced(a, user, { state }));
    await assertEqual(world);
    assert.ok((await subjects(b, user)).includes('Below/Renamed: 4'));
    await run(a, 'mailboxDelete', { user, mailbox: ['Below/Renamed'], unsafe: true });
    await synced(a, user, { state });
    await assertEqual(world);
    assert.deepEqual(await subjects(b, user), ['INBOX: 3', 'INBOX: new at a', 'INBOX: new at b']);
  },

  'divergence with equal counters is seen by a full sync, and by inventories': async (world) => {
    const { a, b, user } = world;
    await a.deliver(user, message('common'));
    await synced(a, user);
    await a.deliver(user, message('at a'));
    await b.deliver(user, message('at b'));
    assert.notDeepEqual(await inventory(a, user), await inventory(b, user));
    await synced(a, user, { full: true });
    await assertEqual(world);
    assert.deepEqual(await subjects(b, user), ['INBOX: at a', 'INBOX: at b', 'INBOX: common']);
  },

  'after a gap no UID means two messages': async (world) => {
    const { shard, a, b, user } = world;
    await a.deliver(user, message('1'));
    await synced(a, user);
    // the primary takes two more, and is lost before it tells
    await a.deliver(user, message('lost 1'));
    await a.deliver(user, message('lost 2'));
    const seen = new Map((await a.messages(user)).map((row) => [row.uid, row.guid]));
    const epoch = a.state.epoch + 1;
    shard.primary(b, epoch, 'failover');
    const before = await run(b, 'mailboxStatus', { user, field: ['uidnext', 'highestmodseq'], mailboxMask: ['INBOX'] });
    assert.deepEqual((await b.ask('POST', '/v1/gap', { user })).body, { ok: true, raised: true });
    assert.deepEqual((await b.ask('POST', '/v1/gap', { user })).body, { ok: true, raised: false });
    assert.equal(
      fileOf(b, 'mailboxes', (directory[user] ?? '').slice(0, 2), directory[user] ?? '', '.epoch'),
      `${epoch}\n`,
    );
    const after = await run(b, 'mailboxStatus', { user, field: ['uidnext', 'highestmodseq'], mailboxMask: ['INBOX'] });
    assert.equal(Number(after[0]?.uidnext), Number(before[0]?.uidnext) + 10_000);
    assert.ok(Number(after[0]?.highestmodseq) >= Number(before[0]?.highestmodseq) + 1_000_000);
    await b.deliver(user, message('new'));
    const [fresh] = (await b.messages(user)).filter((row) => row['hdr.subject'] === 'new');
    assert.ok(Number(fresh?.uid) > 10_000);
    for (const row of await b.messages(user)) assert.ok((seen.get(row.uid ?? '') ?? row.guid) === row.guid);
    await synced(b, user, { full: true });
    await assertEqual(world);
    assert.deepEqual(await subjects(b, user), ['INBOX: 1', 'INBOX: lost 1', 'INBOX: lost 2', 'INBOX: new']);
    // what a client of the old primary, or of the new one, has in its cache is still true
    const merged = await b.messages(user);
    for (const row of merged) assert.ok((seen.get(row.uid ?? '') ?? row.guid) === row.guid, JSON.stringify(merged));
    assert.equal(merged.find((row) => row.guid === fresh?.guid)?.uid, fresh?.uid);
  },

  'a gap is made once an epoch, and none without a failover': async ({ shard, b, user }) => {
    await b.deliver(user, message('1'));
    const uidnext = async (): Promise<number> =>
      Number((await run(b, 'mailboxStatus', { user, field: ['uidnext'], mailboxMask: ['INBOX'] }))[0]?.uidnext);
    const epoch = b.state.epoch + 1;
    shard.primary(b, epoch, 'planned');
    await b.ask('POST', '/v1/gap', { user });
    assert.equal(await uidnext(), 2);
    shard.primary(b, epoch + 1, 'failover');
    await b.ask('POST', '/v1/gap', { user });
    shard.primary(b, epoch + 2, 'failover');
    await b.ask('POST', '/v1/gap', { user });
    assert.equal(await uidnext(), 20_002);
  },

  'somebody who has never had mail needs no care': async ({ shard, b, user }) => {
    shard.primary(b, b.state.epoch + 1, 'failover');
    assert.deepEqual((await b.ask('POST', '/v1/gap', { user })).body, { ok: true, raised: true });
    assert.deepEqual((await b.ask('POST', '/v1/search', { user, delivery: idOf('x') })).body, { found: false });
    assert.deepEqual((await b.ask('POST', '/v1/dedupe', { user })).body, { removed: 0 });
    assert.match(await b.deliver(user, message('first')), /^250 /);
  },

  'a message whose file is lost at a replica stays at the primary, and comes again': async (world) => {
    const { a, b, user } = world;
    for (const n of [1, 2, 3]) await a.deliver(user, message(`${n}`));
    const { state } = await synced(a, user);
    const mailbox = directory[user] ?? '';
    const files = join(b.root, 'mailboxes', mailbox.slice(0, 2), mailbox, 'mail/mailboxes/INBOX/dbox-Mails');
    const lost = readdirSync(files).find((name) => /^u\.2$/.test(name));
    assert.ok(lost, readdirSync(files).join());
    unlinkSync(join(files, lost));
    // doveadm itself ends in the middle of its answer: nothing of it is believed
    assert.equal((await b.ask('POST', '/v1/inventory', { user })).status, 503);
    await a.deliver(user, message('4'));
    await sync(a, user, { state });
    for (const _ of [1, 2]) assert.equal((await sync(a, user, { full: true })).ok, false);
    const all = ['INBOX: 1', 'INBOX: 2', 'INBOX: 3', 'INBOX: 4'];
    assert.deepEqual(await subjects(a, user), all);
    const reset = async (): Promise<unknown> =>
      (await a.ask('POST', '/v1/peers/1/reset', { user, uuid: mailbox })).body;
    assert.deepEqual(await reset(), { reset: true });
    await synced(a, user, { full: true });
    assert.deepEqual(await subjects(a, user), all);
    assert.deepEqual(await subjects(b, user), all);
    await assertEqual(world);
    assert.deepEqual(await reset(), { reset: false });
  },

  'a message whose file is lost at the primary stays at the replica': async ({ a, b, user }) => {
    for (const n of [1, 2, 3]) await a.deliver(user, message(`${n}`));
    const { state } = await synced(a, user);
    const mailbox = directory[user] ?? '';
    unlinkSync(join(a.root, 'mailboxes', mailbox.slice(0, 2), mailbox, 'mail/mailboxes/INBOX/dbox-Mails/u.2'));
    // whoever reads it notices
    await run(a, 'fetch', { user, field: ['body'], query: ['mailbox', 'INBOX', 'subject', '2'] }).catch(
      () => undefined,
    );
    await sync(a, user, { state });
    await sync(a, user, { full: true });
    assert.deepEqual(await subjects(b, user), ['INBOX: 1', 'INBOX: 2', 'INBOX: 3']);
  },

  'a delivery is found by its id, in whatever folder, and no other': async ({ a, user }) => {
    const content = message('found');
    await a.deliver(user, identified(content));
    await run(a, 'mailboxCreate', { user, mailbox: ['Kept'] });
    const found = async (id: string): Promise<unknown> =>
      (await a.ask('POST', '/v1/search', { user, delivery: id })).body;
    assert.deepEqual(await found(idOf(content)), { found: true });
    await run(a, 'move', { user, destinationMailbox: 'Kept', query: ['mailbox', 'INBOX', 'all'] });
    assert.deepEqual(await found(idOf(content)), { found: true });
    assert.deepEqual(await found(idOf('another')), { found: false });
    await run(a, 'expunge', { user, query: ['mailbox', 'Kept', 'all'] });
    assert.deepEqual(await found(idOf(content)), { found: false });
  },

  'two deliveries of one message become one; copies that people made stay': async (world) => {
    const { a, b, user } = world;
    const content = message('twice');
    await a.deliver(user, identified(content));
    await b.deliver(user, identified(content));
    await a.deliver(user, identified(message('once')));
    await run(b, 'mailboxCreate', { user, mailbox: ['Kept'] });
    await run(b, 'copy', { user, destinationMailbox: 'Kept', query: ['mailbox', 'INBOX', 'subject', 'twice'] });
    await synced(a, user, { full: true });
    assert.deepEqual(await subjects(a, user), ['INBOX: once', 'INBOX: twice', 'INBOX: twice', 'Kept: twice']);
    assert.deepEqual((await a.ask('POST', '/v1/dedupe', { user })).body, { removed: 1 });
    assert.deepEqual(await subjects(a, user), ['INBOX: once', 'INBOX: twice', 'Kept: twice']);
    assert.equal(
      new Set((await a.messages(user)).filter((row) => row['hdr.subject'] === 'twice').map((row) => row.guid)).size,
      1,
    );
    assert.deepEqual((await a.ask('POST', '/v1/dedupe', { user })).body, { removed: 0 });
    await synced(a, user, { full: true });
    await assertEqual(world);
  },

  'the journal is replayed at a promotion, once': async ({ shard, a, b, user, client }) => {
    const mailbox = directory[user] ?? '';
    const [first, second] = [message('journalled'), message('there already')];
    const put = async (content: string, epoch: number, of = mailbox): Promise<number> => {
      const headers = {
        'x-shard': 'a',
        'x-epoch': String(epoch),
        'x-recipient': user,
        'x-sender': 'eve%40outside.example',
      };
      const path = `/v1/journal/${of}/${idOf(content)}`;
      const peer = { host: 'localhost', port: b.peerPort };
      return (await client.request(peer, { method: 'PUT', path, headers, body: Buffer.from(content), timeoutMs: 5000 }))
        .status;
    };
    const epoch = a.state.epoch;
    assert.equal(await put(first, epoch), 201);
    assert.equal(await put(second, epoch), 201);
    const gone = uuid(99);
    assert.equal(await put(message('of a mailbox that is gone'), epoch, gone), 201);
    await a.deliver(user, identified(second));
    await synced(a, user);
    assert.equal(await put(first, epoch - 1), 409);
    shard.primary(b, epoch + 1, 'failover');
    b.state = { ...b.state, role: 'opening' };
    await b.mail.replay(epoch + 1, b.mode.controller.signal);
    assert.deepEqual(await subjects(b, user), ['INBOX: journalled', 'INBOX: there already']);
    assert.equal(await put(message('late'), epoch), 409);
    await b.mail.replay(epoch + 1, b.mode.controller.signal);
    assert.equal((await b.messages(user)).length, 2);
    const left = readdirSync(join(b.root, 'journal', gone.slice(0, 2), gone));
    assert.equal(left.length, 1);
    assert.deepEqual(readdirSync(join(b.root, 'journal', mailbox.slice(0, 2), mailbox)), []);
  },

  'a peer’s journal is replayed by the new primary, and purged by its syncs': async ({ shard, a, b, user, client }) => {
    const mailbox = directory[user] ?? '';
    const epoch = a.state.epoch;
    const content = message('at the peer');
    const headers = { 'x-shard': 'a', 'x-epoch': String(epoch), 'x-recipient': user, 'x-sender': '' };
    const peer = { host: 'localhost', port: b.peerPort };
    const path = `/v1/journal/${mailbox}/${idOf(content)}`;
    await client.request(peer, { method: 'PUT', path, headers, body: Buffer.from(content), timeoutMs: 5000 });
    const entries = async (): Promise<number> =>
      ((await a.ask('GET', '/v1/peers/1/journal')).body as { entries: number }).entries;
    const before = await entries();
    // the primary restarts: a new epoch, and the entry is of an earlier one
    shard.primary(a, epoch + 1, 'failover');
    const { purged } = await synced(a, user, { uuid: mailbox });
    assert.equal(purged, 0);
    assert.equal(await entries(), before);
    await a.mail.replay(epoch + 1, a.mode.controller.signal);
    assert.deepEqual(await subjects(a, user), ['INBOX: at the peer']);
    const again = await synced(a, user, { uuid: mailbox });
    assert.equal(again.purged, 1);
    assert.equal(await entries(), before - 1);
    assert.deepEqual(await subjects(b, user), ['INBOX: at the peer']);
  },

  'what was removed after its replay does not come back with the old primary': async (world) => {
    const { shard, a, b, user, client } = world;
    const mailbox = directory[user] ?? '';
    const epoch = a.state.epoch;
    const contents = ['removed', 'removed, but kept there', 'kept'].map((subject) => message(subject));
    for (const content of contents) {
      await a.deliver(user, identified(content));
      const headers = { 'x-shard': 'a', 'x-epoch': String(epoch), 'x-recipient': user, 'x-sender': '' };
      const path = `/v1/journal/${mailbox}/${idOf(content)}`;
      const peer = { host: 'localhost', port: b.peerPort };
      await client.request(peer, { method: 'PUT', path, headers, body: Buffer.from(content), timeoutMs: 5000 });
    }
    await run(a, 'mailboxCreate', { user, mailbox: ['Archive'] });
    await run(a, 'move', { user, destinationMailbox: 'Archive', query: ['mailbox', 'INBOX', 'subject', 'kept there'] });
    // a is lost before anything is synced; b replays, and the person removes two of three
    shard.primary(b, epoch + 1, 'failover');
    await b.mail.replay(epoch + 1, b.mode.controller.signal);
    assert.equal((await b.messages(user)).length, 3);
    await run(b, 'expunge', { user, query: ['mailbox', 'INBOX', 'subject', 'removed'] });
    // a comes back
    await synced(b, user, { full: true });
    assert.equal((await b.messages(user)).length, 4);
    assert.deepEqual((await b.ask('POST', '/v1/dedupe', { user, uuid: mailbox })).body, { removed: 2 });
    await synced(b, user, { full: true });
    await assertEqual(world);
    assert.deepEqual(await subjects(a, user), ['Archive: removed, but kept there', 'INBOX: kept']);
  },

  'nobody but a store of the epoch gets in': async ({ shard, a, b, user }) => {
    const peer = { host: 'localhost', port: b.peerPort };
    const epoch = a.state.epoch;
    const dsync = async (client: PeerClient, of: number): Promise<void> => {
      const stream = await client.upgrade(peer, 'dsync', {
        path: '/v1/dsync',
        headers: { 'x-shard': 'a', 'x-epoch': String(of) },
        timeoutMs: 3000,
      });
      stream.destroy();
    };
    const as = async (authority: Shard['authority'], cn: string): Promise<PeerClient> => {
      const { cert, key } = await authority.issue({ cn });
      return createPeerClient({ ca: shard.authority.cert, cert, key });
    };
    const { createAuthority } = await import('../../../operator/runtime/testing/certificates.js');
    const store = await as(shard.authority, 'posthorn_store');
    const state = { method: 'GET', path: '/v1/state', timeoutMs: 3000 } as const;
    assert.equal((await store.request(peer, state)).status, 200);
    await dsync(store, epoch);
    const mx = await as(shard.authority, 'posthorn_mx');
    assert.equal((await mx.request(peer, state)).status, 403);
    await assert.rejects(dsync(mx, epoch), /403/);
    const stranger = await as(await createAuthority(), 'posthorn_store');
    await assert.rejects(stranger.request(peer, state));
    await assert.rejects(dsync(stranger, epoch));
    const nobody = createPeerClient({ ca: shard.authority.cert, cert: '', key: '' });
    await assert.rejects(nobody.request(peer, state));
    await assert.rejects(dsync(store, epoch - 1), /409/);
    await assert.rejects(dsync({ ...store }, Number.NaN), /400/);
    // the primary is nobody's destination
    await assert.rejects(
      store.upgrade({ host: 'localhost', port: a.peerPort }, 'dsync', {
        path: '/',
        headers: { 'x-shard': 'a', 'x-epoch': String(epoch) },
        timeoutMs: 3000,
      }),
      /409/,
    );
    const denied = await sync(a, user, { peer: undefined, host: 'localhost', port: b.peerPort, epoch });
    assert.equal(denied.ok, false);
    assert.match(denied.error, /answers 409/);
    for (const client of [store, mx, stranger, nobody]) client.close();
  },

  'a sync ends with the role, on both sides': async ({ shard, a, b, user, client }) => {
    const peer = { host: 'localhost', port: b.peerPort };
    const open = () =>
      client.upgrade(peer, 'dsync', {
        path: '/v1/dsync',
        headers: { 'x-shard': 'a', 'x-epoch': String(a.state.epoch) },
        timeoutMs: 3000,
      });
    const ended = async (stream: Awaited<ReturnType<typeof open>>): Promise<void> => {
      stream.resume();
      await new Promise<void>((resolve, reject) => {
        stream.once('close', () => resolve());
        stream.once('error', () => resolve());
        setTimeout(() => reject(new Error('it goes on')), 3000).unref();
      });
    };
    const first = await open();
    b.mode.controller.abort();
    await ended(first);
    b.mode.controller = new AbortController();
    const second = await open();
    // b hears of a later epoch
    b.known += 1;
    await ended(second);
    shard.primary(a, b.known);
    const { ok } = await sync(a, user);
    assert.equal(ok, true);
    a.mode.controller.abort();
    assert.equal((await sync(a, user)).ok, false);
    a.mode.controller = new AbortController();
    a.state = { ...a.state, role: 'replica' };
    assert.equal((await a.ask('POST', '/v1/sync', { user, peer: 1 })).status, 409);
  },

  'Sieve scripts are copied as they are, and removed': async ({ a, b, user }) => {
    const mailbox = directory[user] ?? '';
    const home = (member: Member): string => join(member.root, 'mailboxes', mailbox.slice(0, 2), mailbox);
    mkdirSync(join(home(a), 'sieve'), { recursive: true });
    writeFileSync(join(home(a), 'sieve/one.sieve'), 'keep;\n');
    writeFileSync(join(home(a), 'sieve/two.sieve'), 'discard;\n');
    symlinkSync('sieve/one.sieve', join(home(a), '.dovecot.sieve'));
    const copy = async (): Promise<void> => {
      const { body } = await a.ask('GET', `/v1/sieve?uuid=${mailbox}`);
      assert.deepEqual((await a.ask('POST', '/v1/peers/1/sieve', { uuid: mailbox, ...(body as object) })).body, {
        ok: true,
      });
      assert.deepEqual((await b.ask('GET', `/v1/sieve?uuid=${mailbox}`)).body, body);
    };
    await copy();
    assert.equal(readlinkSync(join(home(b), '.dovecot.sieve')), 'sieve/one.sieve');
    const { rmSync } = await import('node:fs');
    rmSync(join(home(a), 'sieve/one.sieve'));
    rmSync(join(home(a), '.dovecot.sieve'));
    await copy();
    const evil = { uuid: mailbox, files: [{ name: '../../x.sieve', mtime: 0, base64: '' }], active: '' };
    assert.notEqual((await a.ask('POST', '/v1/peers/1/sieve', evil)).status, 200);
    const elsewhere = { uuid: '../../../tmp', files: [], active: '' };
    assert.notEqual((await a.ask('POST', '/v1/peers/1/sieve', elsewhere)).status, 200);
  },

  'a handover’s last syncs tell who is not done': async (world) => {
    const { a, b, user } = world;
    await a.deliver(user, message('last'));
    const peer = a.state.peers[0];
    assert.ok(peer);
    const left = await a.mail.finalSync([user, 'nobody@example.org'], peer, a.mode.controller.signal);
    assert.deepEqual(left, ['nobody@example.org']);
    assert.deepEqual(await subjects(b, user), ['INBOX: last']);
    await assertEqual(world);
  },

  'sessions of a person are ended': async ({ a, user }) => {
    const socket = connect(a.imapPort, '127.0.0.1');
    let said = '';
    socket.on('data', (chunk: Buffer) => {
      said += String(chunk);
    });
    const until = async (pattern: RegExp): Promise<void> => {
      for (const end = Date.now() + 5000; !pattern.test(said); await sleep(50)) assert.ok(Date.now() < end, said);
    };
    await until(/OK/);
    socket.write(`1 LOGIN ${user} the-shards-secret\r\n2 SELECT INBOX\r\n`);
    await until(/2 OK/);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    assert.deepEqual((await a.ask('POST', '/v1/kick', { user })).body, { ok: true });
    await Promise.race([closed, sleep(3000).then(() => assert.fail('the session goes on'))]);
    assert.deepEqual((await a.ask('POST', '/v1/kick', { user })).body, { ok: true });
  },
};

const words = process.argv.slice(2);
const shard = await startShard(directory);
const client = createPeerClient(shard.tls);
let [passed, failed, used] = [0, 0, 0];
try {
  for (const [name, check] of Object.entries(checks)) {
    if (!words.every((word) => name.includes(word))) continue;
    const [a, b] = shard.members;
    shard.primary(a, Math.max(a.known, b.known) + 1, 'planned');
    const user = PEOPLE[used++ % PEOPLE.length] ?? '';
    const started = Date.now();
    try {
      await check({ shard, a, b, user, client });
      passed++;
      console.log(`ok      ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}\n${error instanceof Error ? error.stack : String(error)}`);
      if (words.length > 0)
        for (const member of shard.members) console.log(`member ${member.number}:\n${member.logs()}`);
    }
  }
} finally {
  client.close();
  await shard.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

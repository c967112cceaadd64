import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLmtpClient, type LmtpClient } from '../lib/lmtp/client.js';
import { formatReply } from '../lib/lmtp/reply.js';
import { startWorld, type World } from './testing/world.js';

let world: World;
const clients: LmtpClient[] = [];

beforeEach(async () => {
  world = await startWorld();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await world.close();
});

const AMY = 'amy@example.org';
const BOB = 'bob@example.org';
const received = (at = Date.now()): string =>
  `Received: from x by mx with ESMTPS id 4c; ${new Date(at).toUTCString()}\r\n`;
const NOW = Buffer.from(`${received()}Subject: x\r\n\r\nbody\r\n`);
const idOf = (content: Buffer): string => createHash('sha256').update(content).digest('hex');

/** Hands a message to the deposit as the mx does; the answers, one per recipient. */
async function send(recipients: string[], content = NOW, more: { utf8?: boolean; eightBit?: boolean } = {}) {
  const client = createLmtpClient({ port: world.server().port, name: 'mx' });
  clients.push(client);
  const outcomes = await client.deliver(
    { sender: 'eve@outside.example', recipients, content: [content], ...more },
    10_000,
  );
  return outcomes.map(({ reply }) => formatReply(reply).trim());
}

const kept = (peer: number): string[] => [...(world.peers[peer]?.kept.keys() ?? [])].sort();

describe('a message', () => {
  it('is acknowledged when the primary and a peer have it', async () => {
    expect(await send([AMY, BOB])).toEqual([`250 2.0.0 <${AMY}> stored`, `250 2.0.0 <${BOB}> stored`]);
    const id = idOf(NOW);
    const expected = Buffer.concat([Buffer.from(`X-Delivery-Id: ${id}\r\n`), NOW]);
    expect(world.primary.stored).toEqual([
      { to: AMY, from: 'eve@outside.example', content: expected },
      { to: BOB, from: 'eve@outside.example', content: expected },
    ]);
    expect(kept(0)).toEqual([`uuid-amy/${id}`, `uuid-bob/${id}`]);
    expect(world.peers[0]?.kept.get(`uuid-amy/${id}`)).toEqual({
      epoch: '7',
      recipient: AMY,
      sender: 'eve@outside.example',
      content: NOW,
    });
    expect(kept(1)).toEqual([]);
    expect(world.searches).toEqual([]);
    expect(world.results).toEqual(['replicated', 'replicated']);
  });

  it.each([
    ['dots', Buffer.from('.\r\n..\r\n.a\r\n\r\n...\r\n.\r\n')],
    ['eight bits, NUL and a lone CR', Buffer.from('a: \u00e9\r\n\r\n\u00ff\u0000\r \r\n', 'latin1')],
    ['nothing', Buffer.alloc(0)],
    ['a line of 100,000 octets', Buffer.from(`${'x'.repeat(100_000)}\r\n`)],
  ])('keeps its octets: %s', async (_name, octets) => {
    const content = Buffer.concat([Buffer.from(received()), octets]);
    expect((await send([AMY], content))[0]).toMatch(/^250 /);
    const stored = world.primary.stored[0]?.content;
    expect(stored?.subarray(stored.indexOf('\r\n') + 2).equals(content)).toBe(true);
    expect([...(world.peers[0]?.kept.values() ?? [])][0]?.content.equals(content)).toBe(true);
  });

  it('of 25 MB comes through whole, and one that is too large is refused', async () => {
    const lines = Buffer.alloc(25 * 1024 * 1024, `${'x'.repeat(5_000)}\r\n.line\r\n`);
    const content = Buffer.concat([Buffer.from(`${received()}\r\n`), lines, Buffer.from('\r\n')]);
    expect((await send([AMY], content))[0]).toMatch(/^250 /);
    const stored = world.primary.stored[0]?.content;
    expect(stored?.subarray(stored.indexOf('\r\n') + 2).equals(content)).toBe(true);
    expect((await send([AMY], Buffer.alloc(33_000_000, 'x\r\n')))[0]).toBe('552 5.3.4 the message is too large');
    expect(world.server().held()).toBe(0);
  });

  it('takes SMTPUTF8 and 8BITMIME along', async () => {
    const address = Buffer.from('ámy@example.org').toString('latin1');
    world.mailboxes[address] = 'uuid-amy';
    const [answer] = await send([address], NOW, { utf8: true, eightBit: true });
    expect(answer).toMatch(/^250 /);
    expect(world.primary.parameters).toEqual({ SMTPUTF8: true, BODY: '8BITMIME' });
    expect(Buffer.from(world.primary.stored[0]?.to ?? '').toString()).toBe('ámy@example.org');
  });

  it('comes from another program as well', async () => {
    const client = new SMTPConnection({ host: '127.0.0.1', port: world.server().port, lmtp: true, ignoreTLS: true });
    await new Promise<void>((resolve) => client.connect(() => resolve()));
    const info = await new Promise((resolve) =>
      client.send({ from: 'eve@outside.example', to: [AMY, 'nobody@example.org'] }, NOW, (error, done) =>
        resolve(done ?? error),
      ),
    );
    client.close();
    expect(info).toMatchObject({ accepted: [AMY], rejected: ['nobody@example.org'] });
  });

  it('for several addresses of one mailbox is stored once', async () => {
    expect(await send([AMY, 'amy+x@example.org', AMY])).toEqual(Array(3).fill(`250 2.0.0 <${AMY}> stored`));
    expect(world.primary.stored).toHaveLength(1);
  });

  it('for a detail is looked after under the mailbox’s own address', async () => {
    world.mailboxes['AMY+x@example.org'] = 'uuid-amy';
    expect((await send(['AMY+x@example.org']))[0]).toMatch(/^250 /);
    expect(world.gaps).toEqual([AMY]);
    expect(world.primary.stored[0]?.to).toBe('AMY+x@example.org');
  });

  it('costs no handshake when there was one before', async () => {
    for (let n = 0; n < 20; n += 1) await send([AMY], Buffer.from(`${received()}N: ${n}\r\n\r\n`));
    expect(world.peers[0]?.handshakes()).toBe(1);
    expect(world.primary.connections()).toBe(1);
  });
});

describe('what the primary says', () => {
  it('is passed on to each recipient exactly, and nothing is written to the journal', async () => {
    world.primary.refuses[BOB] = { code: 550, text: '5.1.1 no such user' };
    world.primary.answers[AMY] = {
      code: 552,
      text: '5.2.2 <amy@example.org> Quota exceeded (mailbox for user is full)',
    };
    world.mailboxes['cat@example.org'] = 'uuid-cat';
    world.primary.answers['cat@example.org'] = { code: 451, text: '4.2.0 try later' };
    world.mailboxes['dan@example.org'] = 'uuid-dan';
    expect(await send([AMY, BOB, 'cat@example.org', 'dan@example.org'])).toEqual([
      '552 5.2.2 <amy@example.org> Quota exceeded (mailbox for user is full)',
      '550 5.1.1 no such user',
      '451 4.2.0 try later',
      '250 2.0.0 <dan@example.org> stored',
    ]);
    expect(kept(0)).toEqual([`uuid-dan/${idOf(NOW)}`]);
    world.primary.answers = {};
    expect((await send([AMY]))[0]).toMatch(/^250 /);
  });

  it('is "not now" when it is not there, or when no recipient is left', async () => {
    world.primary.refuses[AMY] = { code: 452, text: '4.2.2 full for now' };
    expect(await send([AMY])).toEqual(['452 4.2.2 full for now']);
    world.primary.refuses = {};
    await world.primary.close();
    expect((await send([AMY]))[0]).toMatch(/^451 4\.3\.0 the mailbox's server does not answer/);
  });

  it('is waited for, but not for ever', async () => {
    world.options.timeoutMs = 1_500;
    await world.restart();
    world.primary.answers[AMY] = 'hang';
    const started = Date.now();
    expect((await send([AMY]))[0]).toMatch(/^451 /);
    expect(Date.now() - started).toBeLessThan(1_500);
  });
});

describe('a message that was stored, but not answered', () => {
  it('is looked for before it is stored again', async () => {
    world.primary.answers[AMY] = 'store-and-drop';
    expect((await send([AMY]))[0]).toMatch(/^451 /);
    expect(kept(0)).toEqual([]);
    world.primary.answers = {};
    expect(await send([AMY])).toEqual(['250 2.0.0 the mailbox has this message']);
    expect(world.searches).toEqual([AMY]);
    expect(world.primary.stored).toHaveLength(1);
    expect(kept(0)).toHaveLength(1);
  });

  it('is stored when it is not found', async () => {
    world.primary.answers[AMY] = 'drop';
    expect((await send([AMY]))[0]).toMatch(/^451 /);
    world.primary.answers = {};
    expect((await send([AMY]))[0]).toMatch(/^250 /);
    expect(world.primary.stored).toHaveLength(1);
  });

  it('waits when nobody can look', async () => {
    world.primary.answers[AMY] = 'store-and-drop';
    await send([AMY]);
    world.primary.answers = {};
    world.silent = true;
    expect((await send([AMY]))[0]).toMatch(/^451 4\.3\.0 it is not clear/);
    expect(world.primary.stored).toHaveLength(1);
  });
});

describe('the journal', () => {
  const down = (...modes: (number | 'hang' | 'reset')[]): void => {
    modes.forEach((mode, n) => {
      const peer = world.peers[n];
      if (peer) peer.mode = mode;
    });
  };

  it.each([
    ['is gone', 'reset' as const],
    ['hangs', 'hang' as const],
    ['is of a later epoch', 409],
    ['has no space', 507],
  ])('is another peer’s when one %s', async (_name, mode) => {
    down(mode);
    expect((await send([AMY]))[0]).toMatch(/^250 /);
    expect(kept(0)).toEqual([]);
    expect(kept(1)).toHaveLength(1);
  });

  it('leaves a peer alone that has just failed', async () => {
    down('hang');
    await send([AMY]);
    const started = Date.now();
    await send([BOB]);
    expect(Date.now() - started).toBeLessThan(350);
  });

  it('failing means 451; tried again, nothing is stored twice', async () => {
    down('reset', 'reset');
    expect(await send([AMY])).toEqual(['451 4.3.0 no second copy could be made']);
    expect(await send([AMY])).toEqual(['451 4.3.0 no second copy could be made']);
    down(201, 201);
    expect(await send([AMY])).toEqual(['250 2.0.0 the mailbox has this message']);
    expect(world.primary.stored).toHaveLength(1);
    expect(kept(0).length + kept(1).length).toBe(1);
    expect(world.searches).toEqual([]);
  });

  it('failing, and the process started again: a search finds the copy', async () => {
    down('reset', 'reset');
    await send([AMY]);
    down(201, 201);
    await world.restart();
    expect(await send([AMY])).toEqual(['250 2.0.0 the mailbox has this message']);
    expect(world.searches).toEqual([AMY]);
    expect(world.primary.stored).toHaveLength(1);
  });

  it('is not needed with durability Primary', async () => {
    world.state.durability = 'Primary';
    expect((await send([AMY]))[0]).toMatch(/^250 /);
    expect(kept(0)).toEqual([]);
    expect(world.results).toEqual(['primary-only']);
  });

  it('without a replica is what is declared', async () => {
    world.state.peers = world.state.peers.map((peer) => ({ ...peer, seeded: false, inSync: false }));
    expect(await send([AMY])).toEqual(['451 4.3.0 no second copy could be made']);
    world.state.withoutReplica = 'Degrade';
    expect((await send([AMY]))[0]).toMatch(/^451 /);
    await sleep(600);
    expect((await send([AMY]))[0]).toMatch(/^250 /);
    expect(world.results).toEqual(['deferred', 'deferred', 'degraded']);
    expect(world.primary.stored).toHaveLength(1);
  });
});

describe('what is remembered', () => {
  it('spares a search; an older message is searched for', async () => {
    world.now = () => Date.now() - 3_600_000;
    await world.restart();
    world.now = Date.now;
    await send([AMY]);
    expect(world.searches).toEqual([]);
    await send([AMY], Buffer.from(`${received(Date.now() - 7_200_000)}\r\n`));
    await send([AMY], Buffer.from('Subject: without a date\r\n\r\n'));
    expect(world.searches).toEqual([AMY, AMY]);
  });

  it('is worth nothing for what came before another became primary', async () => {
    world.now = () => Date.now() - 3_600_000;
    await world.restart();
    world.state.openedAt = Date.now();
    await send([AMY]);
    expect(world.searches).toEqual([AMY]);
    expect(world.notes).toEqual([]);
    world.state.promotion = 'failover';
    await send([BOB]);
    expect(world.notes).toEqual([BOB]);
  });
});

describe('mail is put off', () => {
  it('where this store is not the primary, or its agent is silent', async () => {
    for (const role of ['stopped', 'replica', 'opening'] as const) {
      world.state.role = role;
      expect(await send([AMY])).toEqual(['451 4.3.2 this store does not take mail now']);
    }
    expect(world.primary.stored).toEqual([]);
  });

  it('for a mailbox that the directory does not know or cannot tell', async () => {
    world.mailboxes['down@example.org'] = 'down';
    expect(await send(['new@example.org', AMY, 'down@example.org'])).toEqual([
      '451 4.3.0 the mailbox is not known here yet',
      `250 2.0.0 <${AMY}> stored`,
      '451 4.3.0 the directory does not answer',
    ]);
  });

  it('when the address has got another mailbox while it was delivered', async () => {
    let asked = 0;
    world.options.mailboxOf = async () => {
      asked += 1;
      return asked === 1 ? 'uuid-amy' : 'uuid-of-another-amy';
    };
    await world.restart();
    expect(await send([AMY])).toEqual(['451 4.3.0 the mailbox is not known here yet']);
    expect(kept(0)).toEqual([]);
    expect(await send([AMY])).toEqual(['250 2.0.0 the mailbox has this message']);
    expect(world.searches.length).toBeGreaterThan(0);
    expect(kept(0)).toEqual([`uuid-of-another-amy/${idOf(NOW)}`]);
  });

  it('while the same message is under way', async () => {
    world.primary.answers[AMY] = 'hang';
    const first = send([AMY]);
    await sleep(100);
    expect(await send([AMY])).toEqual(['451 4.3.0 this message is being delivered']);
    await world.primary.close();
    expect((await first)[0]).toMatch(/^451 4\.3\.0 the mailbox's server does not answer: it says 421/);
  });
});

describe('a client', () => {
  it('that goes away in the middle of a message leaves nothing behind', async () => {
    const socket = connect(world.server().port, '127.0.0.1');
    socket.write(`LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<${AMY}>\r\nDATA\r\nSubject: half\r\n\r\nhalf of it\r\n`);
    await sleep(100);
    expect(world.server().held()).toBeGreaterThan(0);
    socket.destroy();
    await sleep(100);
    expect(world.server().held()).toBe(0);
    expect(world.primary.stored).toEqual([]);
    expect(kept(0)).toEqual([]);
  });

  it('cannot end a message with bare line feeds', async () => {
    const socket = connect(world.server().port, '127.0.0.1');
    socket.write(`LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<${AMY}>\r\nDATA\r\n`);
    socket.write(`${received()}\r\na\n.\nMAIL FROM:<x@y>\r\nb\n.\r\nc\r\n.\r\nQUIT\r\n`);
    let answers = '';
    for await (const chunk of socket) answers += String(chunk);
    expect(answers).toMatch(/354 [^\n]*\n250 2\.0\.0 <amy@example\.org> stored\r\n221 /);
    expect(world.primary.stored).toHaveLength(1);
    expect(world.primary.stored[0]?.content.toString()).toMatch(/\r\na\r\n\.\r\nMAIL FROM:<x@y>\r\nb\r\n\.\r\nc\r\n$/);
  });
});

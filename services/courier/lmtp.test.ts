import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { silentLog } from '../../operator/runtime/log.js';
import { type Authority, createAuthority, type Issued } from '../../operator/runtime/testing/certificates.js';
import { bounced, type Delivery, deferred, delivered, type Outcome } from './delivery.js';
import { type LmtpOptions, type LmtpServer, startLmtp } from './lmtp.js';

const uid = '0b0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11';
const token = (n: number) => `${uid}.${String(n).repeat(16)}`;
const address = (n: number) => `${token(n)}@courier.invalid`;
let authority: Authority;
let server: Issued;
let open: LmtpServer | undefined;
const connections: SMTPConnection[] = [];

beforeAll(async () => {
  authority = await createAuthority();
  server = await authority.issue({ cn: 'posthorn_courier', names: ['localhost'] });
});
afterEach(async () => {
  for (const connection of connections.splice(0)) connection.close();
  await open?.close();
  open = undefined;
});

async function start(deliver: LmtpOptions['deliver'], more: Partial<LmtpOptions> = {}): Promise<LmtpServer> {
  open = await startLmtp({
    port: 0,
    host: '127.0.0.1',
    name: 'courier',
    tls: { ca: authority.cert, cert: server.cert, key: server.key },
    client: 'posthorn_forward',
    messageSizeLimit: 1_000_000,
    deliver,
    log: silentLog,
    ...more,
  });
  return open;
}

/** As Postfix's lmtp(8) connects: TLS from the first byte, with a certificate. */
async function connect(port: number, identity?: Issued): Promise<SMTPConnection> {
  const connection = new SMTPConnection({
    host: 'localhost',
    port,
    secure: true,
    lmtp: true,
    tls: { ca: authority.cert, ...(identity === undefined ? {} : { cert: identity.cert, key: identity.key }) },
  });
  connections.push(connection);
  await new Promise<void>((resolve, reject) => {
    connection.once('error', reject);
    connection.connect((error) => (error ? reject(error) : resolve()));
  });
  connection.on('error', () => undefined);
  return connection;
}

interface Reply {
  accepted: string[];
  rejected: { recipient: string; code: number; text: string }[];
}

function send(connection: SMTPConnection, to: string[], message: Buffer | string): Promise<Reply> {
  return new Promise((resolve) => {
    connection.send({ from: 'amy@example.org', to }, message, (error, info) => {
      const errors = (info?.rejectedErrors ?? (error as { rejectedErrors?: unknown })?.rejectedErrors ?? [error]) as {
        recipient?: string;
        responseCode?: number;
        response?: string;
      }[];
      resolve({
        accepted: (info?.accepted ?? []) as string[],
        rejected: errors
          .filter((e) => e !== null && e !== undefined)
          .map((e) => ({ recipient: e.recipient ?? '', code: e.responseCode ?? 0, text: e.response ?? '' })),
      });
    });
  });
}

const forward = () => authority.issue({ cn: 'posthorn_forward' });

describe('LMTP', () => {
  it('answers each recipient by what became of its delivery', async () => {
    const seen: Delivery[] = [];
    const outcomes: Record<string, Outcome> = {
      [token(0)]: delivered('done'),
      [token(1)]: bounced('5.6.0', 'no'),
      [token(2)]: deferred('4.3.0', 'later'),
    };
    const { port } = await start(async (delivery) => {
      seen.push(delivery);
      return outcomes[delivery.token] as Outcome;
    });
    const message = 'Received: from a;\r\n Tue, 24 Nov 2026 13:00:00 +0000\r\nSubject: x\r\n\r\n.dots\r\n..\r\n';
    const { accepted, rejected } = await send(await connect(port, await forward()), [0, 1, 2].map(address), message);
    expect(accepted).toEqual([address(0)]);
    expect(rejected).toEqual([
      { recipient: address(1), code: 550, text: '550 5.6.0 no' },
      { recipient: address(2), code: 451, text: '451 4.3.0 later' },
    ]);
    expect(seen.map(({ message: raw }) => raw.toString('latin1'))).toEqual([message, message, message]);
    expect(seen[0]).toMatchObject({ sender: 'amy@example.org', queuedAt: new Date('2026-11-24T13:00:00Z') });
    expect(new Set(seen.map(({ id }) => id)).size).toBe(3);
  });

  it('gives the same message the same id when it comes again', async () => {
    const ids: string[] = [];
    const { port } = await start(async ({ id }) => {
      ids.push(id);
      return deferred('4.3.0', 'later');
    });
    const connection = await connect(port, await forward());
    for (const _ of [1, 2]) await send(connection, [address(0)], 'Subject: x\r\n\r\nx\r\n');
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(1);
  });

  it('is for the forward role only', async () => {
    const { port } = await start(async () => delivered('done'));
    await expect(connect(port)).rejects.toThrow();
    await expect(connect(port, await authority.issue({ cn: 'posthorn_mx' }))).rejects.toThrow(/only posthorn_forward/);
    const other = await createAuthority();
    await expect(connect(port, await other.issue({ cn: 'posthorn_forward' }))).rejects.toThrow();
  });

  it('takes what the release before wrote into its queues', async () => {
    const tokens: string[] = [];
    const { port } = await start(async (delivery) => {
      tokens.push(delivery.token);
      return delivered('done');
    });
    const old = [`${uid}.0@courier.invalid`, `${uid}.17@courier.invalid`];
    const { accepted } = await send(await connect(port, await forward()), old, 'x');
    expect(accepted).toEqual(old);
    expect(tokens).toEqual([`${uid}.0`, `${uid}.17`]);
  });

  it('takes no other address, and never as a bounce', async () => {
    const { port } = await start(async () => delivered('done'));
    const identity = await forward();
    for (const to of [
      'bob@example.org',
      'x.0@courier.invalid',
      `${uid}@courier.invalid`,
      `${uid}.0@example.org`,
      `${uid}.${'0'.repeat(15)}@courier.invalid`,
      `${uid}.${'g'.repeat(16)}@courier.invalid`,
    ]) {
      const { accepted, rejected } = await send(await connect(port, identity), [to], 'x');
      expect(accepted).toEqual([]);
      expect(rejected[0]?.code, to).toBe(450);
    }
  });

  it('refuses what is too large, and puts off what would take too much memory', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let begun: () => void = () => undefined;
    const first = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const { port } = await start(
      async () => {
        begun();
        await held;
        return delivered('done');
      },
      { memoryLimit: 600_000 },
    );
    const identity = await forward();
    const large = await send(await connect(port, identity), [address(0)], Buffer.alloc(1_200_000, 'x\r\n'));
    expect(large.rejected[0]?.text).toMatch(/^55\d 5\.3\.4/);
    const waiting = send(await connect(port, identity), [address(0)], Buffer.alloc(500_000, 'x\r\n'));
    await first;
    const busy = await send(await connect(port, identity), [address(1)], Buffer.alloc(400_000, 'x\r\n'));
    expect(busy.rejected[0]?.code).toBe(451);
    release();
    expect((await waiting).accepted).toEqual([address(0)]);
  });

  it('takes a new certificate without a restart', async () => {
    const lmtp = await start(async () => delivered('done'));
    const renewed = await createAuthority();
    const certificate = await renewed.issue({ cn: 'posthorn_courier', names: ['localhost'] });
    lmtp.setTls({ ca: renewed.cert, cert: certificate.cert, key: certificate.key });
    await expect(connect(lmtp.port, await forward())).rejects.toThrow();
    const old = authority;
    authority = renewed;
    try {
      const connection = await connect(lmtp.port, await renewed.issue({ cn: 'posthorn_forward' }));
      expect((await send(connection, [address(0)], 'x')).accepted).toHaveLength(1);
    } finally {
      authority = old;
    }
  });
});

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Authority, createAuthority } from '../../operator/runtime/testing/certificates.js';
import { createPeerClient, type PeerClient } from './peer.js';

let authority: Authority;
const open: { server: Server; client: PeerClient }[] = [];

beforeAll(async () => {
  authority = await createAuthority();
});
afterEach(async () => {
  for (const { server, client } of open.splice(0)) {
    client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function start(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  identity = { cn: 'posthorn_store', names: ['localhost'] },
) {
  const { cert, key } = await authority.issue(identity);
  const server = createServer({ cert, key, ca: authority.cert, requestCert: true }, answer);
  const sockets: Socket[] = [];
  let handshakes = 0;
  server.on('connection', (socket: Socket) => sockets.push(socket));
  server.on('secureConnection', () => {
    handshakes += 1;
  });
  server.on('upgrade', (_request, socket: Socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.pipe(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const own = await authority.issue({ cn: 'posthorn_store' });
  const client = createPeerClient({ ca: authority.cert, ...own });
  open.push({ server, client });
  const peer = { host: 'localhost', port: (server.address() as AddressInfo).port };
  return { server, client, peer, sockets, handshakes: () => handshakes };
}

const get = { method: 'GET', path: '/', timeoutMs: 2_000 } as const;
const ok = (request: IncomingMessage, response: ServerResponse): void => {
  request.resume();
  response.end('ok');
};

describe('requests to a peer', () => {
  it('share a connection, also when it has carried a refusal', async () => {
    const { client, peer, handshakes } = await start((request, response) => {
      request.resume();
      response.writeHead(request.url === '/no' ? 409 : 200).end();
    });
    for (const path of ['/', '/no', '/']) {
      const { status } = await client.request(peer, { ...get, method: 'PUT', path, body: Buffer.alloc(100_000) });
      expect(status).toBe(path === '/no' ? 409 : 200);
    }
    expect(handshakes()).toBe(1);
  });

  it('are made again on another connection when a kept one had ended', async () => {
    let asked = 0;
    const { client, peer, sockets, handshakes } = await start((request, response) => {
      asked += 1;
      if (asked === 2) request.socket.destroy();
      else ok(request, response);
    });
    expect((await client.request(peer, get)).status).toBe(200);
    expect((await client.request(peer, get)).status).toBe(200);
    expect(handshakes()).toBe(2);
    expect(sockets).toHaveLength(2);
    asked = 1;
    await expect(client.request(peer, { ...get, repeat: false })).rejects.toThrow();
  });

  it('end in time, and when they are no longer wanted', async () => {
    const { client, peer } = await start((request) => void request.resume());
    const started = Date.now();
    await expect(client.request(peer, { ...get, timeoutMs: 200 })).rejects.toThrow(/no answer within 200 ms/);
    const signal = AbortSignal.timeout(100);
    await expect(client.request(peer, { ...get, signal })).rejects.toThrow(/no longer wanted/);
    expect(Date.now() - started).toBeLessThan(1_500);
  });

  it('fail when the peer dies in the middle of its answer, also when it only stops', async () => {
    const half = (request: IncomingMessage, response: ServerResponse): void => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('half');
      if (request.url === '/dies') setTimeout(() => request.socket.destroy(), 50);
    };
    const { client, peer } = await start(half);
    await expect(client.request(peer, { ...get, path: '/dies' })).rejects.toThrow();
    await expect(client.request(peer, { ...get, timeoutMs: 300 })).rejects.toThrow(/within 300 ms/);
  });

  it('under way are not broken off by a new certificate', async () => {
    const { client, peer } = await start((request, response) => {
      request.resume();
      setTimeout(() => response.end('late'), 200);
    });
    const running = client.request(peer, get);
    await new Promise((resolve) => setTimeout(resolve, 100));
    client.setTls({ ca: authority.cert, ...(await authority.issue({ cn: 'posthorn_store' })) });
    expect((await running).body.toString()).toBe('late');
  });

  it.each([
    ['another role', { cn: 'posthorn_mx', names: ['localhost'] }, /is not a store/],
    ['another member', { cn: 'posthorn_store', names: ['elsewhere'] }, /altnames/],
  ])('go to no host with the certificate of %s', async (_name, identity, message) => {
    const { client, peer } = await start(ok, identity);
    await expect(client.request(peer, get)).rejects.toThrow(message);
    await expect(client.upgrade(peer, 'echo', get)).rejects.toThrow(message);
  });

  it('show a new certificate from when it is set', async () => {
    const { client, peer, handshakes } = await start((request, response) => {
      request.resume();
      response.end();
    });
    await client.request(peer, get);
    client.setTls({ ca: authority.cert, ...(await authority.issue({ cn: 'posthorn_store' })) });
    await client.request(peer, get);
    expect(handshakes()).toBe(2);
    const stranger = await createAuthority();
    client.setTls({ ca: stranger.cert, ...(await stranger.issue({ cn: 'posthorn_store' })) });
    await expect(client.request(peer, get)).rejects.toThrow();
  });
});

describe('a stream to a peer', () => {
  it('carries octets both ways, on a kept connection too', async () => {
    const { client, peer, handshakes } = await start(ok);
    await client.request(peer, get);
    const stream = await client.upgrade(peer, 'echo', get);
    stream.end('hello');
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    expect(text).toBe('hello');
    expect(handshakes()).toBe(1);
    expect((await client.request(peer, get)).status).toBe(200);
  });

  it('is refused with the status', async () => {
    const { client, peer, server } = await start(ok);
    server.removeAllListeners('upgrade');
    server.on('upgrade', (_request, socket: Socket) => {
      socket.end('HTTP/1.1 409 Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    });
    await expect(client.upgrade(peer, 'echo', get)).rejects.toThrow(/answers 409/);
  });
});

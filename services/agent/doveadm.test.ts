import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { connectDoveadm, type Doveadm, DoveadmError } from './doveadm.js';

const open: { server: Server; doveadm: Doveadm }[] = [];
afterEach(async () => {
  for (const { server, doveadm } of open.splice(0)) {
    doveadm.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Dovecot's API, as far as an answer goes. */
async function start(answer: (body: string, request: IncomingMessage, response: ServerResponse) => void) {
  const seen = { connections: 0, bodies: [] as string[], authorization: '' };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += String(chunk);
    });
    request.on('end', () => {
      seen.bodies.push(body);
      seen.authorization = request.headers.authorization ?? '';
      answer(body, request, response);
    });
  });
  server.on('connection', () => {
    seen.connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const doveadm = connectDoveadm({ port: (server.address() as AddressInfo).port, key: 'key' });
  open.push({ server, doveadm });
  return { doveadm, seen };
}

describe('doveadm', () => {
  it('is asked as it wants to be, on a connection that is kept', async () => {
    const { doveadm, seen } = await start((_body, _request, response) =>
      response.end('[["doveadmResponse",[{"uid":"1"},{"uid":"2"}],"0"]]'),
    );
    expect(await doveadm.run('search', { user: 'amy', query: ['all'] })).toEqual([{ uid: '1' }, { uid: '2' }]);
    await doveadm.run('search', { user: 'amy', query: ['all'] });
    expect(seen.bodies[0]).toBe('[["search",{"user":"amy","query":["all"]},"0"]]');
    expect(seen.authorization).toBe('X-Dovecot-API a2V5');
    expect(seen.connections).toBe(1);
  });

  it('says no with a code', async () => {
    const { doveadm } = await start((_body, _request, response) =>
      response.end('[["doveadmResponse",[],"0"],["error",{"type":"exitCode","exitCode":75},"1"]]'),
    );
    const commands = [1, 2].map(() => ['mailboxUpdate', { user: 'amy' }] as const);
    const error = await doveadm.runAll(commands).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(DoveadmError);
    expect(error).toMatchObject({ code: 75 });
    expect(await doveadm.runAll([])).toEqual([]);
  });

  it.each([
    [
      'ends in the middle',
      (_: string, request: IncomingMessage, response: ServerResponse) => {
        response.writeHead(200, { 'transfer-encoding': 'chunked' });
        response.write('[["doveadmResponse",[{"guid":"a"');
        setTimeout(() => request.socket.destroy(), 20);
      },
    ],
    ['is no JSON', (_: string, _request: IncomingMessage, response: ServerResponse) => response.end('[["doveadm')],
    ['is none', (_: string, request: IncomingMessage) => request.socket.destroy()],
    ['is a refusal', (_: string, _request: IncomingMessage, response: ServerResponse) => response.writeHead(401).end()],
  ])('is not believed when its answer %s', async (_name, answer) => {
    const { doveadm } = await start(answer as never);
    const error = await doveadm.run('fetch', { user: 'amy' }).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(DoveadmError);
  });

  it('is not waited for without end, nor when nobody wants to know any more', async () => {
    const { doveadm } = await start(() => undefined);
    await expect(doveadm.run('sync', {}, { timeoutMs: 100 })).rejects.toThrow(/in time/);
    await expect(doveadm.run('sync', {}, { signal: AbortSignal.timeout(100) })).rejects.toThrow();
  });

  it('is asked again, once, when a kept connection had ended', async () => {
    let asked = 0;
    const { doveadm, seen } = await start((_body, request, response) => {
      asked += 1;
      if (asked === 2) request.socket.destroy();
      else response.end('[["doveadmResponse",[],"0"]]');
    });
    await doveadm.run('who', {});
    expect(await doveadm.run('who', {})).toEqual([]);
    expect(seen.connections).toBe(2);
  });
});

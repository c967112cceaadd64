import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../operator/runtime/log.js';
import { BadRequest, type HttpOptions, type HttpServer, startHttp } from './http.js';

let server: HttpServer | undefined;

afterEach(async () => {
  await server?.close();
});

async function start(options: Partial<HttpOptions> = {}) {
  server = await startHttp({ host: '127.0.0.1', port: 0, registry: new Registry(), log: silentLog, ...options });
  const url = `http://127.0.0.1:${server.port}`;
  const call = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(url + path, init);
    return { status: response.status, text: await response.text() };
  };
  return { get: call, post: (path: string, body: string) => call(path, { method: 'POST', body }) };
}

describe('a server', () => {
  it('answers JSON with JSON', async () => {
    const { post } = await start({ routes: { '/v1/echo': async (body) => ({ body }) } });
    expect(await post('/v1/echo', '{"a":"é"}')).toEqual({ status: 200, text: '{"body":{"a":"é"}}' });
    expect((await post('/v1/echo?x', '1')).text).toBe('{"body":1}');
  });

  it('says whose fault it is', async () => {
    const { get, post } = await start({
      routes: {
        '/bad': async () => Promise.reject(new BadRequest('no such thing')),
        '/broken': async () => Promise.reject(new Error('secret detail')),
      },
    });
    expect(await post('/bad', '{}')).toEqual({ status: 400, text: '{"error":"no such thing"}' });
    expect((await post('/bad', '{')).status).toBe(400);
    expect(await post('/broken', '{}')).toEqual({ status: 503, text: '{"error":"temporary failure"}' });
    for (const path of ['/other', '/constructor', '/__proto__']) expect((await post(path, '{}')).status).toBe(404);
    expect((await get('/bad')).status).toBe(404);
  });

  it('reads octets that are no UTF-8, and no more than it should', async () => {
    const { post } = await start({ routes: { '/length': async (body) => String(body).length }, bodyLimit: 100 });
    expect((await post('/length', `"${'x'.repeat(98)}"`)).text).toBe('98');
    expect((await post('/length', `"${'x'.repeat(99)}"`)).status).toBe(413);
    const raw = await fetch(`http://127.0.0.1:${server?.port}/length`, {
      method: 'POST',
      body: Buffer.from([34, 0xff, 60, 34]),
    });
    expect(await raw.text()).toBe('2');
  });

  it('gives up on what takes too long', async () => {
    const { post } = await start({ routes: { '/slow': () => new Promise(() => undefined) }, timeoutMs: 50 });
    expect((await post('/slow', '{}')).status).toBe(503);
  });

  it('shows how it is', async () => {
    let ready = false;
    const { get } = await start({ ready: () => ready });
    expect((await get('/live')).status).toBe(200);
    expect((await get('/ready')).status).toBe(503);
    ready = true;
    expect((await get('/ready')).text).toBe('ok\n');
    expect((await get('/metrics')).status).toBe(200);
  });

  it('finishes what has begun when it is closed', async () => {
    let begin = (): void => undefined;
    let finish = (_: string): void => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const finished = new Promise<string>((resolve) => {
      finish = resolve;
    });
    const slow = () => {
      begin();
      return finished;
    };
    const { post } = await start({ routes: { '/slow': slow } });
    const answer = post('/slow', '{}');
    await begun;
    const closed = server?.close();
    finish('done');
    expect((await answer).text).toBe('"done"');
    await closed;
    server = undefined;
  });
});

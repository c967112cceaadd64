import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Authority, createAuthority, type Issued } from '../../operator/runtime/testing/certificates.js';
import type { Delivery, Outcome } from './delivery.js';
import type { Target, WebhookTarget } from './target.js';
import { postToWebhook, shownUrl, type WebhookOptions } from './webhook.js';

const delivery: Delivery = {
  id: 'd'.repeat(32),
  token: 'u.0',
  sender: 'amy@example.org',
  message: Buffer.from('Subject: x\r\n\r\n\xff\x00 eight bits\r\n', 'latin1'),
};
let authority: Authority;
let certificate: Issued;
const servers: { close(): void; closeAllConnections(): void }[] = [];

beforeAll(async () => {
  authority = await createAuthority();
  certificate = await authority.issue({ cn: 'localhost', names: ['localhost'] });
});
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function listen(handler: RequestListener, secure = true): Promise<number> {
  const server = secure
    ? createTlsServer({ cert: certificate.cert, key: certificate.key }, handler)
    : createServer(handler);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const answer =
  (status: number, headers = {}): RequestListener =>
  (request, response) => {
    request.resume().on('end', () => response.writeHead(status, headers).end('body'));
  };

function deliver(
  url: string,
  {
    webhook = {},
    ...options
  }: Partial<Omit<WebhookOptions, 'rules'>> & { webhook?: Partial<WebhookTarget>; allow?: string[] } = {},
): Promise<Outcome> {
  const target: Target & { webhook: WebhookTarget } = {
    rule: { namespace: 'mail', name: 'bot', uid: 'u' },
    address: 'bot@example.org',
    webhook: { url, timeoutSeconds: 5, ...webhook },
  };
  const { port } = URL.canParse(url) ? new URL(url) : { port: '' };
  const rules = {
    allowHosts: (options.allow ?? ['localhost']).map((host) => `${host}:${port}`),
    clusterDomain: 'cluster.local',
    refusedNetworks: [],
  };
  return postToWebhook(delivery, target, { rules, secret: { ca: authority.cert }, attempt: 1, ...options });
}

describe('a webhook', () => {
  it('gets the message as it is, with the id, the attempt, the address and a signature', async () => {
    const seen: { request: IncomingMessage; body: Buffer }[] = [];
    const port = await listen((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        seen.push({ request, body: Buffer.concat(chunks) });
        response.writeHead(202).end();
      });
    });
    const key = Buffer.from('very secret');
    const outcome = await deliver(`https://localhost:${port}/in?x=1`, {
      secret: { ca: authority.cert, key },
      attempt: 3,
    });
    expect(outcome).toEqual({ result: 'delivered', text: '2.0.0 the webhook answered HTTP 202' });
    const [got] = seen;
    expect(got?.body.equals(delivery.message)).toBe(true);
    expect(got?.request.method).toBe('POST');
    expect(got?.request.url).toBe('/in?x=1');
    expect(got?.request.headers).toMatchObject({
      'content-type': 'message/rfc822',
      'x-posthorn-delivery-id': delivery.id,
      'x-posthorn-attempt': '3',
      'x-posthorn-address': 'bot@example.org',
      'x-posthorn-sender': 'amy@example.org',
      'x-posthorn-rule': 'mail/bot',
    });
    const signed = createHmac('sha256', key).update(`${delivery.id}.${got?.request.headers['x-posthorn-timestamp']}.`);
    expect(got?.request.headers['x-posthorn-signature']).toBe(
      `sha256=${signed.update(delivery.message).digest('hex')}`,
    );
  });

  it('without a secret gets no signature', async () => {
    let headers: IncomingMessage['headers'] = {};
    const port = await listen((request, response) => {
      headers = request.headers;
      answer(200)(request, response as never);
    });
    await deliver(`https://localhost:${port}/`);
    expect(headers['x-posthorn-delivery-id']).toBe(delivery.id);
    expect(headers).not.toHaveProperty('x-posthorn-signature');
  });

  it('that hangs is put off after its time, and said to be stuck', async () => {
    const port = await listen(() => undefined);
    const started = Date.now();
    const outcome = await deliver(`https://localhost:${port}/`, { webhook: { timeoutSeconds: 1 } });
    expect(outcome).toMatchObject({
      result: 'deferred',
      stuck: true,
      text: '4.4.1 the webhook did not answer within 1 s',
    });
    expect(Date.now() - started).toBeLessThan(3_000);
  });

  it('that redirects is not followed', async () => {
    let asked = 0;
    const inside = await listen((_request, response) => {
      asked += 1;
      response.writeHead(200).end();
    }, false);
    const port = await listen(answer(307, { location: `http://127.0.0.1:${inside}/` }));
    const outcome = await deliver(`https://localhost:${port}/`);
    expect(outcome).toMatchObject({ result: 'deferred', problem: { message: expect.stringContaining('redirects') } });
    expect(asked).toBe(0);
  });

  it('with a certificate that nobody vouches for, or of another name, is not asked', async () => {
    let asked = 0;
    const port = await listen((request, response) => {
      asked += 1;
      answer(200)(request, response as never);
    });
    expect(await deliver(`https://localhost:${port}/`, { secret: {} })).toMatchObject({ result: 'deferred' });
    expect(await deliver(`https://127.0.0.1:${port}/`, { allow: ['127.0.0.1'] })).toMatchObject({ result: 'deferred' });
    expect(asked).toBe(0);
  });

  it('at an address of ours is not asked, and the rule says how to allow it', async () => {
    let asked = 0;
    const port = await listen((request, response) => {
      asked += 1;
      answer(200)(request, response as never);
    });
    const outcome = await deliver(`https://127.0.0.1:${port}/`);
    expect(outcome).toMatchObject({ result: 'deferred', problem: { reason: 'WebhookRefused' } });
    expect(outcome.problem?.message).toMatch(/allowHosts/);
    expect(outcome.text).not.toContain('127.0.0.1');
    expect(asked).toBe(0);
  });

  it('that closes the connection or is not there is put off', async () => {
    const port = await listen((request) => request.socket.destroy());
    expect(await deliver(`https://localhost:${port}/`)).toMatchObject({ result: 'deferred' });
    servers.at(-1)?.close();
    expect(await deliver(`https://localhost:${port}/`)).toMatchObject({ result: 'deferred' });
    expect(await deliver('not a URL')).toMatchObject({ result: 'deferred' });
  });

  it('that answers before it has read the message is believed', async () => {
    const port = await listen((_request, response) => response.writeHead(413).end());
    const big = { ...delivery, message: Buffer.alloc(20_000_000, 'x') };
    const target: Target & { webhook: WebhookTarget } = {
      rule: { namespace: 'mail', name: 'bot', uid: 'u' },
      address: 'bot@example.org',
      webhook: { url: `https://localhost:${port}/`, timeoutSeconds: 10 },
    };
    const rules = { allowHosts: [`localhost:${port}`], clusterDomain: 'cluster.local', refusedNetworks: [] };
    const outcome = await postToWebhook(big, target, { rules, secret: { ca: authority.cert }, attempt: 1 });
    expect(outcome.result).toBe('bounced');
  });
});

it('shows a URL without what may be secret in it', () => {
  expect(shownUrl('https://Bots.example.org:8443/mail?token=x#y')).toBe('https://bots.example.org:8443/mail');
  expect(shownUrl('x')).toBe('an invalid URL');
});

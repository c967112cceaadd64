/**
 * Programs that get mail by HTTPS, one for each path: `/ok…` 204, `/refuse…` 422, `/busy…` 503, `/once…` 503 the first time and
 * then 204, `/hang…` never answers, `/redirect…` 302 to /ok.
 *
 * Plain HTTP on port 8080: GET /requests → [{path, headers, body (base64), at}]; GET /healthz.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

const received: { path: string; headers: IncomingMessage['headers']; body: string; at: string }[] = [];
const folder = process.env.TLS_FOLDER ?? '/tls';
const [key, cert] = [readFileSync(`${folder}/tls.key`), readFileSync(`${folder}/tls.crt`)];

createTlsServer({ key, cert }, (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const path = request.url ?? '';
    const earlier = received.some((seen) => seen.path === path);
    const body = Buffer.concat(chunks).toString('base64');
    received.push({ path, headers: request.headers, body, at: new Date().toISOString() });
    answer(path, earlier, response);
  });
}).listen(443, '0.0.0.0');

function answer(path: string, earlier: boolean, response: ServerResponse): void {
  if (path.startsWith('/hang')) return;
  if (path.startsWith('/redirect')) return void response.writeHead(302, { location: '/ok' }).end();
  response.writeHead(statusOf(path, earlier)).end();
}

function statusOf(path: string, earlier: boolean): number {
  if (path.startsWith('/refuse')) return 422;
  if (path.startsWith('/busy') || (path.startsWith('/once') && !earlier)) return 503;
  return 204;
}

createServer((request, response) => {
  const found = request.url === '/requests' ? received : request.url === '/healthz' ? { ok: true } : undefined;
  response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(found ?? { error: 'only /requests and /healthz' }));
}).listen(8080, '0.0.0.0');

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));

// loopback.mjs FOLDER: what stands beside Dovecot on a pod's loopback interface: a gatekeeper (10041) and rspamd's
// controller (11334). FOLDER/users.json says who may log in; FOLDER/mode how to behave (ok, hang, error);
// what was asked is appended to FOLDER/asked.jsonl, one JSON object a line.
import { appendFileSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const folder = process.argv[2];

function read(file, otherwise) {
  try {
    return readFileSync(`${folder}/${file}`, 'utf8');
  } catch {
    return otherwise;
  }
}

function gatekeeper(path, body) {
  if (path !== '/v1/auth') return {};
  const user = JSON.parse(read('users.json', '{}'))[body.login];
  return user ?? { result: 'unknown' };
}

function serve(port, answer) {
  createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const mode = read('mode', 'ok').trim();
      const body = Buffer.concat(chunks).toString('utf8');
      appendFileSync(
        `${folder}/asked.jsonl`,
        `${JSON.stringify({ port, path: request.url, headers: request.headers, body })}\n`,
      );
      if (mode === 'hang') return;
      if (mode === 'error') response.writeHead(503).end('{}');
      else response.writeHead(200, { 'content-type': 'application/json' }).end(answer(request.url, body));
    });
  }).listen(port, '127.0.0.1');
}

serve(10041, (path, body) => JSON.stringify(gatekeeper(path, JSON.parse(body))));
serve(11334, () => '{"success":true}');

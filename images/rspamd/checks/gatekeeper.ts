import { createServer, type Server, type ServerResponse } from 'node:http';

/** A stand-in for the gatekeeper at the network: answers what a check sets, and remembers what it was asked. */
export interface Gatekeeper {
  /** Body of the answer to a question, or a status, or never (`silence`). */
  answer: (path: string, question: Record<string, unknown>) => unknown;
  readonly asked: { readonly path: string; readonly question: Record<string, unknown> }[];
  stop(): Promise<void>;
  start(): Promise<void>;
}

export const silence = Symbol('no answer');

export async function gatekeeper(): Promise<Gatekeeper> {
  const self: Gatekeeper = {
    answer: () => 500,
    asked: [],
    start: () => new Promise((resolve) => server.listen(10041, '127.0.0.1', () => resolve())),
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const path = request.url ?? '';
      const question = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
      self.asked.push({ path, question });
      reply(response, self.answer(path, question));
    });
  });
  await self.start();
  return self;
}

function reply(response: ServerResponse, answer: unknown): void {
  if (answer === silence) return;
  if (typeof answer === 'number') response.writeHead(answer).end('{}');
  else if (typeof answer === 'string') response.end(answer);
  else response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
}

/** Small pieces for the agent's two HTTP APIs. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ZodType } from 'zod';
import { parseJson } from './json.js';

/** Answered with this status and message. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** @throws HttpError 413 for a body that is longer than `limit` octets. */
export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new HttpError(413, 'the body is too long');
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}

const JSON_LIMIT = 32 * 1024 * 1024;

/** @throws HttpError 400 for what isn't of this form. */
export async function readJson<T>(request: IncomingMessage, schema: ZodType<T>): Promise<T> {
  const text = (await readBody(request, JSON_LIMIT)).toString('utf8');
  try {
    return parseJson(text, schema);
  } catch (error) {
    throw new HttpError(400, (error as Error).message);
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  // Who has asked doesn't wait any more.
  if (response.destroyed) return;
  const text = JSON.stringify(body);
  response
    .writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    .end(text);
}

export function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : undefined;
}

import { randomInt } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import {
  across,
  type Call,
  failure,
  kindOf,
  metadataObject,
  requestOf,
  selectors,
  type WatchOptions,
} from './calls.js';
import { ApiError, type Status } from './errors.js';
import type { Metrics } from './metrics.js';
import type { KubeObject, ResourceType } from './object.js';
import type { Transport } from './transport.js';

export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  | { type: 'BOOKMARK'; resourceVersion: string };

/** One line of a watch as the API server sends it. */
export interface WatchLine {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  object: unknown;
}

const headTimeoutMs = 30_000;
const newline = 0x0a;

/** Events until the server ends the watch or the signal aborts. Throws {@link ApiError}: the server's, or `ConnectionFailed`. */
export async function* watchEvents<T extends KubeObject>(
  transport: Transport,
  type: ResourceType,
  options: WatchOptions,
  metrics?: Metrics,
): AsyncGenerator<WatchEvent<T>> {
  const call = callOf(type, options);
  const stream = await open(transport, call, metrics);
  try {
    for await (const line of jsonLines(stream)) yield eventOf<T>(call, type, line);
  } catch (error) {
    if (options.signal?.aborted !== true) throw streamError(call, error);
  } finally {
    stream.destroy();
  }
}

function callOf(type: ResourceType, options: WatchOptions): Call {
  const { resourceVersion, timeoutSeconds = randomInt(300, 600) } = options;
  return {
    ...across(type, options),
    method: 'GET',
    verb: 'watch',
    idempotent: true,
    query: { ...selectors(options), watch: true, allowWatchBookmarks: true, resourceVersion, timeoutSeconds },
    accept: options.metadataOnly === true ? metadataObject : undefined,
  };
}

async function open(transport: Transport, call: Call, metrics?: Metrics): Promise<IncomingMessage> {
  const stream = await transport.open(requestOf(call, headTimeoutMs));
  const { statusCode = 0, headers } = stream;
  metrics?.apiRequest('watch', call.resource, String(statusCode), 0);
  if (statusCode === 200) return stream;
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  throw failure(call, { status: statusCode, headers, body: Buffer.concat(chunks).toString('utf8') });
}

function eventOf<T extends KubeObject>(call: Call, resource: ResourceType, { type, object }: WatchLine): WatchEvent<T> {
  if (type === 'BOOKMARK') return { type, resourceVersion: (object as KubeObject).metadata.resourceVersion ?? '' };
  if (type !== 'ERROR') return { type, object: Object.assign(object as T, kindOf(resource)) };
  const { code = 500, reason = 'Unknown', message = 'the server ended the watch' } = object as Status;
  throw new ApiError({ status: code, reason, message, verb: call.verb, object: call.object });
}

function streamError({ verb, object }: Call, error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const said = error instanceof Error ? error.message : String(error);
  const message = `the stream broke off (${said})`;
  return new ApiError({ status: 0, reason: 'ConnectionFailed', message, verb, object, cause: error });
}

/** Splits a stream into lines and parses each as JSON. A last line without its end is dropped: it was cut off. */
export async function* jsonLines(stream: Readable): AsyncGenerator<WatchLine> {
  let pending: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const { lines, rest } = splitLines(chunk, pending);
    pending = rest;
    for (const line of lines) yield JSON.parse(line) as WatchLine;
  }
}

function splitLines(chunk: Buffer, pending: Buffer[]): { lines: string[]; rest: Buffer[] } {
  const first = chunk.indexOf(newline);
  if (first < 0) return { lines: [], rest: [...pending, chunk] };
  const last = chunk.lastIndexOf(newline);
  const whole = Buffer.concat([...pending, chunk.subarray(0, last)]).toString('utf8');
  const rest = chunk.subarray(last + 1);
  return { lines: whole.split('\n').filter((line) => line !== ''), rest: rest.length === 0 ? [] : [rest] };
}

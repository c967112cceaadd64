/**
 * A client of Dovecot's doveadm HTTP API, on loopback (https://doc.dovecot.org/2.4.1/core/admin/doveadm_http_api.html).
 *
 * Each connection holds one of Dovecot's doveadm processes, so there are few, and they are kept: a kept one spares a fork and
 * a look-up of settings each time. Values are strings: 2.4.1's API ends with a panic when it is given a JSON number.
 */
import { Agent, request as httpRequest } from 'node:http';

/** Values of a command's parameters; names are those of `GET /doveadm/v1`. */
export type Parameters = Readonly<Record<string, string | boolean | readonly string[]>>;
export type Command = readonly [name: string, parameters: Parameters];
/** A line of an answer. All values are strings. */
export type Row = Readonly<Record<string, string>>;

/** Dovecot's answer is an error. */
export class DoveadmError extends Error {
  override readonly name = 'DoveadmError';
  /** Of sysexits(3): 75 try again, 67 no such user. 2 from a sync: changes came in between, sync again. 0: unknown. */
  readonly code: number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

export interface DoveadmOptions {
  readonly port: number;
  readonly key: string;
  readonly host?: string;
  /** Connections, and commands at a time. Default 6. */
  readonly connections?: number;
}

export interface CallOptions {
  /** For the whole call. Default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Doveadm {
  /**
   * Runs one command; its rows.
   * @throws DoveadmError when Dovecot says no, Error when it doesn't answer.
   */
  run(name: string, parameters: Parameters, options?: CallOptions): Promise<Row[]>;
  /** Runs commands one after the other in one request; ends at the first error. */
  runAll(commands: readonly Command[], options?: CallOptions): Promise<Row[][]>;
  close(): void;
}

const IDLE_MS = 30_000;

export function connectDoveadm(options: DoveadmOptions): Doveadm {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: options.connections ?? 6,
    maxFreeSockets: 4,
    scheduling: 'lifo',
    timeout: IDLE_MS,
  });
  const call = async (commands: readonly Command[], given: CallOptions = {}): Promise<Row[][]> => {
    if (commands.length === 0) return [];
    const body = JSON.stringify(commands.map(([name, parameters], n) => [name, parameters, String(n)]));
    const text = await post(agent, options, body, given).catch((error: unknown) => {
      // Dovecot had closed a connection that was kept. Commands can be given twice.
      if ((error as { stale?: boolean }).stale !== true) throw error;
      return post(agent, options, body, given);
    });
    return rowsOf(text, commands);
  };
  return {
    run: async (name, parameters, given) => (await call([[name, parameters]], given))[0] ?? [],
    runAll: call,
    close: () => agent.destroy(),
  };
}

function post(
  agent: Agent,
  options: DoveadmOptions,
  body: string,
  { timeoutMs = 30_000, signal }: CallOptions,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `X-Dovecot-API ${Buffer.from(options.key).toString('base64')}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    };
    const { host = '127.0.0.1', port } = options;
    const request = httpRequest({ agent, host, port, method: 'POST', path: '/doveadm/v1', headers, signal });
    const timer = setTimeout(() => request.destroy(new Error('doveadm does not answer in time')), timeoutMs);
    const fail = (error: NodeJS.ErrnoException): void => {
      clearTimeout(timer);
      const stale = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      reject(Object.assign(error, { stale }));
    };
    request.on('error', fail);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', fail);
      response.on('end', () => {
        clearTimeout(timer);
        const text = Buffer.concat(chunks).toString('utf8');
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`doveadm answers ${response.statusCode}: ${text.slice(0, 200)}`));
      });
    });
    request.end(body);
  });
}

function rowsOf(text: string, commands: readonly Command[]): Row[][] {
  const answers = JSON.parse(text) as [string, unknown, string][];
  return commands.map(([name], n) => {
    const [kind, content] = answers[n] ?? ['error', {}];
    if (kind === 'doveadmResponse') return (Array.isArray(content) ? content : [content]) as Row[];
    const { type = 'no answer', exitCode = 0 } = content as { type?: string; exitCode?: number };
    throw new DoveadmError(`doveadm ${name}: ${type}, code ${exitCode}`, exitCode);
  });
}

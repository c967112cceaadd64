/** The pod's own agent: it alone knows the lease, and reaches Dovecot and the other members. */
import { Agent, request } from 'node:http';
import { z } from 'zod';

export interface CallOptions {
  /** Default 10 s. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** HTTP with JSON. Rejects when there is no answer; an answer of any status resolves. */
export interface AgentClient {
  get(path: string, options?: CallOptions): Promise<Answer>;
  post(path: string, body: unknown, options?: CallOptions): Promise<Answer>;
  close(): void;
}

/** For 127.0.0.1:24010; connections are kept. */
export function createAgentClient({ host = '127.0.0.1', port }: { host?: string; port: number }): AgentClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const call = (method: string, path: string, body: unknown, options: CallOptions = {}): Promise<Answer> =>
    send({ agent, host, port, method, path }, body, options);
  return {
    get: (path, options) => call('GET', path, undefined, options),
    post: (path, body, options) => call('POST', path, body, options),
    close: () => agent.destroy(),
  };
}

interface Target {
  readonly agent: Agent;
  readonly host: string;
  readonly port: number;
  readonly method: string;
  readonly path: string;
}

function send(target: Target, body: unknown, { timeoutMs = 10_000, signal }: CallOptions): Promise<Answer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers =
    text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const outgoing = request({ ...target, headers, ...(signal === undefined ? {} : { signal }) }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => {
        resolve({ status: incoming.statusCode ?? 0, body: parse(Buffer.concat(chunks).toString('utf8')) });
      });
    });
    // Not the socket's idle time: the whole answer has to be there by then.
    const timer = setTimeout(() => {
      reject(new Error(`agent: ${target.path}: no answer in ${timeoutMs} ms`));
      outgoing.destroy();
    }, timeoutMs);
    outgoing.on('close', () => clearTimeout(timer));
    outgoing.on('error', reject);
    outgoing.end(text);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const peerSchema = z.object({
  member: z.number(),
  volume: z.string(),
  seeded: z.boolean(),
  inSync: z.boolean().default(false),
});
const stateSchema = z.object({
  shard: z.string(),
  member: z.number(),
  role: z.enum(['stopped', 'replica', 'opening', 'primary']),
  epoch: z.number(),
  volume: z.string(),
  peers: z.array(peerSchema),
  promotion: z.enum(['none', 'planned', 'restart', 'failover']).default('none'),
});

/** Another member of the shard. */
export type Peer = z.output<typeof peerSchema>;
/** What the replicator has to know of `GET /v1/state`. */
export type MemberState = z.output<typeof stateSchema>;

/**
 * The state as soon as epoch or role differ from `known`, or `waitMs` are over.
 * @throws when the agent doesn't answer, or not with a state.
 */
export async function readState(
  client: AgentClient,
  known: { readonly epoch: number; readonly role: string } | undefined,
  waitMs: number,
  signal?: AbortSignal,
): Promise<MemberState> {
  const query = known === undefined ? '' : `?epoch=${known.epoch}&role=${known.role}&wait=${waitMs}`;
  const { status, body } = await client.get(`/v1/state${query}`, { timeoutMs: waitMs + 5_000, signal });
  if (status !== 200) throw new Error(`agent: /v1/state: status ${status}`);
  return stateSchema.parse(body);
}

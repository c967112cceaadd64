/** The agent in the same pod, asked over loopback. */
import { Agent, request as httpRequest } from 'node:http';
import type { Log } from '../../operator/runtime/log.js';
import type { AgentState } from '../agent/ports.js';
import { recent } from '../lib/recent.js';

export interface LocalAgent {
  /** What it said last; undefined when it doesn't answer. */
  state(): AgentState | undefined;
  /** Whether the mailbox has a message with this delivery id. Rejects when that can't be found out. */
  search(user: string, mailbox: string, delivery: string): Promise<boolean>;
  /** Has the UIDs of a mailbox raised, if a failover made that necessary, before it gets its first message in an epoch. */
  gap(user: string, mailbox: string, state: AgentState): Promise<void>;
  /** A delivery was made that another member may have made before. */
  note(user: string, mailbox: string, delivery: string): Promise<void>;
  close(): void;
}

export interface LocalAgentOptions {
  readonly port: number;
  readonly host?: string;
  readonly log: Log;
  /** How long the agent may hold a question for its state. Default 1 s: what it says of peers is not older. */
  readonly waitMs?: number;
}

/** Mailboxes that need no more care in their epoch; one that is forgotten is asked for again. */
const GAPS_REMEMBERED = 100_000;

export function connectAgent(options: LocalAgentOptions): LocalAgent {
  const { log, waitMs = 1_000 } = options;
  const http = new Agent({ keepAlive: true, maxSockets: 32, timeout: 30_000 });
  const gapped = recent<true>(GAPS_REMEMBERED, Number.POSITIVE_INFINITY);
  let state: AgentState | undefined;
  let closed = false;
  const ask = <T>(method: string, path: string, body: object | undefined, timeoutMs: number): Promise<T> =>
    askJson<T>(http, options, { method, path, body, timeoutMs });

  /** What the agent says next: at once when something has changed, after `waitMs` otherwise. */
  const next = async (): Promise<AgentState | undefined> => {
    const known = state ? `?epoch=${state.epoch}&role=${state.role}&wait=${waitMs}` : '';
    try {
      return await ask<AgentState>('GET', `/v1/state${known}`, undefined, waitMs + 2_000);
    } catch (error) {
      if (state) log.warn({ err: error }, 'the agent does not answer');
      return undefined;
    }
  };
  const follow = async (): Promise<void> => {
    while (!closed) {
      state = await next();
      if (!state) await pause(200);
    }
  };
  void follow();

  return {
    state: () => state,
    search: async (user, uuid, delivery) => {
      const { found } = await ask<{ found: unknown }>('POST', '/v1/search', { user, uuid, delivery }, 15_000);
      if (typeof found !== 'boolean') throw new Error('the agent did not say whether it found a message');
      return found;
    },
    gap: async (user, mailbox, { epoch, promotion }) => {
      if (promotion !== 'failover' || gapped.get(`${epoch} ${mailbox}`)) return;
      await ask('POST', '/v1/gap', { user, uuid: mailbox }, 15_000);
      gapped.set(`${epoch} ${mailbox}`, true);
    },
    note: async (user, uuid, delivery) => {
      await ask('POST', '/v1/note', { user, uuid, delivery }, 15_000);
    },
    close: () => {
      closed = true;
      http.destroy();
    },
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());

interface Question {
  readonly method: string;
  readonly path: string;
  readonly body: object | undefined;
  readonly timeoutMs: number;
}

function askJson<T>(agent: Agent, options: LocalAgentOptions, question: Question): Promise<T> {
  return new Promise((resolve, reject) => {
    const payload = question.body === undefined ? undefined : JSON.stringify(question.body);
    const headers = payload === undefined ? {} : { 'content-length': Buffer.byteLength(payload) };
    const { host = '127.0.0.1', port } = options;
    const request = httpRequest(
      { agent, host, port, method: question.method, path: question.path, headers },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          clearTimeout(timer);
          const text = Buffer.concat(chunks).toString('utf8');
          if (response.statusCode !== 200)
            reject(new Error(`the agent answers ${response.statusCode}: ${text.slice(0, 200)}`));
          else resolve(JSON.parse(text) as T);
        });
      },
    );
    const timer = setTimeout(() => request.destroy(new Error('no answer in time')), question.timeoutMs);
    request.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    request.end(payload);
  });
}

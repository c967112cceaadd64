/** A gatekeeper in this process, before a real PostgreSQL with the directory in it and a real Redis. */
import { connect } from 'node:net';
import type { MailboxRow, SettingsRow } from '../../../operator/directory/rows.js';
import { startDirectory, type TestDirectory } from '../../../operator/directory/testing/directory.js';
import { silentLog } from '../../../operator/runtime/log.js';
import { gatekeeperConfig } from '../config.js';
import { type Gatekeeper, startGatekeeper } from '../gatekeeper.js';
import { startRedis, type TestRedis } from './redis.js';

export interface World {
  readonly directory: TestDirectory;
  readonly redis: TestRedis;
  /** `settings` are merged into the configuration. */
  start(role: 'mx' | 'submission' | 'proxy', settings?: object): Promise<TestGatekeeper>;
  put(...rows: MailboxRow[]): Promise<void>;
  stop(): Promise<void>;
}

export interface TestGatekeeper extends Gatekeeper {
  /** One policy request over one connection; what follows `action=`. */
  ask(attributes: Readonly<Record<string, string | number>>): Promise<string>;
  post<T = Record<string, unknown>>(path: string, body: unknown): Promise<{ status: number; body: T }>;
  get(path: string): Promise<{ status: number; text: string }>;
}

export async function startWorld(): Promise<World> {
  const [directory, redis] = await Promise.all([startDirectory(), startRedis()]);
  const running: Gatekeeper[] = [];
  return {
    directory,
    redis,
    put: async (...rows) => {
      const { value } = await directory.directory.projectMailboxes(rows);
      const refused = value.find(({ result }) => result === 'refused');
      if (refused) throw new Error(`mailbox refused: ${JSON.stringify(refused)}`);
    },
    start: async (role, settings = {}) => {
      const config = gatekeeperConfig.parse({
        role,
        postmaster: 'postmaster@example.org',
        directory: { hosts: '127.0.0.1', port: directory.server.port, leader: '127.0.0.1', tls: false },
        // Patient: the machine that tests is busy.
        redis: { host: '127.0.0.1', port: redis.port, timeoutMs: 2_000 },
        tls: '/nonexistent',
        policy: '127.0.0.1:0',
        http: '127.0.0.1:0',
        ...settings,
      });
      const gatekeeper = await startGatekeeper(config, silentLog);
      running.push(gatekeeper);
      return testGatekeeper(gatekeeper);
    },
    stop: async () => {
      await Promise.all(running.map((gatekeeper) => gatekeeper.stop()));
      await Promise.all([directory.stop(), redis.stop()]);
    },
  };
}

/** Limits as the operator writes them. */
export const SETTINGS: SettingsRow = {
  postmaster: null,
  forwardHost: 'forward',
  srsDomain: 'example.org',
  userHour: 10,
  userDay: 40,
  domainHour: 1000,
};

function testGatekeeper(gatekeeper: Gatekeeper): TestGatekeeper {
  const url = `http://127.0.0.1:${gatekeeper.httpPort}`;
  return {
    ...gatekeeper,
    ask: (attributes) => askPolicy(gatekeeper.policyPort ?? 0, attributes),
    post: async (path, body) => {
      const response = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) });
      return { status: response.status, body: (await response.json()) as never };
    },
    get: async (path) => {
      const response = await fetch(url + path);
      return { status: response.status, text: await response.text() };
    },
  };
}

function askPolicy(port: number, attributes: Readonly<Record<string, string | number>>): Promise<string> {
  const lines = Object.entries({ request: 'smtpd_access_policy', ...attributes }).map(([k, v]) => `${k}=${v}\n`);
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('data', (data) => {
      socket.destroy();
      resolve(
        data
          .toString()
          .replace(/^action=/, '')
          .trimEnd(),
      );
    });
    socket.write(`${lines.join('')}\n`);
  });
}

import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryRejected, DirectoryUnavailable } from '../../operator/directory/errors.js';
import {
  mailbox,
  setHeartbeatAge,
  startDirectory,
  type TestDirectory,
} from '../../operator/directory/testing/directory.js';
import type { TestPostgres } from '../../operator/directory/testing/postgres.js';
import { createAuthority } from '../../operator/runtime/testing/certificates.js';
import { circuitOrder, failed, newCircuit } from './circuit.js';
import { type DirectoryOptions, type DirectoryPool, openDirectoryPool, type QueryResult } from './directory.js';

let test: TestDirectory;
let replica: TestPostgres;
/** Takes connections and says nothing. */
let silent: { port: number; close(): void };

beforeAll(async () => {
  test = await startDirectory();
  replica = await test.server.addReplica('other');
  await test.directory.projectMailboxes([mailbox('alice')]);
  silent = await startSilent();
});

beforeEach(() => setHeartbeatAge(test.server, 0));

const opened: DirectoryPool[] = [];

afterAll(async () => {
  await Promise.all(opened.map((pool) => pool.close()));
  silent?.close();
  await test?.stop();
});

async function startSilent() {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function pool(ports: readonly number[], options: Partial<DirectoryOptions> = {}) {
  const results: QueryResult[] = [];
  const directory = openDirectoryPool({
    hosts: ports.map((port) => `127.0.0.1:${port}`),
    port: 1,
    user: 'posthorn_mx',
    application: 'test',
    connectTimeoutMs: 300,
    onQuery: (result) => results.push(result),
    ...options,
  });
  opened.push(directory);
  const verdict = async () => {
    const sql = 'SELECT verdict FROM directory_v1.recipient($1)';
    const [row] = await directory.ask<{ verdict: string }>({
      doing: 'look up',
      sql,
      values: ['alice@example.org'],
      unsure: ([found]) => found?.verdict.startsWith('4') ?? false,
    });
    return row?.verdict;
  };
  return { directory, verdict, outcomes: () => results.map(({ outcome }) => outcome), results };
}

describe('a pool', () => {
  it('asks any member', async () => {
    const { directory } = pool([test.server.port, replica.port]);
    const seen = new Set<unknown>();
    for (let n = 0; n < 30; n += 1) {
      const [row] = await directory.ask<{ replica: boolean }>({
        doing: 'x',
        sql: 'SELECT pg_is_in_recovery() AS replica',
      });
      seen.add(row?.replica);
    }
    expect(seen).toEqual(new Set([true, false]));
  });

  it.each([
    ['refuses', () => 1],
    ['is silent', () => silent.port],
  ])('goes on to the next when one %s, and leaves that one alone then', async (_name, port) => {
    const { verdict, outcomes, directory } = pool([port(), test.server.port]);
    for (let n = 0; n < 20; n += 1) expect(await verdict()).toBe('DUNNO');
    expect(outcomes().filter((outcome) => outcome === 'unreachable')).toHaveLength(1);
    expect(directory.isReachable()).toBe(true);
  });

  it('fails when all do, after asking each, and works as soon as one is back', async () => {
    const { verdict, outcomes, directory } = pool([1, silent.port]);
    await expect(verdict()).rejects.toBeInstanceOf(DirectoryUnavailable);
    expect(outcomes()).toEqual(['unreachable', 'unreachable']);
    expect(directory.isReachable()).toBe(false);
    await expect(verdict()).rejects.toBeInstanceOf(DirectoryUnavailable);
  });

  it('asks another when a function raises that its member lags', async () => {
    const lagging = pool([test.server.port, replica.port], { user: 'posthorn_submission' });
    await setHeartbeatAge(test.server, 30);
    const sql = 'SELECT directory_v1.sender_logins($1)';
    await expect(lagging.directory.ask({ doing: 'x', sql, values: ['nobody@example.org'] })).rejects.toBeInstanceOf(
      DirectoryUnavailable,
    );
    expect(lagging.outcomes()).toEqual(['passed-on', 'passed-on']);
    expect(lagging.directory.isReachable()).toBe(true);
  });

  it('asks another when an answer is not sure, and takes it when nobody is', async () => {
    const { directory, results } = pool([test.server.port, replica.port]);
    const rows = await directory.ask({ doing: 'x', sql: 'SELECT 1 AS n', unsure: () => true });
    expect(rows).toEqual([{ n: 1 }]);
    expect(results).toHaveLength(2);
  });

  it('does not ask another for what none will do', async () => {
    const { directory, outcomes } = pool([test.server.port, replica.port]);
    await expect(directory.ask({ doing: 'x', sql: 'SELECT * FROM posthorn.mailboxes' })).rejects.toBeInstanceOf(
      DirectoryRejected,
    );
    expect(outcomes()).toEqual(['refused']);
  });

  it('does not wait for a statement for ever', async () => {
    const { directory, outcomes } = pool([test.server.port], { queryTimeoutMs: 200 });
    await expect(directory.ask({ doing: 'x', sql: 'SELECT pg_sleep(5)' })).rejects.toBeInstanceOf(DirectoryUnavailable);
    expect(outcomes()).toEqual(['unreachable']);
    expect(await directory.ask({ doing: 'x', sql: 'SELECT 1 AS n' })).toEqual([{ n: 1 }]);
  });

  it('writes on the leader', async () => {
    const { directory } = pool([replica.port], { leader: `127.0.0.1:${test.server.port}` });
    const sql = 'SELECT pg_is_in_recovery() AS replica';
    expect(await directory.ask({ doing: 'x', sql, leader: true })).toEqual([{ replica: false }]);
    expect(await directory.ask({ doing: 'x', sql })).toEqual([{ replica: true }]);
  });

  it('survives a connection that is reset while it is asked', async () => {
    const reset = new Set<Socket>();
    const server = createServer((client) => {
      const upstream = connect(test.server.port, '127.0.0.1');
      reset.add(client);
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        from.on('data', (chunk) => to.write(chunk)).on('error', () => undefined);
        from.on('close', () => to.destroy());
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { directory } = pool([(server.address() as AddressInfo).port]);
    const asked = directory.ask({ doing: 'sleep', sql: 'SELECT pg_sleep(2)' });
    setTimeout(() => {
      for (const socket of reset) socket.resetAndDestroy();
    }, 500);
    await expect(asked).rejects.toThrow(DirectoryUnavailable);
    // an error event that nobody listens to would come now, and end the process
    await new Promise((resolve) => setTimeout(resolve, 100));
    server.close();
  });

  it('goes on when a member ends all connections', async () => {
    const { verdict, directory } = pool([test.server.port]);
    await verdict();
    await test.server.query(
      'postgres',
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'posthorn_mx' AND pid <> pg_backend_pid()",
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await verdict()).toBe('DUNNO');
    expect(directory.isReachable()).toBe(true);
  });
});

describe('with TLS', () => {
  it('shows its certificate, checks the name, and uses another when told', async () => {
    const authority = await createAuthority();
    const server = await authority.issue({ cn: 'db', names: ['localhost'] });
    const secured = await startDirectory({
      settings: ['ssl = on', "ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'ca.crt'"],
      files: { 'server.crt': server.cert, 'server.key': server.key, 'ca.crt': authority.cert },
      hba: ['hostssl all posthorn_mx 127.0.0.1/32 cert', 'host all posthorn_mx 127.0.0.1/32 reject'],
    });
    const mx = { ...(await authority.issue({ cn: 'posthorn_mx' })), ca: authority.cert };
    const proxy = { ...(await authority.issue({ cn: 'posthorn_proxy' })), ca: authority.cert };
    const stranger = await createAuthority();
    const sql = 'SELECT current_user::text AS name';
    try {
      const { directory } = pool([], { hosts: [`localhost:${secured.server.port}`], tls: proxy });
      await expect(directory.ask({ doing: 'x', sql })).rejects.toThrow(/certificate authentication failed/);
      directory.setTls(mx);
      expect(await directory.ask({ doing: 'x', sql })).toEqual([{ name: 'posthorn_mx' }]);
      directory.setTls({ ...mx, ca: stranger.cert });
      await expect(directory.ask({ doing: 'x', sql })).rejects.toBeInstanceOf(DirectoryUnavailable);
      const byAddress = pool([secured.server.port], { tls: mx });
      await expect(byAddress.directory.ask({ doing: 'x', sql })).rejects.toThrow(/does not match certificate/);
      await Promise.all([directory.close(), byAddress.directory.close()]);
    } finally {
      await secured.stop();
    }
  });
});

describe('a circuit', () => {
  it('is open, then paused for longer each time, up to half a minute', () => {
    let circuit = newCircuit();
    const pauses = Array.from({ length: 7 }, () => {
      circuit = failed(circuit, 0);
      return circuit.retryAt;
    });
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  it('puts paused hosts last, the one whose pause ends first before', () => {
    const host = (name: string, retryAt: number) => ({ name, circuit: { failures: 1, retryAt } });
    const hosts = [host('a', 900), host('b', 0), host('c', 500), host('d', 100)];
    expect(circuitOrder(hosts, 100, () => 0.9).map(({ name }) => name)).toEqual(['d', 'b', 'c', 'a']);
  });
});

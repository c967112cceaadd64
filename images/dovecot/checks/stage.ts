import { execFile, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { loadTemplates, renderRole } from '../../../cdk8s/template.js';
import { startPostgres, type TestPostgres } from '../../../operator/directory/testing/postgres.js';
import { authority, type Identity } from '../../postfix/checks/certificates.js';
import { fillDirectory, MAILBOXES } from './directory.js';

/** Addresses on the bridge that joins the roles. .1 is this process: directory and egress. */
export const IP = { here: '10.99.8.1', store: '10.99.8.2', proxy: '10.99.8.3', auth: '10.99.8.4' } as const;
export type Role = 'store' | 'proxy' | 'auth';
const ROLES = ['store', 'proxy', 'auth'] as const;

const SUFFIX = 'mail.svc.cluster.local';
export const HOSTS = {
  store: `mail-store-a.${SUFFIX}`,
  egress: `mail-egress.${SUFFIX}`,
  directory: `mail-postgres-0.mail-postgres-members.${SUFFIX}`,
};
const PREFIX = process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn';
const TAG = process.env.POSTHORN_IMAGE_TAG ?? 'dev';
const BRIDGE = 'ph-dovecot';
const STORE_SECRET = 'the-shards-secret';

// What hack/images has written for machines where podman needs it.
const podmanConf = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'posthorn/images/containers.conf');
if (existsSync(podmanConf)) process.env.CONTAINERS_CONF ??= podmanConf;

const sh = (command: string): string =>
  execFileSync('bash', ['-ceuo', 'pipefail', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const shAsync = async (command: string): Promise<string> =>
  (await promisify(execFile)('bash', ['-ceuo', 'pipefail', command], { maxBuffer: 64 * 1024 * 1024 })).stdout;
const quiet = (command: string): void => {
  try {
    sh(command);
  } catch {
    // tearing down what may not be there
  }
};
const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
const name = (role: string): string => `ph-dovecot-${role}`;

/** The roles store (behind its tunnel), proxy and auth, as containers with the rights that their pods have. */
export interface Stage {
  readonly root: string;
  readonly postgres: TestPostgres;
  /** Local part → UUID. */
  readonly mailboxes: typeof MAILBOXES;
  /** Rows of a statement that the directory's owner runs. */
  sql<Row extends Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>;
  readonly identities: Readonly<Record<string, Identity>>;
  exec(role: Role, ...command: string[]): Promise<string>;
  logs(role: Role): Promise<string>;
  /** What gatekeeper and rspamd beside a role were asked. */
  asked(role: Role): { port: number; path: string; headers: Record<string, string>; body: string }[];
  /** How gatekeeper and rspamd beside a role behave. */
  mode(role: Role, mode: 'ok' | 'hang' | 'error'): void;
  users(users: Readonly<Record<string, object>>): void;
  /** Changes one answer of the gatekeepers. */
  answer(login: string, answer: object): void;
  /** Makes a script somebody's own active one. */
  script(who: keyof typeof MAILBOXES, text: string): Promise<void>;
  /** Asks role auth as Postfix does, with AUTH PLAIN; its lines, up to the answer or to the end of the connection. */
  sasl(user: string, password: string): Promise<string>;
  healthy(role: Role): Promise<boolean>;
  cutDirectory(cut: boolean): void;
  close(): Promise<void>;
}

export async function setUp(): Promise<Stage> {
  const root = mkdtempSync(join(tmpdir(), 'posthorn-dovecot-'));
  chmodSync(root, 0o755);
  tearDown();
  network();
  const issue = authority(join(root, 'ca'));
  const identities: Record<string, Identity> = {
    store: issue('store', 'posthorn_store', [HOSTS.store]),
    proxy: issue('proxy', 'posthorn_proxy', []),
    auth: issue('auth', 'posthorn_submission', []),
    mx: issue('mx', 'posthorn_mx', []),
    egress: issue('egress', 'posthorn_egress', [HOSTS.egress]),
    postgres: issue('postgres', 'posthorn_postgres', [HOSTS.directory]),
    public: issue('public', 'mail.example.org', ['mail.example.org']),
  };
  const postgres = await directory(identities);
  writeFileSync(
    join(root, 'hosts'),
    `127.0.0.1 localhost\n${IP.here} ${HOSTS.directory} ${HOSTS.egress}\n${IP.store} ${HOSTS.store}\n`,
  );
  for (const role of ROLES) {
    mkdirSync(join(root, role, 'beside'), { recursive: true });
  }
  const beside = ROLES.map((role) =>
    spawn(
      'ip',
      ['netns', 'exec', name(role), 'node', join(import.meta.dirname, 'loopback.mjs'), join(root, role, 'beside')],
      {
        stdio: 'ignore',
      },
    ),
  );
  const heart = setInterval(
    () => postgres.query('posthorn', 'SELECT directory_v1.heartbeat()').catch(() => undefined),
    1000,
  );
  for (const role of ROLES) startRole(root, role, postgres.port);
  startTunnel(root);
  return {
    root,
    postgres,
    mailboxes: MAILBOXES,
    sql: (text, values) => postgres.query('posthorn', text, values),
    identities,
    exec: (role, ...command) => shAsync(`podman exec ${name(role)} ${command.map(quote).join(' ')}`),
    logs: (role) => shAsync(`podman logs ${name(role)} 2>&1`),
    asked: (role) => asked(join(root, role, 'beside')),
    mode: (role, mode) => writeFileSync(join(root, role, 'beside', 'mode'), mode),
    users: (users) => {
      for (const role of ROLES) writeFileSync(join(root, role, 'beside', 'users.json'), JSON.stringify(users));
    },
    answer: (login, answer) => {
      for (const role of ROLES) {
        const file = join(root, role, 'beside', 'users.json');
        writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), [login]: answer }));
      }
    },
    script: async (who, text) => {
      const home = `/srv/mail/mailboxes/00/${MAILBOXES[who]}`;
      const encoded = Buffer.from(text).toString('base64');
      await shAsync(
        `podman exec ${name('store')} bash -c 'mkdir -p ${home}/sieve && cd ${home} && rm -f sieve/own.svbin .dovecot.svbin && base64 -d <<<${encoded} >sieve/own.sieve && ln -sfn sieve/own.sieve .dovecot.sieve'`,
      );
    },
    sasl: (user, password) => sasl(join(root, 'auth', 'empty', '/run/sasl', 'auth'), user, password),
    healthy: (role) => healthy(role),
    cutDirectory: (cut) => {
      sh(
        `iptables ${cut ? '-I' : '-D'} INPUT -i ${BRIDGE} -p tcp --dport ${postgres.port} -j REJECT --reject-with tcp-reset`,
      );
    },
    close: async () => {
      clearInterval(heart);
      for (const process of beside) process.kill();
      tearDown();
      await postgres.stop();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** Dovecot's auth client protocol, as Postfix speaks it. */
function sasl(path: string, user: string, password: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    let text = '';
    socket.setTimeout(15_000, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
    socket.on('end', () => resolve(text));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (/^(OK|FAIL)\t1\t.*\n/m.test(text)) {
        socket.destroy();
        resolve(text);
      }
    });
    const response = Buffer.from(`\0${user}\0${password}`).toString('base64');
    socket.write(
      `VERSION\t1\t1\nCPID\t4711\nAUTH\t1\tPLAIN\tservice=smtp\tnologin\tsecured\trip=192.0.2.7\tresp=${response}\n`,
    );
  });
}

function asked(folder: string): ReturnType<Stage['asked']> {
  try {
    const lines = readFileSync(join(folder, 'asked.jsonl'), 'utf8').trim().split('\n');
    return lines.filter(Boolean).map((line) => JSON.parse(line));
  } catch {
    return [];
  }
}

async function healthy(role: Role): Promise<boolean> {
  try {
    await shAsync(
      `podman exec ${name(role)} healthcheck ${role} ready && podman exec ${name(role)} healthcheck ${role} live`,
    );
    return true;
  } catch {
    return false;
  }
}

function network(): void {
  sh(`ip link add ${BRIDGE} type bridge; ip addr add ${IP.here}/24 dev ${BRIDGE}; ip link set ${BRIDGE} up`);
  for (const role of ROLES) {
    const ns = name(role);
    const veth = `phd-${role}`;
    sh(`ip netns add ${ns}; ip link add ${veth} type veth peer name eth0 netns ${ns}
      ip link set ${veth} master ${BRIDGE} up
      ip -n ${ns} addr add ${IP[role]}/24 dev eth0; ip -n ${ns} link set eth0 up; ip -n ${ns} link set lo up`);
  }
}

/** PostgreSQL with client certificates, as the pooler asks for them. */
async function directory(identities: Record<string, Identity>): Promise<TestPostgres> {
  const own = identities.postgres?.folder ?? '';
  const file = (path: string): string => readFileSync(join(own, path), 'utf8');
  const postgres = await startPostgres({
    settings: [
      "listen_addresses = '*'",
      'ssl = on',
      "ssl_cert_file = 'tls.crt'",
      "ssl_key_file = 'tls.key'",
      "ssl_ca_file = 'ca.crt'",
      'max_connections = 120',
    ],
    hba: ['hostssl posthorn all 10.99.8.0/24 cert'],
    files: { 'tls.crt': file('tls.crt'), 'tls.key': file('tls.key'), 'ca.crt': file('ca.crt') },
  });
  await fillDirectory(postgres, HOSTS.store);
  return postgres;
}

function values(port: number): Record<string, string> {
  return {
    // the first member does not exist: look-ups must go on to the next
    DIRECTORY_HOSTS: `mail-postgres-9.mail-postgres-members.${SUFFIX},${HOSTS.directory}`,
    DIRECTORY_LEADER: HOSTS.directory,
    DIRECTORY_PORT: String(port),
    EGRESS_HOST: HOSTS.egress,
    HOSTNAME: 'mail.example.org',
    SHARD: 'a',
    REPLICAS: '1',
    POST_LOGIN: '',
    LMTP_PORT: '24000',
    SYSTEM: 'mail',
    NAMESPACE: 'mail',
    CLUSTER_DOMAIN: 'cluster.local',
  };
}

function writeConfig(folder: string, component: string, role: string, given: Record<string, string>): string {
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(renderRole(loadTemplates(), component, role, given))) {
    writeFileSync(join(folder, file), text);
  }
  return folder;
}

/** Secrets are mounted from copies that the container's user may read. */
function mountSecret(root: string, role: string, mount: string, source: string): string {
  const folder = join(root, role, mount);
  mkdirSync(folder, { recursive: true });
  for (const file of ['tls.crt', 'tls.key', 'ca.crt']) {
    copyFileSync(join(source, file), join(folder, file));
    sh(`chown 5000:5000 ${join(folder, file)}`);
  }
  return `-v ${folder}:/${mount}:ro`;
}

function emptyDir(root: string, role: string, path: string): string {
  const folder = join(root, role, 'empty', path);
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o777);
  return `-v ${folder}:${path}`;
}

const CONTAINER = '--read-only --read-only-tmpfs=false --security-opt=no-new-privileges --cap-drop=ALL --pull=never';

function startRole(root: string, role: Role, port: number): void {
  const config = writeConfig(join(root, role, 'config'), 'dovecot', role, values(port));
  const mounts = [
    `-v ${config}:/config:ro -v ${join(root, 'hosts')}:/etc/hosts:ro -e 'SESSION_CUTTER_AGAIN=6 9'`,
    mountSecret(root, role, 'tls', join(root, 'ca', role)),
    emptyDir(root, role, '/run'),
    emptyDir(root, role, '/tmp'),
  ];
  if (role === 'proxy') mounts.push(mountSecret(root, role, 'tls-public', join(root, 'ca', 'public')));
  if (role !== 'auth') {
    mkdirSync(join(root, role, 'secret'), { recursive: true });
    writeFileSync(join(root, role, 'secret', 'password'), STORE_SECRET);
    mounts.push(`-v ${join(root, role, 'secret')}:/secret:ro`);
  } else mounts.push(emptyDir(root, role, '/run/sasl'));
  // A round an hour comes every few seconds, and a day takes a second.
  if (role === 'store') {
    mounts.push(emptyDir(root, role, '/srv/mail'));
    mounts.push(
      '-e POD_NAME=mail-store-a-0 -e KEEPER_RETENTION_SECONDS=4 -e KEEPER_RETENTION_UNIT=secs -e KEEPER_QUOTA_SECONDS=3',
    );
  }
  sh(
    `podman run -d --name ${name(role)} --network=ns:/run/netns/${name(role)} ${CONTAINER} ${mounts.join(' ')} ${PREFIX}/dovecot:${TAG} ${role}`,
  );
}

/** Without its way to rspamd: that stands on the same port, beside Dovecot. */
function startTunnel(root: string): void {
  const given = { ...values(0), CLUSTER_DNS: '127.0.0.1', MX_INTERNAL_HOST: 'localhost' };
  const config = writeConfig(join(root, 'tunnel', 'config'), 'tunnel', 'store', given);
  const file = join(config, 'haproxy.cfg');
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^# 127\.0\.0\.1:11334[\s\S]*/m, ''));
  const mounts = [`-v ${config}:/config:ro -v ${join(root, 'store', 'tls')}:/tls:ro`, emptyDir(root, 'tunnel', '/run')];
  sh(`podman run -d --name ${name('tunnel')} --network=ns:/run/netns/${name('store')} ${CONTAINER} --user 5000:5000 \
    ${mounts.join(' ')} ${emptyDir(root, 'tunnel', '/tmp')} ${PREFIX}/tunnel:${TAG} store`);
}

/** Takes everything down; also what an interrupted run has left. */
export function tearDown(): void {
  quiet(`podman rm -f -t 1 ${name('tunnel')}`);
  for (const role of ROLES) {
    quiet(`podman rm -f -t 1 ${name(role)}`);
    quiet(`ip netns pids ${name(role)} | xargs -r kill`);
    quiet(`ip link del phd-${role}`);
    quiet(`ip netns del ${name(role)}`);
  }
  quiet(`ip link del ${BRIDGE}`);
}

/** Waits until the health check of every container says ready. */
export async function untilReady(stage: Stage): Promise<void> {
  for (const role of ROLES) {
    for (const end = Date.now() + 60_000; !(await stage.healthy(role)); await sleep(500)) {
      if (Date.now() > end) throw new Error(`${role} is not ready:\n${await stage.logs(role)}`);
    }
  }
}

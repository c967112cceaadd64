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
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { hash } from '@node-rs/argon2';
import { Redis } from 'ioredis';
import pg from 'pg';
import { loadTemplates, renderRole } from '../../../cdk8s/template.js';
import { readMigrations } from '../../../operator/directory/migrate.js';
import { startPostgres, type TestPostgres } from '../../../operator/directory/testing/postgres.js';
import { authority, type Identity } from './certificates.js';

/** Addresses on the bridge that joins the roles. `here` and `courier` are this process: directory, store, outside world. */
export const IP = {
  here: '10.99.7.1',
  mx: '10.99.7.2',
  submission: '10.99.7.3',
  egress: '10.99.7.4',
  forward: '10.99.7.5',
  courier: '10.99.7.6',
} as const;
export const ROLES = ['mx', 'submission', 'egress', 'forward'] as const;
export type Role = (typeof ROLES)[number];
type Container = 'postfix' | 'rspamd' | 'redis' | 'gatekeeper' | 'auth';

export const HOSTNAME = 'mail.example.org';
const SUFFIX = 'mail.svc.cluster.local';
export const HOSTS = {
  store: `mail-store-a.${SUFFIX}`,
  mx: `mail-mx-internal.${SUFFIX}`,
  egress: `mail-egress.${SUFFIX}`,
  forward: `mail-forward.${SUFFIX}`,
  courier: `mail-courier.${SUFFIX}`,
  directory: `mail-postgres-0.mail-postgres-members.${SUFFIX}`,
};
const PREFIX = process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn';
const TAG = process.env.POSTHORN_IMAGE_TAG ?? 'dev';
const CAPABILITIES = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'KILL', 'SETGID', 'SETUID'];
const BRIDGE = 'ph-checks';
// podman's settings as hack/images writes them for containers and small machines
const PODMAN_CONF = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'posthorn/images/containers.conf');
if (!process.env.CONTAINERS_CONF && existsSync(PODMAN_CONF)) process.env.CONTAINERS_CONF = PODMAN_CONF;

export const sh = (command: string): string =>
  execFileSync('bash', ['-ceuo', 'pipefail', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
/** For while servers in this process must go on answering. */
const shAsync = async (command: string): Promise<string> =>
  (await promisify(execFile)('bash', ['-ceuo', 'pipefail', command], { maxBuffer: 64 * 1024 * 1024 })).stdout;
const quiet = (command: string): void => {
  try {
    sh(command);
  } catch {
    // tearing down what may not be there
  }
};

/** The Postfix roles with their rspamd, gatekeeper, Redis and, at submission, Dovecot's auth service, as containers with the rights that their pods have. */
export interface Stage {
  readonly root: string;
  readonly postgres: TestPostgres;
  readonly identities: Readonly<Record<string, Identity>>;
  /** Runs a command in a role's Postfix container. */
  exec(role: Role, ...command: string[]): Promise<string>;
  logs(role: Role, container?: Container): Promise<string>;
  container(role: Role, container: Container): string;
  redis(role: Role, ...command: string[]): Promise<string>;
  podman(...command: string[]): Promise<string>;
  /** Runs SQL in the directory as its owner. */
  sql(text: string): Promise<void>;
  /** Does the health check of a container say ready? */
  healthy(role: Role, container: Container, argument: string): Promise<boolean>;
  /** Returns what puts the host names back that `rename` changes. */
  hosts(): () => void;
  rename(from: string, to: string): void;
  /** Takes a role off the list of peers; returns what puts it back. */
  unlist(role: Role): () => void;
  /** Replaces the public certificate of a role; `broken`: without its key. */
  renewPublic(role: Role, broken: boolean): void;
  /** Cuts the roles from the directory (refused connections), or undoes it. */
  cutDirectory(cut: boolean): void;
  /** SIGTERM to a role's Postfix; its exit status. */
  stopInBackground(role: Role): Promise<number>;
  close(): Promise<void>;
}

export async function setUp(): Promise<Stage> {
  const root = mkdtempSync(join(tmpdir(), 'posthorn-checks-'));
  tearDown();
  network();
  const issue = authority(join(root, 'ca'));
  const stranger = authority(join(root, 'other-ca'));
  const host = (name: string): string[] => [name];
  const identities: Record<string, Identity> = {
    mx: issue('mx', 'posthorn_mx', host(HOSTS.mx)),
    submission: issue('submission', 'posthorn_submission', []),
    egress: issue('egress', 'posthorn_egress', host(HOSTS.egress)),
    forward: issue('forward', 'posthorn_forward', host(HOSTS.forward)),
    courier: issue('courier', 'posthorn_courier', host(HOSTS.courier)),
    store: issue('store', 'posthorn_store', host(HOSTS.store)),
    postgres: issue('postgres', 'posthorn_postgres', host(HOSTS.directory)),
    public: issue('public', HOSTNAME, [HOSTNAME]),
    unlisted: issue('unlisted', 'posthorn_proxy', []),
    stranger: stranger('stranger', 'posthorn_mx', []),
  };
  const postgres = await directory(identities);
  mkdirSync(join(root, 'peers'));
  writeFileSync(join(root, 'peers', 'peers'), peers(identities));
  writeFileSync(join(root, 'hosts'), hostsFile());
  writeFileSync(join(root, 'resolv.conf'), 'nameserver 127.0.0.1\noptions edns0 trust-ad ndots:1\n');
  const resolvers = ROLES.map((role) =>
    spawn('ip', ['netns', 'exec', `ph-checks-${role}`, 'node', join(import.meta.dirname, 'dns-stub.mjs'), IP.here], {
      stdio: 'ignore',
    }),
  );
  for (const role of ROLES) startRole(root, role, postgres.port);
  return {
    root,
    postgres,
    identities,
    exec: (role, ...command) => shAsync(`podman exec ${name(role, 'postfix')} ${command.map(quote).join(' ')}`),
    logs: (role, container = 'postfix') => shAsync(`podman logs ${name(role, container)} 2>&1`),
    container: name,
    redis: (role, ...command) => redisCommand(IP[role as Role], command),
    podman: (...command) => shAsync(`podman ${command.map(quote).join(' ')}`),
    sql: (text) => runAsOwner(postgres, text),
    healthy: (role, container, argument) => healthy(name(role, container), argument),
    ...faults(root, identities, issue, postgres),
    close: async () => {
      for (const resolver of resolvers) resolver.kill();
      tearDown();
      await postgres.stop();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
const name = (role: Role, container: string): string => `ph-checks-${role}-${container}`;

async function redisCommand(host: string, [command = '', ...args]: readonly string[]): Promise<string> {
  const client = new Redis({ host, lazyConnect: true, maxRetriesPerRequest: 1 });
  client.on('error', () => undefined);
  try {
    return String(await client.call(command, ...args));
  } finally {
    client.disconnect();
  }
}

async function healthy(container: string, argument: string): Promise<boolean> {
  try {
    await shAsync(
      `podman exec ${container} healthcheck ${argument} ready && podman exec ${container} healthcheck ${argument} live`,
    );
    return true;
  } catch {
    return false;
  }
}

type Faults = Pick<Stage, 'hosts' | 'rename' | 'unlist' | 'renewPublic' | 'cutDirectory' | 'stopInBackground'>;

function faults(
  root: string,
  identities: Record<string, Identity>,
  issue: ReturnType<typeof authority>,
  postgres: TestPostgres,
): Faults {
  const hosts = join(root, 'hosts');
  const list = join(root, 'peers', 'peers');
  return {
    hosts: () => {
      const text = readFileSync(hosts, 'utf8');
      return () => writeFileSync(hosts, text);
    },
    rename: (from, to) => writeFileSync(hosts, readFileSync(hosts, 'utf8').replaceAll(from, to)),
    unlist: (role) => {
      const text = readFileSync(list, 'utf8');
      writeFileSync(list, text.replace(`${identities[role]?.fingerprint} ${role}\n`, ''));
      return () => writeFileSync(list, text);
    },
    renewPublic: (role, broken) => {
      const { folder } = issue('renewed', HOSTNAME, [HOSTNAME]);
      const mounted = join(root, role, 'tls-public');
      copyFileSync(join(folder, 'tls.crt'), join(mounted, 'tls.crt'));
      if (!broken) copyFileSync(join(folder, 'tls.key'), join(mounted, 'tls.key'));
    },
    cutDirectory: (cut) => {
      const rule = `INPUT -i ${BRIDGE} -p tcp --dport ${postgres.port} -j REJECT --reject-with tcp-reset`;
      sh(`iptables ${cut ? '-I' : '-D'} ${rule}`);
    },
    stopInBackground: (role) =>
      new Promise((resolve) => {
        const container = name(role, 'postfix');
        execFile('podman', ['stop', '-t', '60', container], () => {
          resolve(Number(sh(`podman inspect -f '{{.State.ExitCode}}' ${container}`)));
        });
      }),
  };
}

function peers(identities: Record<string, Identity>): string {
  return [...ROLES, 'store'].map((role) => `${identities[role]?.fingerprint} ${role}\n`).join('');
}

function hostsFile(): string {
  return [
    '127.0.0.1 localhost',
    `${IP.here} ${HOSTS.directory} ${HOSTS.store} mx.outside.test`,
    `${IP.mx} ${HOSTS.mx}`,
    `${IP.egress} ${HOSTS.egress}`,
    `${IP.forward} ${HOSTS.forward}`,
    `${IP.courier} ${HOSTS.courier}`,
    '',
  ].join('\n');
}

function network(): void {
  sh(`ip link add ${BRIDGE} type bridge; ip link set ${BRIDGE} up
    for address in ${IP.here} ${IP.courier}; do ip addr add $address/24 dev ${BRIDGE}; done`);
  for (const role of ROLES) {
    const ns = `ph-checks-${role}`;
    const veth = `phc-${role}`;
    sh(`ip netns add ${ns}; ip link add ${veth} type veth peer name eth0 netns ${ns}
      ip link set ${veth} master ${BRIDGE} up
      ip -n ${ns} addr add ${IP[role]}/24 dev eth0; ip -n ${ns} link set eth0 up; ip -n ${ns} link set lo up
      ip -n ${ns} route add default via ${IP.here}
      ip netns exec ${ns} sysctl -qw net.ipv4.ip_unprivileged_port_start=0`);
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
    hba: ['hostssl posthorn all 10.99.7.0/24 cert'],
    files: { 'tls.crt': file('tls.crt'), 'tls.key': file('tls.key'), 'ca.crt': file('ca.crt') },
  });
  await runAsOwner(postgres, 'CREATE SCHEMA posthorn');
  for (const { sql } of await readMigrations()) await runAsOwner(postgres, sql);
  await runAsOwner(postgres, SEED);
  // Everybody's password is "secret".
  await runAsOwner(postgres, `UPDATE posthorn.mailboxes SET password = '{ARGON2ID}${await hash('secret')}'`);
  return postgres;
}

async function runAsOwner(postgres: TestPostgres, text: string): Promise<void> {
  const owner = new pg.Client(postgres.as('posthorn'));
  await owner.connect();
  try {
    await owner.query(text);
  } finally {
    await owner.end();
  }
}

/** A mailbox for each name, and the addresses that lead elsewhere. */
const SEED = `
  INSERT INTO posthorn.shards (name, host) VALUES ('a', '${HOSTS.store}');
  INSERT INTO posthorn.domains (domain, object_uid, object_namespace, object_name)
    VALUES ('example.org', 'd1', 'mail', 'example'), ('${HOSTNAME}', 'd2', 'mail', 'host');
  UPDATE posthorn.settings SET postmaster = 'alice@example.org', srs_domain = '${HOSTNAME}', forward_host = '${HOSTS.forward}';
  DELETE FROM posthorn.srs_secrets;
  INSERT INTO posthorn.srs_secrets (key, created_at) VALUES (decode(repeat('5a', 32), 'hex'), now() - interval '1 day');
  WITH people (n, who) AS (VALUES (0, 'alice'), (1, 'bob'), (2, 'full'), (3, 'gone'), (4, 'broken'), (5, 'kept'), (6, 'box')),
  made AS (
    INSERT INTO posthorn.mailboxes (uuid, address, shard, object_uid, object_namespace, object_name)
    SELECT format('00000000-0000-4000-8000-00000000000%s', n)::uuid, who || '@example.org', 'a', 'm' || n, 'mail', who
    FROM people RETURNING uuid, address, object_uid)
  INSERT INTO posthorn.addresses (address, domain, kind, mailbox, claimed_at, claimant)
    SELECT address, 'example.org', 'mailbox', uuid, now(), object_uid FROM made;
  INSERT INTO posthorn.addresses (address, domain, kind, mailbox, claimed_at, claimant)
    VALUES ('sales@example.org', 'example.org', 'alias', '00000000-0000-4000-8000-000000000000', now(), 'm0');
  INSERT INTO posthorn.forwards (uid, address, targets, couriers, keep_copy, object_namespace, object_name, claimed_at) VALUES
    ('f-out', 'ariel@example.org', '{ariel@outside.test}', '[]', NULL, 'mail', 'ariel', now()),
    ('f-keep', 'keep@example.org', '{keep@outside.test,bob@example.org}', '[]', 'box', 'mail', 'keep', now()),
    ('f-same', 'kept@example.org', '{same@outside.test}', '[]', 'kept', 'mail', 'same', now()),
    ('f-gone', 'moved@example.org', '{reject@outside.test}', '[]', NULL, 'mail', 'moved', now()),
    ('f-bad', 'badbot@example.org', '{}', '[{"webhook": {"url": "https://bad.example"}}]', NULL, 'mail', 'badbot', now()),
    ('f-bot', 'bot@example.org', '{}', '[{"webhook": {"url": "https://bot.example"}}]', NULL, 'mail', 'bot', now()),
    ('f-no', 'nobot@example.org', '{}', '[{"webhook": {"url": "https://no.example"}}]', NULL, 'mail', 'nobot', now());
  INSERT INTO posthorn.addresses (address, domain, kind, forward, claimed_at, claimant)
    SELECT address, 'example.org', 'forward', uid, now(), uid FROM posthorn.forwards WHERE uid <> 'f-same';
  UPDATE posthorn.addresses SET forward = 'f-same' WHERE address = 'kept@example.org';
  UPDATE posthorn.forwards SET send_as = 'alice' WHERE uid = 'f-out';
  INSERT INTO posthorn.members (mailbox, namespace, member, rights, send_as)
    SELECT uuid, 'mail', member, 'ReadWrite', send_as FROM posthorn.mailboxes, (VALUES ('alice', true), ('bob', false)) m (member, send_as)
    WHERE object_name = 'box';`;

function values(directoryPort: number): Record<string, string> {
  return {
    SYSTEM: 'mail',
    NAMESPACE: 'mail',
    CLUSTER_DOMAIN: 'cluster.local',
    HOSTNAME,
    SRS_DOMAIN: HOSTNAME,
    POSTMASTER: 'alice@example.org',
    // the first member does not exist: look-ups must go on to the next
    DIRECTORY_HOSTS: `mail-postgres-9.mail-postgres-members.${SUFFIX},${HOSTS.directory}`,
    DIRECTORY_PORT: String(directoryPort),
    DIRECTORY_LEADER: HOSTS.directory,
    LDAP: 'null',
    MX_INTERNAL_HOST: HOSTS.mx,
    EGRESS_HOST: HOSTS.egress,
    FORWARD_HOST: HOSTS.forward,
    COURIER_HOST: HOSTS.courier,
    MESSAGE_SIZE_LIMIT: '200000',
    REJECT_SCORE: '15',
    TAG_SCORE: '6',
    GREYLIST_SCORE: '0',
  };
}

function writeConfig(folder: string, component: string, role: string, port: number, more = {}): string {
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(
    renderRole(loadTemplates(), component, role, { ...values(port), ...more }),
  )) {
    writeFileSync(join(folder, file), text);
  }
  return folder;
}

/** Secrets are mounted from copies, so that a check can replace them. */
function mountSecret(root: string, role: Role, mount: string, source: string): string {
  const folder = join(root, role, mount);
  mkdirSync(folder, { recursive: true });
  for (const file of ['tls.crt', 'tls.key', 'ca.crt']) {
    copyFileSync(join(source, file), join(folder, file));
    // as the pod's group: readable by daemons of any uid
    chmodSync(join(folder, file), 0o444);
  }
  return `-v ${folder}:/${mount}:ro`;
}

/** As the kubelet makes them: anybody in the container may write. */
function emptyDirs(root: string, pod: string, paths: readonly string[]): string {
  return paths
    .map((path) => {
      const folder = join(root, 'empty', pod, path);
      mkdirSync(folder, { recursive: true });
      chmodSync(folder, 0o777);
      return `-v ${folder}:${path}`;
    })
    .join(' ');
}

const RSPAMD = { mx: 'filter', submission: 'outbound', egress: 'signer' } as const;

function startRole(root: string, role: Role, port: number): void {
  const ns = `--network=ns:/run/netns/ph-checks-${role} -v ${join(root, 'hosts')}:/etc/hosts:ro -v ${join(root, 'resolv.conf')}:/etc/resolv.conf:ro`;
  const readOnly = '--read-only --read-only-tmpfs=false --security-opt=no-new-privileges --cap-drop=ALL';
  if (role !== 'forward') {
    sh(`podman run -d --pull=never --name ${name(role, 'redis')} ${ns} ${readOnly} --user 5003:5003 --tmpfs /tmp --entrypoint valkey-server \
      ${PREFIX}/redis:${TAG} --bind '*' --protected-mode no --save '' --dir /tmp`);
    const rspamd = RSPAMD[role];
    const config = writeConfig(join(root, role, 'rspamd'), 'rspamd', rspamd, port);
    sh(
      `podman run -d --pull=never --name ${name(role, 'rspamd')} ${ns} ${readOnly} ${emptyDirs(root, `${role}-rspamd`, ['/run', '/tmp', '/var/lib/rspamd'])} -v ${config}:/config:ro ${PREFIX}/rspamd:${TAG} ${rspamd}`,
    );
  }
  if (role === 'mx' || role === 'submission') {
    const config = writeConfig(join(root, role, 'gatekeeper'), 'posthorn', 'gatekeeper', port, { ROLE: role });
    const tls = mountSecret(root, role, 'tls', join(root, 'ca', role));
    sh(
      `podman run -d --pull=never --name ${name(role, 'gatekeeper')} ${ns} ${readOnly} ${emptyDirs(root, `${role}-gatekeeper`, ['/run', '/tmp'])} -v ${config}:/config:ro ${tls} ${PREFIX}/posthorn:${TAG} gatekeeper`,
    );
  }
  const sasl = emptyDirs(root, role, ['/run/sasl']);
  if (role === 'submission') startAuth(root, port, `${ns} ${readOnly} ${sasl}`);
  const config = writeConfig(join(root, role, 'postfix'), 'postfix', role, port);
  mkdirSync(join(root, role, 'queue'), { recursive: true });
  const mounts = [
    `-v ${config}:/config:ro -v ${join(root, role, 'queue')}:/var/spool/postfix`,
    mountSecret(root, role, 'tls', join(root, 'ca', role)),
    role === 'mx' || role === 'submission' ? mountSecret(root, role, 'tls-public', join(root, 'ca', 'public')) : '',
    role === 'submission' ? sasl : `-v ${join(root, 'peers')}:/peers:ro`,
    emptyDirs(root, `${role}-postfix`, ['/run', '/tmp', '/etc/postfix', '/var/lib/postfix']),
  ];
  const capabilities = CAPABILITIES.map((capability) => `--cap-add=${capability}`).join(' ');
  sh(`podman run -d --pull=never --name ${name(role, 'postfix')} ${ns} ${readOnly} ${capabilities} ${mounts.join(' ')} \
    ${PREFIX}/postfix:${TAG} ${role}`);
}

/** Dovecot's auth service beside submission. */
function startAuth(root: string, port: number, rights: string): void {
  const config = writeConfig(join(root, 'submission', 'auth'), 'dovecot', 'auth', port);
  const tls = mountSecret(root, 'submission', 'tls', join(root, 'ca', 'submission'));
  sh(
    `podman run -d --pull=never --name ${name('submission', 'auth')} ${rights} ${emptyDirs(root, 'submission-auth', ['/run', '/tmp'])} -v ${config}:/config:ro ${tls} ${PREFIX}/dovecot:${TAG} auth`,
  );
}

/** Takes everything down; also what an interrupted run has left. */
export function tearDown(): void {
  for (const role of ROLES) {
    for (const container of ['postfix', 'auth', 'rspamd', 'gatekeeper', 'redis'])
      quiet(`podman rm -f -t 1 ${name(role, container)}`);
    // a resolver that an interrupted run left in its namespace
    quiet(`ip netns pids ph-checks-${role} | xargs -r kill`);
    quiet(`ip link del phc-${role}`);
    quiet(`ip netns del ph-checks-${role}`);
  }
  quiet(`ip link del ${BRIDGE}`);
}

/** Waits until the health check of every container says ready. */
export async function untilReady(stage: Stage): Promise<void> {
  const probes: [Role, Container, string][] = [
    ['mx', 'rspamd', 'filter'],
    ['submission', 'rspamd', 'outbound'],
    ['egress', 'rspamd', 'signer'],
    ['mx', 'gatekeeper', 'gatekeeper'],
    ['submission', 'gatekeeper', 'gatekeeper'],
    ['submission', 'auth', 'auth'],
    ['mx', 'postfix', 'mx'],
    ['submission', 'postfix', 'submission'],
    ['egress', 'postfix', 'egress'],
    ['forward', 'postfix', 'forward'],
  ];
  for (const [role, container, argument] of probes) {
    for (const end = Date.now() + 120_000; !(await stage.healthy(role, container, argument)); await sleep(500)) {
      if (Date.now() > end) throw new Error(`${role}/${container} is not ready:\n${await stage.logs(role, container)}`);
    }
  }
}

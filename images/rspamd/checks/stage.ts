import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { loadTemplates, renderRole } from '../../../cdk8s/template.js';
import { serve, type Zone } from './dns.js';
import { type Gatekeeper, gatekeeper } from './gatekeeper.js';

export type Role = 'filter' | 'outbound' | 'signer';
export const HOSTNAME = 'mail.example.org';
/** Thresholds of the system. */
export const SCORES = { reject: 15, tag: 6, greylist: 0 } as const;

const PREFIX = process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn';
const TAG = process.env.POSTHORN_IMAGE_TAG ?? 'dev';

// Settings of hack/images under which podman runs inside a container or a small VM too.
const settings = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'posthorn/images/containers.conf');
if (existsSync(settings)) process.env.CONTAINERS_CONF ??= settings;

const run = promisify(execFile);
const sh = (command: string): string =>
  execFileSync('bash', ['-ceuo', 'pipefail', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const quiet = (command: string): void => {
  try {
    sh(command);
  } catch {
    // tearing down what may not be there
  }
};

/** rspamd in a role and its Redis, as their pod runs them, in this process's network namespace. */
export interface Stage {
  readonly role: Role;
  readonly gatekeeper: Gatekeeper;
  readonly zone: Zone;
  readonly redis: Redis;
  podman(...command: string[]): Promise<string>;
  logs(): Promise<string>;
  /** One of rspamd's files as it is rendered. */
  file(name: string): string;
  /** Starts rspamd anew, with another version of some of its files (`null`: without the file). */
  restart(changes?: Readonly<Record<string, string | null>>, seconds?: number): Promise<void>;
  container(name: 'rspamd' | 'redis'): string;
  /** Starts another image in this namespace; the container's name. */
  start(image: string, options: string, command: readonly string[]): Promise<string>;
  close(): Promise<void>;
}

const NAMESPACE = (role: Role): string => `ph-rspamd-${role}`;

/** Runs `command` in a network namespace of its own, with loopback only; its exit status. */
export function inNamespace(role: Role, command: string, args: readonly string[]): number {
  quiet(`ip netns del ${NAMESPACE(role)}`);
  sh(`ip netns add ${NAMESPACE(role)} && ip -n ${NAMESPACE(role)} link set lo up
    ip netns exec ${NAMESPACE(role)} sysctl -qw net.ipv4.ip_unprivileged_port_start=0`);
  try {
    const path = `--net=/run/netns/${NAMESPACE(role)}`;
    execFileSync('nsenter', [path, command, ...args], {
      stdio: 'inherit',
      env: { ...process.env, POSTHORN_CHECKS_INSIDE: role },
    });
    return 0;
  } catch (error) {
    return (error as { status?: number }).status ?? 1;
  } finally {
    quiet(`ip netns del ${NAMESPACE(role)}`);
  }
}

export async function setUp(role: Role): Promise<Stage> {
  const root = mkdtempSync(join(tmpdir(), 'posthorn-rspamd-'));
  const container = (name: string): string => `ph-rspamd-${role}-${name}`;
  tearDown(role);
  const zone: Zone = {};
  const [dns, keeper] = [await serve(zone), await gatekeeper()];
  const ns = `--network=ns:/run/netns/${NAMESPACE(role)}`;
  const readOnly = '--read-only --read-only-tmpfs=false --security-opt=no-new-privileges --cap-drop=ALL';
  const users = writeUsers(join(root, 'users'));
  sh(`podman run -d --pull=never --name ${container('redis')} ${ns} ${readOnly} --user 5003:5003 --tmpfs /tmp -v ${users}:/users:ro \
    --entrypoint sh ${PREFIX}/redis:${TAG} -c '${REDIS}'`);
  const redis = new Redis({ host: '127.0.0.1', username: 'checks', password: 'checks', maxRetriesPerRequest: 3 });
  redis.on('error', () => undefined);
  const start = (changes: Readonly<Record<string, string | null>>): void => {
    const config = writeConfig(join(root, 'config'), role, changes);
    quiet(`podman rm -f -t 2 ${container('rspamd')}`);
    sh(`podman run -d --pull=never --name ${container('rspamd')} ${ns} --hostname ${HOSTNAME} ${readOnly} \
      ${emptyDirs(root)} -v ${config}:/config:ro -v ${join(users, USER[role])}:/redis/password:ro ${PREFIX}/rspamd:${TAG} ${role}`);
  };
  const healthy = async (): Promise<boolean> => {
    try {
      for (const probe of ['live', 'ready'])
        await run('podman', ['exec', container('rspamd'), 'healthcheck', role, probe]);
      return true;
    } catch {
      return false;
    }
  };
  const restart = async (changes: Readonly<Record<string, string | null>> = {}, seconds = 90): Promise<void> => {
    start(changes);
    for (const end = Date.now() + seconds * 1000; !(await healthy()); await sleep(500)) {
      if (Date.now() > end) throw new Error(`rspamd is not ready:\n${sh(`podman logs ${container('rspamd')} 2>&1`)}`);
    }
  };
  return {
    role,
    gatekeeper: keeper,
    zone,
    redis,
    podman: async (...command) => (await run('podman', command)).stdout,
    logs: async () => sh(`podman logs ${container('rspamd')} 2>&1`),
    restart,
    file: (name) => files(role)[name] ?? '',
    container,
    start: async (image, options, command) => {
      const name = container(image);
      await run('podman', [
        'run',
        '-d',
        '--pull=never',
        '--name',
        name,
        ns,
        ...options.split(' '),
        `${PREFIX}/${image}:${TAG}`,
        ...command,
      ]);
      return name;
    },
    close: async () => {
      redis.disconnect();
      dns.close();
      await keeper.stop();
      tearDown(role);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

export function tearDown(role: Role): void {
  for (const name of ['rspamd', 'redis', 'postfix']) quiet(`podman rm -f -t 2 ph-rspamd-${role}-${name}`);
}

/** Redis with the users that it has in a system, where nobody comes without a password; and one for the checks. */
const REDIS = `write-users /users /tmp/users.acl && echo "user checks on >checks ~* &* +@all" >>/tmp/users.acl \
  && exec valkey-server --aclfile /tmp/users.acl --bind 127.0.0.1 --save "" --dir /tmp`;
const USER = { filter: 'mx', outbound: 'submission', signer: 'egress' } as const;

function writeUsers(folder: string): string {
  mkdirSync(folder, { recursive: true });
  for (const user of ['operator', 'closed', ...Object.values(USER)]) writeFileSync(join(folder, user), `of-${user}_1`);
  return folder;
}

function files(role: Role): Record<string, string> {
  const values = {
    HOSTNAME,
    SRS_DOMAIN: 'forwards.example.com',
    REJECT_SCORE: String(SCORES.reject),
    TAG_SCORE: String(SCORES.tag),
    GREYLIST_SCORE: String(SCORES.greylist),
  };
  return renderRole(loadTemplates(), 'rspamd', role, values);
}

function writeConfig(folder: string, role: Role, changes: Readonly<Record<string, string | null>>): string {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries({ ...files(role), ...changes })) {
    if (text !== null) writeFileSync(join(folder, file), text);
  }
  return folder;
}

/** As the kubelet makes them: anybody in the container may write. */
function emptyDirs(root: string): string {
  return ['/run', '/tmp', '/var/lib/rspamd']
    .map((path) => {
      const folder = join(root, 'empty', path);
      mkdirSync(folder, { recursive: true });
      chmodSync(folder, 0o777);
      return `-v ${folder}:${path}`;
    })
    .join(' ');
}

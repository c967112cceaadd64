/**
 * Runs the Redis image as its pod does (rights, TLS, mounted passwords) and checks who may do what. No cluster; root and podman.
 *
 *   ./hack/images --no-load redis && npx tsx images/redis/checks/run.ts
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
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
import { Redis } from 'ioredis';
import { loadTemplates, renderRole } from '../../../cdk8s/template.js';
import { redisSigningCache } from '../../../operator/signing/redis.js';
import { redisStore } from '../../../services/gatekeeper/memory/redis.js';
import { authority } from '../../postfix/checks/certificates.js';

const IMAGE = `${process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn'}/redis:${process.env.POSTHORN_IMAGE_TAG ?? 'dev'}`;
const NAME = 'ph-redis-checks';
const USERS = ['operator', 'mx', 'submission', 'egress', 'proxy'] as const;
const podmanConf = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'posthorn/images/containers.conf');
if (existsSync(podmanConf)) process.env.CONTAINERS_CONF ??= podmanConf;

const podman = (...args: string[]): string =>
  execFileSync('podman', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const root = mkdtempSync(join(tmpdir(), 'posthorn-redis-'));
chmodSync(root, 0o755);
const issue = authority(join(root, 'ca'));
const server = issue('redis', 'posthorn_redis', ['localhost']);
const client = issue('client', 'posthorn_proxy', []);
const file = (folder: string, name: string): string => readFileSync(join(folder, name), 'utf8');
const tls = {
  ca: file(client.folder, 'ca.crt'),
  cert: file(client.folder, 'tls.crt'),
  key: file(client.folder, 'tls.key'),
};
const opened: { disconnect(): void }[] = [];

/** A folder that the container's user may read, or write. */
function mounted(name: string, mode: number): string {
  const folder = join(root, name);
  mkdirSync(folder);
  chmodSync(folder, mode);
  return folder;
}

/** As the pod's group: readable by the daemon. */
function install(from: string, to: string): void {
  for (const name of ['ca.crt', 'tls.key', 'tls.crt']) {
    copyFileSync(join(from, name), join(to, name));
    chmodSync(join(to, name), 0o444);
  }
}

function start(): void {
  const [config, secret, users] = [mounted('config', 0o755), mounted('tls', 0o755), mounted('users', 0o755)];
  for (const [name, text] of Object.entries(renderRole(loadTemplates(), 'redis', 'redis', {})))
    writeFileSync(join(config, name), text);
  install(server.folder, secret);
  for (const user of USERS) writeFileSync(join(users, user), `word-of_${user}`);
  const writable = ['/run', '/tmp', '/var/lib/redis'].flatMap((path, n) => [
    '-v',
    `${mounted(`w${n}`, 0o777)}:${path}`,
  ]);
  const mounts = ['-v', `${config}:/config:ro`, '-v', `${secret}:/tls:ro`, '-v', `${users}:/users:ro`, ...writable];
  const rights = ['--read-only', '--read-only-tmpfs=false', '--security-opt=no-new-privileges', '--cap-drop=ALL'];
  podman('run', '-d', '--pull=never', '--name', NAME, '--network=host', ...rights, ...mounts, IMAGE, 'redis');
}

/** As a pod comes: `undefined` shows no password. */
function as(username?: string, password = `word-of_${username}`): Redis {
  const redis = new Redis({
    host: 'localhost',
    port: 6379,
    tls: { ...tls, servername: 'localhost' },
    enableReadyCheck: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    ...(username === undefined ? {} : { username, password }),
  });
  redis.on('error', () => undefined);
  opened.push(redis);
  return redis;
}

async function until(what: string, check: () => Promise<unknown>): Promise<void> {
  for (const end = Date.now() + 30_000; ; await sleep(300)) {
    try {
      return void (await check());
    } catch (error) {
      if (Date.now() > end) throw new Error(`not within 30 s: ${what}`, { cause: error });
    }
  }
}

const NOT_ALLOWED = /NOPERM|NOAUTH/;
const COUNT = { key: 'k', amount: 1, limit: 5, windowMs: 60_000, bucketMs: 1_000 };

const checks: Record<string, () => Promise<void>> = {
  'before it is closed, pods of the release before go on, and those of this one as well': async () => {
    const nobody = as();
    assert.equal(await nobody.hset('DKIM_KEYS', 's1.example.org', 'key'), 1);
    assert.equal(await nobody.hget('DKIM_KEYS', 's1.example.org'), 'key');
    assert.equal(await as('egress').hget('DKIM_KEYS', 's1.example.org'), 'key');
  },
  'closed, it lets nobody do anything without a password but ask whether it is there': async () => {
    const before = as();
    await before.ping();
    writeFileSync(join(root, 'users', 'closed'), 'yes');
    await until('closed', () => assert.rejects(as().hget('DKIM_KEYS', 's1.example.org'), NOT_ALLOWED));
    // a connection that was open as well
    await assert.rejects(before.hget('DKIM_KEYS', 's1.example.org'), NOT_ALLOWED);
    assert.equal(await as().ping(), 'PONG');
    for (const command of [
      'set x y',
      'keys *',
      'info',
      'eval return(1) 0',
      'subscribe x',
      'acl whoami',
      'config get *',
    ]) {
      const [name = '', ...args] = command.split(' ');
      await assert.rejects(as().call(name, ...args), NOT_ALLOWED, command);
    }
    await assert.rejects(as('egress', 'wrong').ping(), /WRONGPASS|closed/);
    podman('exec', NAME, 'healthcheck', 'redis', 'ready');
  },
  'signing keys are written by the operator, and read by egress and mx': async () => {
    const cache = redisSigningCache({
      host: 'localhost',
      port: 6379,
      tls,
      username: 'operator',
      password: 'word-of_operator',
    });
    opened.push({ disconnect: () => cache.close() });
    await cache.write({
      setKeys: { 's1.example.org': 'new' },
      setSelectors: { 'example.org': 's1' },
      markLoaded: true,
      removeSelectors: ['gone.example'],
      removeKeys: ['s1.gone.example'],
    });
    assert.equal((await cache.read()).keys['s1.example.org'], 'new');
    for (const user of ['egress', 'mx']) {
      const reader = as(user);
      assert.equal(await reader.hget('DKIM_KEYS', 's1.example.org'), 'new');
      assert.equal(await reader.hget('DKIM_SELECTORS', 'example.org'), 's1');
      assert.equal(await reader.get('posthorn:dkim:loaded'), '1');
      await assert.rejects(reader.hset('DKIM_KEYS', 's1.example.org', 'other'), NOT_ALLOWED, user);
      await assert.rejects(reader.del('DKIM_KEYS'), NOT_ALLOWED, user);
    }
  },
  'the pods that people reach get at no signing key, by no command': async () => {
    for (const user of ['submission', 'proxy']) {
      const reader = as(user);
      for (const attempt of [
        () => reader.hgetall('DKIM_KEYS'),
        () => reader.hset('DKIM_SELECTORS', 'example.org', 'other'),
        () => reader.set('posthorn:dkim:loaded', '1'),
        () => reader.rename('DKIM_KEYS', 'posthorn:gatekeeper:x'),
        () => reader.call('copy', 'DKIM_KEYS', 'posthorn:gatekeeper:x'),
        () => reader.dump('DKIM_KEYS'),
        () => reader.object('ENCODING', 'DKIM_KEYS'),
        () => reader.call('sort', 'posthorn:gatekeeper:x', 'BY', 'nosort', 'GET', 'DKIM_KEYS'),
        () => reader.eval("return redis.call('HGETALL', 'DKIM_KEYS')", 0),
        () => reader.eval("return redis.call('HGETALL', KEYS[1])", 1, 'DKIM_KEYS'),
        () => reader.call('monitor'),
        () => reader.call('acl', 'list'),
        () => reader.call('acl', 'load'),
        () => reader.call('config', 'get', 'aclfile'),
        () => reader.call('function', 'list'),
        () => reader.flushall(),
        () => reader.call('debug', 'object', 'DKIM_KEYS'),
        () => reader.call('client', 'list'),
      ]) {
        await assert.rejects(
          attempt(),
          /NOPERM|ACL failure|unknown command|can't access|not allowed/,
          `${user}: ${attempt}`,
        );
      }
    }
    assert.equal(await as('egress').hget('DKIM_KEYS', 's1.example.org'), 'new');
  },
  'gatekeepers count in all three pods, egress does not': async () => {
    for (const user of ['mx', 'submission', 'proxy']) {
      const store = redisStore(as(user));
      assert.equal((await store.reserve([COUNT], Date.now(), true)).ok, true, user);
      await store.note('n', user, 60_000, Date.now());
      await store.set('s', user, 60_000);
      assert.deepEqual(await store.get(['s']), [user]);
      assert.equal((await store.verdict('v', true, 20)).spam > 0, true);
      await store.remove('v');
    }
    assert.equal((await redisStore(as('mx')).noted(['n'], 60_000, Date.now()))[0]?.count, 3);
    await assert.rejects(redisStore(as('egress')).get(['s']), NOT_ALLOWED);
  },
  'another certificate is read while passwords hold': async () => {
    const renewed = issue('renewed', 'posthorn_redis', ['localhost', 'renewed.test']);
    install(renewed.folder, join(root, 'tls'));
    await until('the new certificate', async () => {
      const redis = as('mx');
      await redis.ping();
      const { subjectaltname } = (redis.stream as unknown as import('node:tls').TLSSocket).getPeerCertificate();
      assert.match(subjectaltname ?? '', /renewed\.test/);
    });
    await assert.rejects(as().get('x'), NOT_ALLOWED);
  },
};

let failed = 0;
try {
  start();
  await until('Redis', () => as('operator').ping());
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok      ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}\n${error instanceof Error ? error.stack : String(error)}`);
    }
  }
} catch (error) {
  failed++;
  console.log(String(error));
} finally {
  for (const each of opened) each.disconnect();
  if (failed > 0) console.log(podman('logs', NAME));
  podman('rm', '-f', '-t', '2', NAME);
  rmSync(root, { recursive: true, force: true });
}
process.exit(failed === 0 ? 0 : 1);

/** The gatekeeper of one pod: what it listens on depends on the pod's role. */
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { Log } from '../../operator/runtime/log.js';
import { type DirectoryPool, openDirectoryPool, type TlsMaterial } from '../lib/directory.js';
import { type HttpServer, type JsonRoute, startHttp } from '../lib/http.js';
import { watchTls } from '../lib/tls.js';
import { wrongPasswordFingerprint } from './auth/fingerprint.js';
import { createGuard } from './auth/guard.js';
import { createLdap, type LdapSecrets } from './auth/ldap.js';
import { createLogin, type LoginOptions } from './auth/login.js';
import { createRemembered, type Remembered } from './auth/remembered.js';
import { createRevocations, followRevocations } from './auth/revocations.js';
import type { GatekeeperConfig } from './config.js';
import { withFallback } from './memory/fallback.js';
import { processStore } from './memory/process.js';
import { redisStore } from './memory/redis.js';
import type { Store } from './memory/store.js';
import { createGatekeeperMetrics, type GatekeeperMetrics } from './metrics.js';
import { recipientsRoute } from './mx/http.js';
import { mxPolicy } from './mx/policy.js';
import { createLookup } from './mx/recipients.js';
import { countReports } from './mx/reports.js';
import type { Action, PolicyRequest } from './policy/protocol.js';
import { startPolicyServer } from './policy/server.js';
import { submissionMessage } from './submission/message.js';
import { createSessions } from './submission/sessions.js';
import { createDesk, submissionPolicy } from './submission/submission.js';

/** Where it answers, and how it ends. */
export interface Gatekeeper {
  readonly policyPort: number | undefined;
  readonly httpPort: number;
  /** Takes no more questions, answers those that it has, closes what it opened. */
  stop(): Promise<void>;
}

interface Parts {
  readonly config: GatekeeperConfig;
  readonly log: Log;
  readonly metrics: GatekeeperMetrics;
  readonly directory: DirectoryPool;
  readonly store: Store;
  readonly tls: () => TlsMaterial | undefined;
  readonly closers: (() => Promise<void> | void)[];
}

interface Duties {
  readonly decide?: (request: PolicyRequest) => Promise<Action>;
  readonly routes: Readonly<Record<string, JsonRoute>>;
}

/** Starts it. @throws when a port is taken or the certificate can't be read. */
export async function startGatekeeper(config: GatekeeperConfig, log: Log): Promise<Gatekeeper> {
  const parts = await openParts(config, log);
  const { decide, routes } = dutiesOf(parts);
  const http = await startHttp({
    ...hostAndPort(config.http),
    routes,
    registry: parts.metrics.registry,
    ready: parts.directory.isReachable,
    log,
  });
  const policy = decide
    ? await startPolicyServer({ ...hostAndPort(config.policy), decide, log, onAnswer: parts.metrics.policy })
    : undefined;
  log.info({ role: config.role, http: http.port, policy: policy?.port }, 'the gatekeeper answers');
  return { policyPort: policy?.port, httpPort: http.port, stop: () => stop(parts, http, policy?.close) };
}

async function stop(parts: Parts, http: HttpServer, closePolicy: (() => Promise<void>) | undefined): Promise<void> {
  await Promise.all([closePolicy?.(), http.close()]);
  for (const close of parts.closers.toReversed()) await close();
}

function hostAndPort(text: string): { host: string; port: number } {
  const [host = '', port = ''] = text.split(':');
  return { host, port: Number(port) };
}

async function openParts(config: GatekeeperConfig, log: Log): Promise<Parts> {
  const metrics = createGatekeeperMetrics();
  const closers: Parts['closers'] = [];
  const watch =
    config.directory.tls || config.redis.tls
      ? await watchTls(config.tls, { log, onChange: (next) => config.directory.tls && directory.setTls(next) })
      : undefined;
  if (watch) closers.push(watch.stop);
  const directory = openDirectoryPool({
    ...config.directory,
    user: `posthorn_${config.role}`,
    tls: config.directory.tls ? watch?.current() : undefined,
    application: `gatekeeper-${config.role}`,
    onQuery: metrics.query,
  });
  closers.push(directory.close);
  const redis = openRedis(config, watch?.current);
  closers.push(() => redis.disconnect());
  await untilReady(redis);
  const store = withFallback(redisStore(redis), processStore(), { log, onChange: metrics.redis });
  return { config, log, metrics, directory, store, tls: () => watch?.current(), closers };
}

/** Commands fail at once while there is no connection: the process' own memory takes over. */
function openRedis({ redis: settings }: GatekeeperConfig, material: (() => TlsMaterial) | undefined): Redis {
  const { host, port, timeoutMs } = settings;
  const identity = () => ({
    ...(settings.tls && material ? { tls: { ...material(), servername: host } } : {}),
    ...credentials(settings),
  });
  const redis = new Redis({
    host,
    port,
    connectTimeout: 2_000,
    commandTimeout: timeoutMs,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    retryStrategy: (times) => Math.min(times * 200, 2_000),
    ...identity(),
  });
  // Each failure reaches whoever asked; without a listener it would also be printed.
  redis.on('error', () => undefined);
  // A new connection is made with the certificate and the password of the day.
  redis.on('close', () => Object.assign(redis.options, identity()));
  return redis;
}

function credentials({ user, password }: GatekeeperConfig['redis']): { username?: string; password?: string } {
  if (user === undefined || !existsSync(password)) return {};
  return { username: user, password: readFileSync(password, 'utf8').trim() };
}

/** So that a pod that has just started knows what the others count; Redis away must not keep it from starting. */
function untilReady(redis: Redis): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 2_000);
    redis.once('ready', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function dutiesOf(parts: Parts): Duties {
  switch (parts.config.role) {
    case 'mx':
      return mxDuties(parts);
    case 'submission':
      return submissionDuties(parts);
    case 'proxy':
      return { routes: proxyRoutes(parts) };
  }
}

function mxDuties({ config, directory, store }: Parts): Duties {
  const lookup = createLookup(directory);
  const decide = mxPolicy(lookup, countReports(store, config.reports));
  return { decide, routes: { '/v1/recipients': recipientsRoute(lookup) } };
}

function submissionDuties(parts: Parts): Duties {
  const { config, directory, store, log, metrics } = parts;
  const { postmaster, conduct } = config;
  const desk = createDesk({ directory, store, log, postmaster, conduct, onIncident: metrics.incident });
  const message = submissionMessage(desk, { onVerdict: metrics.message });
  const revocations = createRevocations();
  const sessions = createSessions(revocations);
  const remembered = createRemembered(config.ldap?.cacheSeconds ?? 0);
  parts.closers.push(followRevocations(directory, revocations, { log, onNews: remembered.forget }));
  const logins = loginRoutes(parts, remembered, { revocations, loggedIn: sessions.loggedIn });
  return { decide: submissionPolicy(desk, sessions), routes: { '/v1/submission': message, ...logins } };
}

function proxyRoutes(parts: Parts): Record<string, JsonRoute> {
  const { config, directory, log, closers } = parts;
  const remembered = createRemembered(config.ldap?.cacheSeconds ?? 0);
  if (config.ldap) closers.push(followRevocations(directory, createRevocations(), { log, onNews: remembered.forget }));
  return loginRoutes(parts, remembered);
}

function loginRoutes(
  { config, directory, store, log, metrics, tls }: Parts,
  remembered: Remembered,
  sessions?: LoginOptions['sessions'],
): Record<string, JsonRoute> {
  const secrets = () => readLdapSecrets(config.ldapSecrets);
  const login = createLogin({
    directory,
    guard: createGuard(store, config.guard),
    ldap: config.ldap ? createLdap({ rules: config.ldap, secrets, log, onOutcome: metrics.ldap }) : undefined,
    remembered,
    ...(sessions ? { sessions } : {}),
    fingerprint: () => wrongPasswordFingerprint(tls()?.key ?? 'tests'),
    log,
    onAnswer: metrics.login,
  });
  return { '/v1/auth': login.auth, '/v1/auth/result': login.result };
}

/** Files that are there; each may be missing. One line break at the end is dropped: files end with one. */
async function readLdapSecrets(folder: string): Promise<LdapSecrets> {
  const read = async (name: string): Promise<string | undefined> => {
    try {
      return (await readFile(join(folder, name), 'utf8')).replace(/\r?\n$/, '');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  };
  const [username, password, ca] = await Promise.all([read('username'), read('password'), read('ca.crt')]);
  return { username, password, ca };
}

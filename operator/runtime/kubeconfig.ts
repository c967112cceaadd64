/**
 * Where the API server is and how to prove who we are: from the pod's service account, or from a kubeconfig file
 * (tokens, token files, client certificates, basic auth, exec plugins, impersonation).
 * Ours instead of @kubernetes/client-node's: version 2.0.1 of that pulls in an undici that does not load on Node 20.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';

/** TLS options of a connection, as node:tls takes them. */
export interface TlsMaterial {
  ca?: Buffer | undefined;
  cert?: Buffer | undefined;
  key?: Buffer | undefined;
  servername?: string | undefined;
  rejectUnauthorized: boolean;
}

/** One API server and one identity. */
export interface Connection {
  server: URL;
  /** Namespace of the pod or of the kubeconfig context; `default` if it names none. */
  namespace: string;
  /** Reads certificate files anew, so that rotated ones are seen. */
  tls(): TlsMaterial;
  /** Authorization and impersonation headers. Tokens are cached for at most a minute, or until a plugin's expiry. */
  headers(): Promise<Record<string, string>>;
  /** Forgets cached tokens: call it after a 401. */
  forget(): void;
}

export interface ConnectionOptions {
  /** A kubeconfig file; default `$KUBECONFIG`, then the service account, then `~/.kube/config`. */
  path?: string | undefined;
  /** A context in it; default its current one. */
  context?: string | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

interface Cluster {
  server: string;
  'certificate-authority'?: string;
  'certificate-authority-data'?: string;
  'insecure-skip-tls-verify'?: boolean;
  'tls-server-name'?: string;
}

interface ExecPlugin {
  apiVersion: string;
  command: string;
  args?: string[] | null;
  env?: { name: string; value: string }[] | null;
}

interface User {
  token?: string;
  tokenFile?: string;
  username?: string;
  password?: string;
  'client-certificate'?: string;
  'client-certificate-data'?: string;
  'client-key'?: string;
  'client-key-data'?: string;
  as?: string;
  exec?: ExecPlugin;
  'auth-provider'?: { name: string };
}

interface Kubeconfig {
  'current-context'?: string;
  clusters?: { name: string; cluster: Cluster }[];
  users?: { name: string; user: User }[];
  contexts?: { name: string; context: { cluster: string; user?: string; namespace?: string } }[];
}

interface Token {
  value: string | undefined;
  cert?: Buffer | undefined;
  key?: Buffer | undefined;
  /** Wall-clock milliseconds. */
  expires: number;
}

const serviceAccountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';
const tokenCacheMs = 60_000;

/** Finds the API server. Throws with the place that was looked at if there is none or the file is incomplete. */
export function loadConnection({ path, context, env = process.env }: ConnectionOptions = {}): Connection {
  if (path !== undefined) return fromFiles([path], context);
  if (env.KUBECONFIG !== undefined && env.KUBECONFIG !== '')
    return fromFiles(
      env.KUBECONFIG.split(delimiter).filter((p) => p !== ''),
      context,
    );
  if (env.KUBERNETES_SERVICE_HOST !== undefined && existsSync(join(serviceAccountFolder, 'token')))
    return fromServiceAccount(env);
  return fromFiles([join(homedir(), '.kube', 'config')], context);
}

function fromServiceAccount(env: NodeJS.ProcessEnv): Connection {
  const host = env.KUBERNETES_SERVICE_HOST ?? '';
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${env.KUBERNETES_SERVICE_PORT ?? '443'}`;
  const cluster = { server, 'certificate-authority': join(serviceAccountFolder, 'ca.crt') };
  const namespace = readFileSync(join(serviceAccountFolder, 'namespace'), 'utf8').trim();
  return connectionOf(cluster, { tokenFile: join(serviceAccountFolder, 'token') }, namespace, serviceAccountFolder);
}

function fromFiles(paths: string[], wanted: string | undefined): Connection {
  const files = paths
    .filter((path) => existsSync(path))
    .map((path) => ({ folder: dirname(path), config: parse(readFileSync(path, 'utf8')) as Kubeconfig }));
  const where = paths.join(', ');
  if (files.length === 0) throw new Error(`no kubeconfig at ${where}; set KUBECONFIG`);
  const name = wanted ?? files.map(({ config }) => config['current-context']).find((c) => c !== undefined && c !== '');
  const context = files.flatMap(({ config }) => config.contexts ?? []).find((c) => c.name === name)?.context;
  if (context === undefined) throw new Error(`kubeconfig ${where}: no context "${name ?? ''}"`);
  const cluster = findIn(files, (config) => config.clusters?.find((c) => c.name === context.cluster)?.cluster);
  if (cluster === undefined) throw new Error(`kubeconfig ${where}: no cluster "${context.cluster}"`);
  const user = findIn(files, (config) => config.users?.find((u) => u.name === context.user)?.user);
  const absolute = {
    ...absoluteCluster(cluster.value, cluster.folder),
    ...(user === undefined ? {} : absoluteUser(user.value, user.folder)),
  };
  return connectionOf(absolute, absolute, context.namespace ?? 'default', user?.folder ?? cluster.folder);
}

function findIn<T>(
  files: { folder: string; config: Kubeconfig }[],
  find: (config: Kubeconfig) => T | undefined,
): { value: T; folder: string } | undefined {
  for (const { config, folder } of files) {
    const value = find(config);
    if (value !== undefined) return { value, folder };
  }
  return undefined;
}

function absoluteCluster(cluster: Cluster, folder: string): Cluster {
  const ca = cluster['certificate-authority'];
  return ca === undefined ? cluster : { ...cluster, 'certificate-authority': absolute(ca, folder) };
}

function absoluteUser(user: User, folder: string): User {
  const resolved = { ...user };
  for (const field of ['client-certificate', 'client-key', 'tokenFile'] as const) {
    const path = resolved[field];
    if (path !== undefined) resolved[field] = absolute(path, folder);
  }
  return resolved;
}

function absolute(path: string, folder: string): string {
  return isAbsolute(path) ? path : join(folder, path);
}

function connectionOf(cluster: Cluster, user: User, namespace: string, folder: string): Connection {
  if (user['auth-provider'] !== undefined) {
    throw new Error(
      `kubeconfig: the auth-provider "${user['auth-provider'].name}" is not supported; use an exec plugin`,
    );
  }
  const server = new URL(cluster.server);
  let token: Token | undefined;
  const currentToken = async (): Promise<Token> => {
    if (token === undefined || Date.now() >= token.expires) token = await readToken(user, folder);
    return token;
  };
  return {
    server,
    namespace,
    tls: () => ({
      ca: bytes(cluster['certificate-authority'], cluster['certificate-authority-data']),
      cert: token?.cert ?? bytes(user['client-certificate'], user['client-certificate-data']),
      key: token?.key ?? bytes(user['client-key'], user['client-key-data']),
      servername: cluster['tls-server-name'],
      rejectUnauthorized: cluster['insecure-skip-tls-verify'] !== true,
    }),
    headers: async () => {
      const { value } = await currentToken();
      return {
        ...(value === undefined ? {} : { authorization: value }),
        ...(user.as === undefined ? {} : { 'impersonate-user': user.as }),
      };
    },
    forget: () => {
      token = undefined;
    },
  };
}

function bytes(path: string | undefined, base64: string | undefined): Buffer | undefined {
  if (base64 !== undefined) return Buffer.from(base64, 'base64');
  return path === undefined ? undefined : readFileSync(path);
}

async function readToken(user: User, folder: string): Promise<Token> {
  if (user.exec !== undefined) return execToken(user.exec, folder);
  return {
    value: authorizationOf(user),
    expires: user.tokenFile === undefined ? Number.POSITIVE_INFINITY : Date.now() + tokenCacheMs,
  };
}

function authorizationOf(user: User): string | undefined {
  if (user.tokenFile !== undefined) return `Bearer ${readFileSync(user.tokenFile, 'utf8').trim()}`;
  if (user.token !== undefined) return `Bearer ${user.token}`;
  if (user.username === undefined) return undefined;
  return `Basic ${Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64')}`;
}

/** Runs a client-go credential plugin (client.authentication.k8s.io) and takes what it prints. */
async function execToken(plugin: ExecPlugin, folder: string): Promise<Token> {
  const environment = Object.fromEntries((plugin.env ?? []).map(({ name, value }) => [name, value]));
  const info = JSON.stringify({ apiVersion: plugin.apiVersion, kind: 'ExecCredential', spec: { interactive: false } });
  const command = plugin.command.includes('/') ? absolute(plugin.command, folder) : plugin.command;
  const { stdout } = await promisify(execFile)(command, plugin.args ?? [], {
    env: { ...process.env, ...environment, KUBERNETES_EXEC_INFO: info },
    timeout: 60_000,
  });
  const { status } = JSON.parse(stdout) as {
    status?: { token?: string; clientCertificateData?: string; clientKeyData?: string; expirationTimestamp?: string };
  };
  if (status === undefined) throw new Error(`kubeconfig: the plugin ${plugin.command} printed no status`);
  const expires =
    status.expirationTimestamp === undefined
      ? Date.now() + 10 * tokenCacheMs
      : Date.parse(status.expirationTimestamp) - 10_000;
  return {
    value: status.token === undefined ? undefined : `Bearer ${status.token}`,
    cert: status.clientCertificateData === undefined ? undefined : Buffer.from(status.clientCertificateData),
    key: status.clientKeyData === undefined ? undefined : Buffer.from(status.clientKeyData),
    expires,
  };
}

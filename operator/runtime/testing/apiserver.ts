/** A real etcd and kube-apiserver on loopback, for tests: nothing else of a cluster (no controllers, no nodes). */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { createClient } from '../client.js';
import { loadConnection } from '../kubeconfig.js';
import { createAuthority, newKey } from './certificates.js';

export interface ApiServer {
  /** `https://127.0.0.1:PORT` */
  url: string;
  /** An administrator's kubeconfig, with a token. */
  kubeconfigPath: string;
  token: string;
  /** PEM. */
  ca: string;
  /** A certificate and key of that CA for 127.0.0.1 and localhost, for a proxy in front. */
  serverCert: string;
  serverKey: string;
  /** etcd's client URL; plain HTTP. */
  etcdUrl: string;
  folder: string;
}

export interface RunningApiServer extends ApiServer {
  /** Ends both programs and removes their folder. Safe to call twice. */
  stop(): Promise<void>;
}

export interface ApiServerOptions {
  /** Further arguments of kube-apiserver. */
  args?: string[] | undefined;
}

/** Kinds without a watch cache, so that a compaction of etcd is felt by their watches at once. */
const uncached = 'limitranges#0';
const startTimeoutMs = 60_000;

/** The program that holds etcd and kube-apiserver: `$POSTHORN_KUBE`, or what `./hack/tool kube` says. */
export function kubeProgram(env: NodeJS.ProcessEnv = process.env): string {
  if (env.POSTHORN_KUBE !== undefined) return env.POSTHORN_KUBE;
  // Builds it when this machine has none of the version that hack/tools/kube asks for.
  const tool = fileURLToPath(new URL('../../../hack/tool', import.meta.url));
  return execFileSync(tool, ['kube'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

/** Starts both on free ports (about 6 s). What was started ends if anything fails, and with this process. */
export async function startApiServer(options: ApiServerOptions = {}): Promise<RunningApiServer> {
  const program = kubeProgram();
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-apiserver-'));
  const children: ChildProcess[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(end));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const server = await prepare(folder);
    children.push(await startEtcd(program, server));
    children.push(startKube(program, server, options.args ?? []));
    await untilReady(server, children);
    return { ...server, stop };
  } catch (error) {
    const log = await lastLines(join(folder, 'apiserver.log'));
    await stop();
    throw new Error(`the test API server did not start: ${String(error)}\n${log}`, { cause: error });
  }
}

async function prepare(folder: string): Promise<ApiServer> {
  const authority = await createAuthority();
  const serving = await authority.issue({
    cn: 'kube-apiserver',
    names: ['localhost', 'kubernetes'],
    addresses: ['127.0.0.1'],
  });
  const signer = await newKey();
  const token = randomBytes(16).toString('hex');
  const [port, etcdPort] = [await freePort(), await freePort()];
  const url = `https://127.0.0.1:${port}`;
  const kubeconfigPath = join(folder, 'kubeconfig');
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [
      {
        name: 'test',
        cluster: { server: url, 'certificate-authority-data': Buffer.from(authority.cert).toString('base64') },
      },
    ],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin', namespace: 'default' } }],
  };
  await mkdir(join(folder, 'etcd'), { mode: 0o700 });
  const files: Record<string, string> = {
    'ca.crt': authority.cert,
    'server.crt': serving.cert,
    'server.key': serving.key,
    'sa.key': signer.privateKey,
    'sa.pub': signer.publicKey,
    'tokens.csv': `${token},admin,admin,"system:masters"\n`,
    kubeconfig: stringify(kubeconfig),
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content, { mode: 0o600 });
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  return {
    url,
    kubeconfigPath,
    token,
    ca: authority.cert,
    serverCert: serving.cert,
    serverKey: serving.key,
    etcdUrl,
    folder,
  };
}

async function startEtcd(program: string, { folder, etcdUrl }: ApiServer): Promise<ChildProcess> {
  const peer = `http://127.0.0.1:${await freePort()}`;
  return launch(program, folder, 'etcd', [
    `--data-dir=${join(folder, 'etcd')}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    '--unsafe-no-fsync',
    '--log-level=error',
  ]);
}

function startKube(program: string, server: ApiServer, args: string[]): ChildProcess {
  const { folder, etcdUrl, url } = server;
  return launch(program, folder, 'apiserver', [
    `--etcd-servers=${etcdUrl}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${new URL(url).port}`,
    `--cert-dir=${folder}`,
    `--tls-cert-file=${join(folder, 'server.crt')}`,
    `--tls-private-key-file=${join(folder, 'server.key')}`,
    `--token-auth-file=${join(folder, 'tokens.csv')}`,
    `--service-account-key-file=${join(folder, 'sa.pub')}`,
    `--service-account-signing-key-file=${join(folder, 'sa.key')}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    '--service-cluster-ip-range=10.0.0.0/24',
    '--authorization-mode=RBAC',
    '--disable-admission-plugins=ServiceAccount',
    `--watch-cache-sizes=${uncached}`,
    ...args,
  ]);
}

/**
 * Starts it in a process group of its own, with its output in a file. A watchdog in the group waits for the end of standard
 * input, which comes when this process is gone, however it went, and then ends the group.
 */
function launch(program: string, folder: string, component: string, args: string[]): ChildProcess {
  const watchdog = '(read -r _ <&3; kill -9 0) 2>/dev/null &';
  const script = `exec 3<&0\n${watchdog}\nexec "$0" "$@" >"$LOG" 2>&1 </dev/null 3<&-`;
  const env = { ...process.env, LOG: join(folder, `${component}.log`) };
  const stdio: ['pipe', 'ignore', 'ignore'] = ['pipe', 'ignore', 'ignore'];
  const child = spawn('/bin/sh', ['-c', script, program, component, ...args], { env, stdio, detached: true });
  child.stdin?.on('error', () => {});
  return child;
}

/** Closing standard input makes the watchdog kill the group. */
async function end(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.stdin?.destroy();
  if (child.exitCode === null && child.signalCode === null) await exited;
}

async function untilReady(server: ApiServer, children: ChildProcess[]): Promise<void> {
  const client = createClient(loadConnection({ path: server.kubeconfigPath }), { attempts: 1, timeoutMs: 2_000 });
  const deadline = Date.now() + startTimeoutMs;
  try {
    while (!(await isReady(client))) {
      const ended = children.find((child) => child.exitCode !== null);
      if (ended !== undefined) throw new Error(`a program ended with ${ended.exitCode}`);
      if (Date.now() > deadline) throw new Error(`not ready after ${startTimeoutMs / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    client.close();
  }
}

/** /readyz first; then the default namespace, which the API server makes a moment later. */
async function isReady(client: ReturnType<typeof createClient>): Promise<boolean> {
  try {
    await client.request('GET', '/readyz?verbose=false', {}).catch((error: unknown) => {
      if (!(error instanceof SyntaxError)) throw error;
    });
    await client.request('GET', '/api/v1/namespaces/default');
    return true;
  } catch {
    return false;
  }
}

/** A TCP port of loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

async function lastLines(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').slice(-15).join('\n');
}

/**
 * The world outside: an authoritative name server that signs a private root zone, a mail server that keeps what it gets (sink),
 * and one that refuses what can't prove where it comes from (strict).
 */

import { createHash, X509Certificate } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import type { Verdicts } from '../../outside/judge.js';
import { apply, kube, kubectlOk, root, waitFor } from './kube.js';

export const outsideNamespace = 'outside';

export interface Outside {
  /** Address of the name server, reachable from pods and from here. */
  nameServer: string;
  sink: string;
  /** Address of the mail server of strict.example, which checks SPF, DKIM, DMARC and ARC. */
  strict: string;
  /** DS record of the private root, for `spec.resolver.trustAnchors`. */
  trustAnchor: string;
}

export interface Received {
  id: number;
  from: string;
  to: string[];
  tls: boolean;
  client: string;
  helo: string;
  raw: string;
  /** What the strict server found. */
  verdicts?: Verdicts;
  /** Why the strict server refused it. */
  refusal?: string;
}

interface Service extends KubeObject {
  spec?: { clusterIP?: string };
}

/** Makes the outside world, or finds it; safe to call again. */
export async function ensureOutside(): Promise<Outside> {
  await apply(
    namespace(),
    service('dns', [
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53, protocol: 'TCP' },
    ]),
  );
  const ports = [
    { name: 'smtp', port: 25, protocol: 'TCP' },
    { name: 'http', port: 8080, protocol: 'TCP' },
  ];
  await apply(service('sink', ports), service('strict', ports));
  const [nameServer, sink, strict] = await Promise.all([clusterIp('dns'), clusterIp('sink'), clusterIp('strict')]);
  const scripts = await configMap(nameServer, sink);
  const version = createHash('sha256').update(JSON.stringify(scripts)).digest('hex').slice(0, 16);
  const volumes = [{ name: 'scripts', mountPath: '/scripts', configMap: { name: 'scripts' } }];
  const mail = { port: 25, env: { NAME_SERVER: nameServer }, version, volumes };
  await apply(
    scripts,
    // Not the name server: with another start it would have other keys.
    outsideWorkload('dns', DNS_COMMAND, { port: 53, volumes }),
    outsideWorkload('sink', mailServer('mx.outside.example', 'sink'), mail),
    outsideWorkload('strict', mailServer('mx.strict.example', 'strict'), mail),
  );
  await waitFor('the outside world to run', ready, 120_000);
  const anchor = await waitFor('the root zone to be signed', () => rootAnchor(), 60_000);
  await setRecords([
    { name: 'strict.example', type: 'MX', value: '10 mx.strict.example.' },
    { name: 'strict.example', type: 'TXT', value: '"v=spf1 a:mx.strict.example -all"' },
    ...(await hostRecords('mx.strict.example', 'strict', strict)),
    ...(await hostRecords('mx.outside.example', 'sink', sink)),
  ]);
  return { nameServer, sink, strict, trustAnchor: anchor };
}

/** A server sends from its pod's address: that is one of its host's too, and leads back to the name. Else it is greylisted. */
async function hostRecords(name: string, app: string, service: string) {
  type Pod = KubeObject & { status?: { podIP?: string; phase?: string } };
  const { items } = await kube().list<Pod>(builtin.pod, { namespace: outsideNamespace, labelSelector: `app=${app}` });
  const pods = items.map(({ status }) => status?.podIP).filter((address) => address !== undefined);
  return [
    ...[service, ...pods].map((value) => ({ name, type: 'A', value })),
    ...pods.map((address) => ({
      name: `${address.split('.').reverse().join('.')}.in-addr.arpa`,
      type: 'PTR',
      value: `${name}.`,
    })),
  ];
}

/** Enters records in the private root zone; replaces those of the same name and type. */
export async function setRecords(
  records: readonly { name: string; type: string; value: string; ttl?: number }[],
): Promise<void> {
  const names = new Set(records.map(({ name, type }) => `${name}. ${type}`));
  const commands = [
    'zone-begin .',
    ...[...names].map((name) => `zone-unset . ${name}`),
    ...records.map(({ name, type, value, ttl = 5 }) => `zone-set . ${name}. ${ttl} ${type} ${value}`),
    'zone-commit .',
  ];
  // zone-unset fails for what is not there; the rest must not.
  const script = commands
    .map(
      (c) =>
        `knotc -s /run/knot/knot.sock ${quote(c)} ${c.startsWith('zone-unset') ? '>/dev/null 2>&1 || true' : '|| exit 1'}`,
    )
    .join('\n');
  await kubectlOk(['exec', '-i', '-n', outsideNamespace, 'deploy/dns', '--', 'sh'], script);
}

function quote(command: string): string {
  return command
    .split(/ (?=(?:[^"]*"[^"]*")*[^"]*$)/)
    .map((word) => `'${word.replaceAll("'", "'\\''")}'`)
    .join(' ');
}

/** What the outside mail servers have taken, for one recipient or for all. */
export function received(outside: Outside, to?: string): Promise<Received[]> {
  return ask(to?.endsWith('@strict.example') ? outside.strict : outside.sink, 'messages', to);
}

/** What the strict server has refused after it had seen the whole message. */
export function refused({ strict }: Outside, to?: string): Promise<Received[]> {
  return ask(strict, 'refused', to);
}

async function ask(server: string, list: string, to: string | undefined): Promise<Received[]> {
  const query = to === undefined ? '' : `?to=${encodeURIComponent(to)}`;
  const response = await fetch(`http://${server}:8080/${list}${query}`);
  return (await response.json()) as Received[];
}

export function decode(message: Received): string {
  return Buffer.from(message.raw, 'base64').toString('utf8');
}

export function waitForReceived(outside: Outside, to: string, timeoutMs = 60_000): Promise<Received> {
  return waitFor(`a message for ${to} outside`, async () => (await received(outside, to))[0], timeoutMs);
}

/** A resolver that asks the outside name server, in the shape that verifiers take. */
export function resolverOf({ nameServer }: Outside): (name: string, type: string) => Promise<unknown> {
  const resolver = new Resolver({ timeout: 3_000, tries: 3 });
  resolver.setServers([nameServer]);
  return (name, type) => resolver.resolve(name, type);
}

/** With a certificate that nobody has signed, as most mail servers have; DANE can vouch for it. */
function mailServer(name: string, script: string): string[] {
  const tls =
    `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=${name} ` +
    `-addext subjectAltName=DNS:${name} -keyout /run/tls/tls.key -out /run/tls/tls.crt 2>/dev/null`;
  const unpack = `gzip -dc /scripts/${script}.cjs.gz >/run/${script}.cjs`;
  return ['sh', '-c', `mkdir -p /run/tls && ${tls} && ${unpack} && TLS_FOLDER=/run/tls exec node /run/${script}.cjs`];
}

/** The TLSA record (DANE-EE, public key, SHA-256: RFC 7672) of the outside mail server, or of a key that it doesn't have. */
export async function tlsaRecord(genuine: boolean): Promise<{ name: string; type: string; value: string }> {
  const pem = await kubectlOk(['exec', '-n', outsideNamespace, 'deploy/sink', '--', 'cat', '/run/tls/tls.crt']);
  const spki = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' });
  const digest = createHash('sha256')
    .update(spki)
    .update(genuine ? '' : 'another')
    .digest('hex');
  return { name: '_25._tcp.mx.outside.example', type: 'TLSA', value: `3 1 1 ${digest}` };
}

/** Takes records of that name and type out of the zone. */
export async function unsetRecords(name: string, type: string): Promise<void> {
  const script = ['zone-begin .', `zone-unset . ${name}. ${type}`, 'zone-commit .']
    .map((c) => `knotc -s /run/knot/knot.sock ${c}`)
    .join(' && ');
  await kubectlOk(['exec', '-i', '-n', outsideNamespace, 'deploy/dns', '--', 'sh'], script);
}

const DNS_COMMAND = [
  'sh',
  '-c',
  'mkdir -p /run/knot/zones /run/knot/db && cp /scripts/root.zone /run/knot/zones/ && exec knotd -c /scripts/knot.conf',
];

function namespace(): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: outsideNamespace, labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } },
  };
}

function service(name: string, ports: { name: string; port: number; protocol: string }[]): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: outsideNamespace },
    spec: { selector: { app: name }, ports, publishNotReadyAddresses: true },
  } as KubeObject;
}

/** Address of a Service of the world outside. */
export async function clusterIp(name: string): Promise<string> {
  const found = await kube().get<Service>(builtin.service, { namespace: outsideNamespace, name });
  if (found.spec?.clusterIP === undefined) throw new Error(`Service ${name} has no address`);
  return found.spec.clusterIP;
}

async function configMap(nameServer: string, sink: string): Promise<KubeObject> {
  const folder = `${root}test/outside`;
  const zone = await readFile(`${folder}/config/root.zone`, 'utf8');
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'scripts', namespace: outsideNamespace },
    data: {
      'knot.conf': await readFile(`${folder}/config/knot.conf`, 'utf8'),
      'root.zone': zone.replaceAll('@NAME_SERVER@', nameServer).replaceAll('@SINK@', sink),
    },
    binaryData: {
      'sink.cjs.gz': await bundle('sink.ts'),
      'strict.cjs.gz': await bundle('strict.ts'),
    },
  } as KubeObject;
}

/** A program of test/outside in one file with everything it needs, compressed (a ConfigMap holds 1 MiB) and in base64. */
export async function bundle(name: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [`${root}test/outside/${name}`],
    bundle: true,
    minify: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    write: false,
  });
  return gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).toString('base64');
}

interface WorkloadOptions {
  /** Port that says that it is ready. */
  port: number;
  env?: Record<string, string>;
  /** Another version is another pod. */
  version?: string;
  volumes?: { name: string; mountPath: string; [source: string]: unknown }[];
}

/** A Deployment of one pod of the image `outside`, with `/run` to write to. */
export function outsideWorkload(name: string, command: string[], options: WorkloadOptions): KubeObject {
  const { port, env = {}, version, volumes = [] } = options;
  const prefix = process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn';
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: outsideNamespace },
    spec: {
      replicas: 1,
      strategy: { type: 'Recreate' },
      selector: { matchLabels: { app: name } },
      template: {
        metadata: {
          labels: { app: name },
          ...(version === undefined ? {} : { annotations: { 'outside/version': version } }),
        },
        spec: {
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 2,
          containers: [
            {
              name,
              image: `${prefix}/outside:dev`,
              args: command,
              env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
              volumeMounts: [
                ...volumes.map((volume) => ({ name: volume.name, mountPath: volume.mountPath })),
                { name: 'run', mountPath: '/run' },
              ],
              readinessProbe: { tcpSocket: { port }, periodSeconds: 1 },
            },
          ],
          volumes: [...volumes.map(({ mountPath: _, ...volume }) => volume), { name: 'run', emptyDir: {} }],
        },
      },
    },
  } as KubeObject;
}

async function ready(): Promise<true | undefined> {
  const { items } = await kube().list<KubeObject & { status?: { readyReplicas?: number; updatedReplicas?: number } }>(
    builtin.deployment,
    { namespace: outsideNamespace },
  );
  const running = items
    .filter(({ status }) => (status?.readyReplicas ?? 0) > 0 && (status?.updatedReplicas ?? 0) > 0)
    .map(({ metadata }) => metadata.name);
  return ['dns', 'sink', 'strict'].every((name) => running.includes(name)) ? true : undefined;
}

async function rootAnchor(): Promise<string | undefined> {
  const out = await kubectlOk([
    'exec',
    '-n',
    outsideNamespace,
    'deploy/dns',
    '--',
    'kdig',
    '@127.0.0.1',
    '+short',
    'DNSKEY',
    '.',
  ]);
  const key = out.split('\n').find((line) => line.startsWith('257 '));
  return key === undefined ? undefined : `. DNSKEY ${key.trim()}`;
}

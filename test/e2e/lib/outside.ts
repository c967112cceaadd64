/** The world outside: an authoritative name server that signs a private root zone, and a mail server that keeps what it gets. */

import { createHash, X509Certificate } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { apply, kube, kubectlOk, root, waitFor } from './kube.js';

export const outsideNamespace = 'outside';

export interface Outside {
  /** Address of the name server, reachable from pods and from here. */
  nameServer: string;
  sink: string;
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
  await apply(
    service('sink', [
      { name: 'smtp', port: 25, protocol: 'TCP' },
      { name: 'http', port: 8080, protocol: 'TCP' },
    ]),
  );
  const [nameServer, sink] = await Promise.all([clusterIp('dns'), clusterIp('sink')]);
  await apply(await configMap(nameServer, sink), workload('dns', DNS_COMMAND), workload('sink', SINK_COMMAND));
  await waitFor('the outside world to run', async () => ((await readyPods()) >= 2 ? true : undefined), 120_000);
  const anchor = await waitFor('the root zone to be signed', () => rootAnchor(), 60_000);
  return { nameServer, sink, trustAnchor: anchor };
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

/** What the outside mail server has received, for one recipient or for all. */
export async function received({ sink }: Outside, to?: string): Promise<Received[]> {
  const query = to === undefined ? '' : `?to=${encodeURIComponent(to)}`;
  const response = await fetch(`http://${sink}:8080/messages${query}`);
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

/** A certificate that nobody has signed, as most mail servers have; DANE can vouch for it. */
const SINK_COMMAND = [
  'sh',
  '-c',
  'mkdir -p /run/tls && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=mx.outside.example ' +
    '-addext subjectAltName=DNS:mx.outside.example -keyout /run/tls/tls.key -out /run/tls/tls.crt 2>/dev/null && ' +
    'TLS_FOLDER=/run/tls exec node /scripts/sink.cjs',
];

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

async function clusterIp(name: string): Promise<string> {
  const found = await kube().get<Service>(builtin.service, { namespace: outsideNamespace, name });
  if (found.spec?.clusterIP === undefined) throw new Error(`Service ${name} has no address`);
  return found.spec.clusterIP;
}

async function configMap(nameServer: string, sink: string): Promise<KubeObject> {
  const folder = `${root}test/outside`;
  const bundle = await build({
    entryPoints: [`${folder}/sink.ts`],
    bundle: true,
    minify: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    write: false,
  });
  const zone = await readFile(`${folder}/config/root.zone`, 'utf8');
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'scripts', namespace: outsideNamespace },
    data: {
      'sink.cjs': bundle.outputFiles[0]?.text ?? '',
      'knot.conf': await readFile(`${folder}/config/knot.conf`, 'utf8'),
      'root.zone': zone.replaceAll('@NAME_SERVER@', nameServer).replaceAll('@SINK@', sink),
    },
  } as KubeObject;
}

function workload(name: string, command: string[]): KubeObject {
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
        metadata: { labels: { app: name } },
        spec: {
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 2,
          containers: [
            {
              name,
              image: `${prefix}/outside:dev`,
              args: command,
              volumeMounts: [
                { name: 'scripts', mountPath: '/scripts' },
                { name: 'run', mountPath: '/run' },
              ],
              readinessProbe: { tcpSocket: { port: name === 'dns' ? 53 : 25 }, periodSeconds: 1 },
            },
          ],
          volumes: [
            { name: 'scripts', configMap: { name: 'scripts' } },
            { name: 'run', emptyDir: {} },
          ],
        },
      },
    },
  } as KubeObject;
}

async function readyPods(): Promise<number> {
  const { items } = await kube().list<KubeObject & { status?: { readyReplicas?: number } }>(builtin.deployment, {
    namespace: outsideNamespace,
  });
  return items.filter((deployment) => (deployment.status?.readyReplicas ?? 0) > 0).length;
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

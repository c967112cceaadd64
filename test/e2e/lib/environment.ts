/** One mail system for all suites: operator installed by helm, the outside world, a domain and people. */
import { createSocket } from 'node:dgram';
import { names } from '../../../cdk8s/names.js';
import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { mailboxType, mailDomainType, mailSystemType } from '../../../operator/types.js';
import { hooksHost } from './hooks.js';
import type { ImapTarget } from './imap.js';
import { apply, exec, kube, kubectlOk, root, type WithConditions, waitForCondition } from './kube.js';
import { ldapSecrets, ldapSpec } from './ldap.js';
import { ensureOutside, type Outside, setRecords } from './outside.js';
import type { Target } from './smtp.js';

export const operatorNamespace = 'posthorn-system';
export const namespace = 'mail-e2e';
export const systemName = 'mail';
/** Whose domains the system serves too. */
export const tenantNamespace = 'tenant-e2e';
export const domain = 'posthorn.example';
export const hostname = 'mail.posthorn.example';

/** People who exist in every suite; the password is the local part with a suffix. */
export const people = ['mallory', 'orpheus', 'eurydice'] as const;
export const password = (local: string) => `${local}-correct-horse`;
export const login = (local: string) => ({ user: `${local}@${domain}`, pass: password(local) });

export interface Environment {
  outside: Outside;
  smtp: Target;
  submission: Target;
  submissions: Target;
  imap: ImapTarget;
  sieve: Target;
  /** Certificate authority of the system, PEM. */
  ca: string;
}

/** Which installation is meant: that of the suites, or the demo's. */
export interface Place {
  namespace: string;
  system: string;
  domain: string;
  hostname: string;
}

const suites: Place = { namespace, system: systemName, domain, hostname };

/** Installs what is missing and waits until all is Ready. Safe to call again; the cluster may be fresh or used. */
export async function ensureEnvironment(log: (text: string) => void): Promise<Environment> {
  log('outside world: name server and mail server');
  const outside = await ensureOutside();
  log('operator: helm upgrade --install');
  await installOperator();
  log('mail system');
  await apply(labelledNamespace(namespace));
  await apply(...(await ldapSecrets(namespace)), ...mailObjects(outside));
  await waitForCondition(mailSystemType, { namespace, name: systemName }, {}, 300_000);
  await waitForCondition(mailDomainType, { namespace, name: domain }, {}, 60_000);
  for (const name of people) await waitForCondition(mailboxType, { namespace, name }, {}, 60_000);
  const environment = await discover(outside);
  log('names: A, MX, SPF, DKIM and DMARC of the domain in the outside DNS');
  await publish(environment);
  return environment;
}

/** What an environment that exists already looks like. */
export async function discover(outside: Outside, place: Place = suites): Promise<Environment> {
  const system = await kube().get<WithConditions>(mailSystemType, { namespace: place.namespace, name: place.system });
  const endpoints = (system.status?.endpoints ?? []) as { name: string; host: string; port: number }[];
  const target = (name: string): Target => {
    const endpoint = endpoints.find((candidate) => candidate.name === name);
    if (endpoint === undefined)
      throw new Error(`MailSystem ${place.system} has no endpoint ${name}: ${JSON.stringify(endpoints)}`);
    return { host: endpoint.host, port: endpoint.port };
  };
  const ca = await secretText(names(place.system).ca, 'tls.crt', place.namespace);
  return {
    outside,
    smtp: target('smtp'),
    submission: target('submission'),
    submissions: target('submissions'),
    imap: { ...target('imaps'), ca, serverName: place.hostname },
    sieve: target('managesieve'),
    ca,
  };
}

/** helm upgrade --install, as the README says. */
export async function installOperator(values: Record<string, string> = {}): Promise<void> {
  const helm = (await exec('./hack/tool', ['helm'], { timeoutMs: 900_000 })).stdout.trim();
  const sets = Object.entries(values).flatMap(([key, value]) => ['--set-string', `${key}=${value}`]);
  const args = [
    'upgrade',
    '--install',
    'posthorn',
    `${root}charts/posthorn`,
    '--namespace',
    operatorNamespace,
    '--create-namespace',
    '--wait',
    '--timeout',
    '3m',
  ];
  const { code, stderr } = await exec(helm, [...args, ...sets], { timeoutMs: 240_000 });
  if (code !== 0) throw new Error(`helm: ${stderr}`);
  // kubectl remembers for hours which resources there are, and looks again only for a name that it doesn't know; the
  // category "mail" is not such a name.
  await kubectlOk(['get', 'mailsystems,maildomains,mailboxes,forwardrules', '-A']);
}

export async function secretText(name: string, key: string, inNamespace = namespace): Promise<string> {
  const secret = await kube().get<KubeObject & { data?: Record<string, string> }>(builtin.secret, {
    namespace: inNamespace,
    name,
  });
  const value = secret.data?.[key];
  if (value === undefined) throw new Error(`Secret ${inNamespace}/${name} has no ${key}`);
  return Buffer.from(value, 'base64').toString('utf8');
}

/** A Mailbox and the Secret with its password. */
export function mailboxObjects(name: string, spec: Record<string, unknown> = {}, pass = password(name)): KubeObject[] {
  return [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: `${name}-password`, namespace },
      stringData: { password: pass },
    } as KubeObject,
    {
      apiVersion: 'posthorn.dev/v1alpha1',
      kind: 'Mailbox',
      metadata: { name, namespace },
      spec: { address: `${name}@${domain}`, passwordSecretRef: { name: `${name}-password` }, ...spec },
    } as KubeObject,
  ];
}

function mailObjects(outside: Outside): KubeObject[] {
  const group = 'posthorn.dev/v1alpha1';
  return [
    {
      apiVersion: group,
      kind: 'MailSystem',
      metadata: { name: systemName, namespace },
      spec: {
        hostname,
        postmaster: `orpheus@${domain}`,
        resolver: {
          rootServers: [{ name: 'ns.outside.example', address: outside.nameServer }],
          trustAnchors: [outside.trustAnchor],
        },
        store: { size: '1Gi' },
        queue: { size: '512Mi' },
        database: { size: '1Gi' },
        redis: { size: '128Mi' },
        ldap: ldapSpec,
        tenants: { namespaces: [tenantNamespace] },
        webhooks: { allowHosts: [hooksHost] },
      },
    } as KubeObject,
    { apiVersion: group, kind: 'MailDomain', metadata: { name: domain, namespace } },
    ...people.flatMap((name) => mailboxObjects(name)),
  ];
}

/** A namespace with the pod security that the system needs. */
export function labelledNamespace(name: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } },
  };
}

/** Enters the records that the MailDomain asks for, as its administrator would. */
export async function publish(environment: Environment, place: Place = suites): Promise<void> {
  const object = await kube().get<WithConditions>(mailDomainType, { namespace: place.namespace, name: place.domain });
  const records = (object.status?.records ?? []) as { name: string; type: string; value: string }[];
  const egress = await egressAddresses(place.namespace);
  await setRecords([
    { name: place.hostname, type: 'A', value: environment.smtp.host },
    ...egress.map((value) => ({ name: place.hostname, type: 'A', value })),
    ...records,
    // Forwarded mail leaves under the host name (SRS).
    { name: place.hostname, type: 'TXT', value: '"v=spf1 a -all"' },
    { name: place.hostname, type: 'MX', value: `10 ${place.hostname}.` },
    ...(await clientRecords(environment.smtp)),
  ]);
}

/** The tests' own name as a mail server outside: SPF of outside.example allows it to send. */
export const CLIENT = 'client.outside.example';

/** That name in the DNS, both ways: without one we would look like a spammer and be greylisted. */
export async function clientRecords(target: { host: string; port: number }) {
  const own = await ownAddress(target);
  return [
    { name: CLIENT, type: 'A', value: own },
    { name: `${own.split('.').reverse().join('.')}.in-addr.arpa`, type: 'PTR', value: `${CLIENT}.` },
  ];
}

/**
 * Our address as that host sees it. Nothing is sent: a connection would make the mx ask for our name, and remember for
 * seconds that there is none, just before it is entered in the DNS.
 */
async function ownAddress({ host, port }: { host: string; port: number }): Promise<string> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve, reject) =>
    socket.once('connect', resolve).once('error', reject).connect(port, host),
  );
  const { address } = socket.address();
  socket.close();
  return address;
}

/** A ForwardRule for an address of the shared domain. */
export function forwardRule(name: string, spec: Record<string, unknown>): KubeObject {
  return {
    apiVersion: 'posthorn.dev/v1alpha1',
    kind: 'ForwardRule',
    metadata: { name, namespace },
    spec: { address: `${name}@${domain}`, ...spec },
  } as KubeObject;
}

/** Addresses that outgoing mail comes from: here, without address translation, the pods' own. */
async function egressAddresses(inNamespace: string): Promise<string[]> {
  const out = await kubectlOk([
    'get',
    'pods',
    '-n',
    inNamespace,
    '-l',
    'app.kubernetes.io/component=egress',
    '-o',
    'jsonpath={range .items[*]}{.status.podIP}{"\\n"}{end}',
  ]);
  return out.split('\n').filter((line) => line !== '');
}

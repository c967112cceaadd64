/** The reference's pod: the images of the mail system, configured by hand with flat files. */
import { readFile } from 'node:fs/promises';
import { names } from '../../../cdk8s/names.js';
import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { apply, kube, remove, root, waitFor } from '../../e2e/lib/kube.js';
import { domain, namespace, systemName } from '../system.js';

const NAME = 'bench-reference';

interface Pod extends KubeObject {
  status?: { podIP?: string; conditions?: { type: string; status: string }[] };
}

export interface Reference {
  pod: string;
  smtp: { host: string; port: number };
  remove(): Promise<void>;
}

/** Makes the pod with these people, and waits until it is ready. */
export async function startReference(people: readonly string[]): Promise<Reference> {
  const ref = { namespace, name: NAME };
  if (await kube().find(builtin.pod, ref)) await remove(builtin.pod, ref);
  await apply(await configMap(people), pod());
  const host = await waitFor(
    'the reference pod to be ready',
    async () => {
      const { status } = await kube().get<Pod>(builtin.pod, ref);
      const ready = status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True');
      return ready === true ? status?.podIP : undefined;
    },
    120_000,
  );
  return { pod: `pod/${NAME}`, smtp: { host, port: 25 }, remove: () => remove(builtin.pod, ref) };
}

async function configMap(people: readonly string[]): Promise<KubeObject> {
  const folder = `${root}test/bench/reference`;
  const read = (path: string) => readFile(path, 'utf8');
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: NAME, namespace },
    data: {
      'master.cf': await read(`${folder}/master.cf`),
      'main.cf': await read(`${folder}/main.cf`),
      'dovecot.conf': await read(`${folder}/dovecot.conf`),
      'redis.conf': await read(`${folder}/redis.conf`),
      'policy.lua': await read(`${folder}/policy.lua`),
      'spam.sieve': await read(`${root}images/dovecot/config/store/spam.sieve`),
      mailboxes: people.map((name) => `${name}@${domain} x\n`).join(''),
      users: people.map((name) => `${name}@${domain}:{PLAIN}unused::::\n`).join(''),
    },
  } as KubeObject;
}

const POSTFIX = `set -e
cp -a /usr/share/posthorn/postfix/. /etc/postfix/
cp /config/main.cf /config/master.cf /config/mailboxes /etc/postfix/
chown postfix /var/lib/postfix
exec postfix start-fg`;

const DOVECOT = 'mkdir -p /run/dovecot /run/dovecot-state && exec dovecot -F -c /config/dovecot.conf';

/** The mail system's filter, but for its question to the gatekeeper, which the reference does not have. */
const filterSources = (filter: string): object[] => [
  { configMap: { name: filter } },
  { configMap: { name: NAME, items: [{ key: 'policy.lua', path: 'policy.lua' }] } },
];

function pod(): KubeObject {
  const { config } = names(systemName);
  const probe = (port: number) => ({ readinessProbe: { tcpSocket: { port }, periodSeconds: 1 } });
  const prefix = process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn';
  const container = (name: string, uid: number, mounts: Record<string, string>, more: object) => ({
    name,
    image: `${prefix}/${name}:dev`,
    securityContext: { runAsUser: uid, runAsGroup: uid },
    volumeMounts: Object.entries(mounts).map(([path, volume]) => ({ name: volume, mountPath: path })),
    ...more,
  });
  const emptyDirs = ['queue', 'mail', 'lmtp', 'postfix', 'postfix-data', 'rspamd-data', 'redis-data'];
  const memory = ['run-dovecot', 'run-rspamd', 'run-unbound'];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: NAME, namespace, labels: { app: NAME } },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 5,
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['127.0.0.1'] },
      securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] },
      containers: [
        // Resolver and filter run as in the mail system, with its own configuration: the checks are the same.
        container('unbound', 5002, { '/config': 'resolver', '/run': 'run-unbound' }, { args: ['resolver'] }),
        container(
          'rspamd',
          5001,
          { '/config': 'filter', '/run': 'run-rspamd', '/var/lib/rspamd': 'rspamd-data' },
          { args: ['filter'] },
        ),
        container(
          'redis',
          5003,
          { '/config': 'config', '/var/lib/redis': 'redis-data' },
          { command: ['valkey-server', '/config/redis.conf'] },
        ),
        container(
          'postfix',
          0,
          {
            '/config': 'config',
            '/etc/postfix': 'postfix',
            '/var/lib/postfix': 'postfix-data',
            '/var/spool/postfix': 'queue',
            '/run/lmtp': 'lmtp',
          },
          { command: ['/usr/bin/tini', '--', 'sh', '-c', POSTFIX], ...probe(25) },
        ),
        container(
          'dovecot',
          5000,
          { '/config': 'config', '/srv/mail': 'mail', '/run': 'run-dovecot', '/run/lmtp': 'lmtp' },
          { command: ['/usr/bin/tini', '--', 'sh', '-c', DOVECOT] },
        ),
      ],
      initContainers: [
        container(
          'dovecot',
          0,
          { '/srv/mail': 'mail', '/run/lmtp': 'lmtp', '/redis': 'redis-data', '/rspamd': 'rspamd-data' },
          {
            name: 'owners',
            command: ['sh', '-c', 'chown 5000 /srv/mail /run/lmtp; chown 5003 /redis; chown 5001 /rspamd'],
          },
        ),
      ],
      volumes: [
        { name: 'config', configMap: { name: NAME } },
        { name: 'resolver', configMap: { name: config('mx-resolver') } },
        { name: 'filter', projected: { sources: filterSources(config('filter')) } },
        ...emptyDirs.map((name) => ({ name, emptyDir: {} })),
        ...memory.map((name) => ({ name, emptyDir: { medium: 'Memory' } })),
      ],
    },
  } as KubeObject;
}

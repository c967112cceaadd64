/** An LDAP server in the world outside: a real slapd, with certificates of its own CA. */
import { readFile } from 'node:fs/promises';
import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { outsideCertificate } from './certificate.js';
import { apply, kube, kubectlOk, root, waitFor } from './kube.js';
import { outsideNamespace, outsideWorkload } from './outside.js';

const HOST = `ldap.${outsideNamespace}.svc.cluster.local`;

/** `spec.ldap` of the shared MailSystem; the Secrets are those of {@link ldapSecrets}. */
export const ldapSpec = {
  url: `ldap://${HOST}`,
  caSecretRef: { name: 'ldap-ca' },
  bindSecretRef: { name: 'ldap-bind' },
  baseDN: 'ou=users,dc=example',
  status: { attribute: 'accountStatus' },
  cacheSeconds: 2,
};

/** What the MailSystem needs to know the server by. */
export async function ldapSecrets(namespace: string): Promise<KubeObject[]> {
  const ca = await outsideCertificate('ldap');
  const secret = (name: string, stringData: Record<string, string>) =>
    ({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, stringData }) as KubeObject;
  return [
    secret('ldap-ca', { 'ca.crt': ca }),
    secret('ldap-bind', { username: 'cn=posthorn,dc=example', password: 'search-secret' }),
  ];
}

/** Starts slapd with the people of test/outside/config/people.ldif, and waits until it answers. */
export async function startLdap(): Promise<void> {
  const read = (name: string) => readFile(`${root}test/outside/config/${name}`, 'utf8');
  const data = { 'slapd.conf': await read('slapd.conf'), 'people.ldif': await read('people.ldif') };
  await apply(
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'ldap', namespace: outsideNamespace },
      data,
    } as KubeObject,
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'ldap', namespace: outsideNamespace },
      spec: { selector: { app: 'ldap' }, ports: [{ name: 'ldap', port: 389 }] },
    } as KubeObject,
    outsideWorkload('ldap', COMMAND, {
      port: 389,
      volumes: [
        { name: 'ldap', mountPath: '/ldap', configMap: { name: 'ldap' } },
        { name: 'tls', mountPath: '/tls', secret: { secretName: 'ldap-tls' } },
      ],
    }),
  );
  await scaleLdap(1);
}

/** 0: it is down. */
export async function scaleLdap(replicas: 0 | 1): Promise<void> {
  await kubectlOk(['scale', '-n', outsideNamespace, 'deploy/ldap', `--replicas=${replicas}`]);
  await waitFor(`slapd to be ${replicas === 0 ? 'gone' : 'up'}`, async () => {
    const { items } = await kube().list<
      KubeObject & { status?: { phase?: string; conditions?: { type: string; status: string }[] } }
    >(builtin.pod, { namespace: outsideNamespace, labelSelector: 'app=ldap' });
    const ready = items.filter(({ status }) =>
      status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'),
    );
    return (replicas === 0 ? items.length === 0 : ready.length === 1) ? true : undefined;
  });
}

const COMMAND = [
  'sh',
  '-c',
  'mkdir -p /run/ldap && slapadd -f /ldap/slapd.conf -l /ldap/people.ldif && exec slapd -h ldap:/// -f /ldap/slapd.conf -d 0',
];

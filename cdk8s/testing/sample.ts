import { type MailSystemResolved, resolveMailSystem } from '../../crds/mailsystem.js';
import type { MailSystemContext } from '../context.js';

/** `spec` of a MailSystem that sets only its host name. */
export const DEFAULT_SPEC: MailSystemResolved = resolveMailSystem({ hostname: 'mail.example.org' });

/** A spec that sets everything, differently from the defaults. */
export const FULL_SPEC: MailSystemResolved = resolveMailSystem({
  hostname: 'mx.example.com',
  postmaster: 'hostmaster@example.com',
  mx: { replicas: 2 },
  submission: { replicas: 3 },
  egress: { replicas: 2 },
  forward: { replicas: 2 },
  courier: { replicas: 2 },
  proxy: { replicas: 3 },
  queue: { size: '4Gi', storageClassName: 'replicated' },
  store: {
    size: '100Gi',
    storageClassName: 'fast',
    shards: [
      { name: 'a', replicas: 1 },
      { name: 'b', replicas: 3 },
    ],
  },
  database: { members: 1, size: '8Gi', storageClassName: 'fast' },
  redis: { size: '2Gi', storageClassName: 'fast' },
  filter: { rejectAbove: 20, tagAbove: 7.5, greylistAbove: 0 },
  resolver: {
    forwarders: ['192.0.2.53', '2001:db8::53@5353'],
    rootServers: [{ name: 'a.root.example', address: '192.0.2.1' }],
    trustAnchors: ['. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D'],
  },
  tls: { secretRef: { name: 'mx-example-com' } },
  exposure: { type: 'NodePort' },
  images: { prefix: 'registry.example.com/posthorn', tag: '1.2.3', pullPolicy: 'Always' },
  limits: { messageSize: '25M', sending: { userHour: 50, userDay: 200, domainHour: 1000 } },
  ldap: {
    url: 'ldap://ldap.example.com',
    baseDN: 'ou=users,dc=example,dc=com',
    bindSecretRef: { name: 'ldap-bind' },
    caSecretRef: { name: 'ldap-ca', key: 'ca.pem' },
  },
  webhooks: { allowHosts: ['bridgedb.bots.svc', 'rt.bots.svc'] },
  deletionPolicy: 'Delete',
});

/** A spec whose database is somebody else's. */
export const EXTERNAL_SPEC: MailSystemResolved = resolveMailSystem({
  hostname: 'mail.example.org',
  database: { external: { secretRef: { name: 'directory' } } },
});

/** A context around a spec. */
export function sampleContext(
  spec: MailSystemResolved = DEFAULT_SPEC,
  rest: Partial<MailSystemContext> = {},
): MailSystemContext {
  return {
    name: 'mail',
    namespace: 'mail',
    uid: '6f0c6f0e-54f1-4bb2-8f9f-ef0d39a2c6b5',
    spec,
    clusterDomain: 'cluster.local',
    clusterDns: '10.96.0.10',
    images: { prefix: 'localhost/posthorn', tag: 'dev', pullPolicy: 'IfNotPresent' },
    peers: [
      { role: 'submission', fingerprint: fingerprint('5B') },
      { role: 'mx', fingerprint: fingerprint('A1') },
    ],
    ...rest,
  };
}

function fingerprint(byte: string): string {
  return Array.from({ length: 32 }, () => byte).join(':');
}

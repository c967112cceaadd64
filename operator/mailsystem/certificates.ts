import { randomBytes } from 'node:crypto';
import type { Peer, TlsRole } from '../../cdk8s/context.js';
import { names, type SystemIdentity } from '../../cdk8s/names.js';
import type { MailSystem, MailSystemResolved } from '../../crds/mailsystem.js';
import { type CertificateRequest, createAuthority, issueCertificate, type KeyedCertificate } from '../pki/ca.js';
import { authorityDue, certificateProblem, issueDue, publicKeyFingerprint, reusableKey } from '../pki/certificate.js';
import { OPERATOR_COMMON_NAME, roleCertificate } from '../pki/roles.js';
import type { Client } from '../runtime/client.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { builtin, refOf } from '../runtime/object.js';
import type { Secret } from '../signing/secret.js';
import { createSecret } from './secrets.js';

/** What the rest of the reconciliation needs of a MailSystem's certificates. */
export interface Certificates {
  /** Internal SMTP clients by public key. */
  peers: Peer[];
  /** The operator's own client certificate, and whom it trusts. */
  operator: { ca: string; cert: string; key: string };
  verdict: ConditionUpdate;
}

interface Input {
  object: MailSystem;
  spec: MailSystemResolved;
  clusterDomain: string;
  now: Date;
}

const FIELD_MANAGER = 'posthorn-mailsystem';
const SMTP_CLIENTS: readonly TlsRole[] = ['mx', 'submission', 'egress', 'forward', 'store'];

/** The operator's certificate lives in its memory only; made again when it is due. */
const operatorCertificates = new Map<string, KeyedCertificate>();

/**
 * Makes and renews what a MailSystem needs: its CA, a certificate per role, the public one unless it is given, and the
 * password between proxies and stores. Secrets have no owner: what is lost with a CA or a password is too much for an
 * accident. Only what is due is written.
 */
export async function ensureCertificates(client: Client, input: Input): Promise<Certificates> {
  const { object, spec, clusterDomain, now } = input;
  const identity: SystemIdentity = {
    name: object.metadata.name,
    namespace: object.metadata.namespace ?? '',
    clusterDomain,
  };
  const n = names(identity.name);
  const store: Store = { client, namespace: identity.namespace, system: identity.name, written: false };
  const authority = await ensureAuthority(store, n.ca, identity, now);

  const peers: Peer[] = [];
  for (const role of roles(spec)) {
    const wanted = roleCertificate(
      role,
      identity,
      spec.store.shards.map((shard) => shard.name),
    );
    const { cert } = await ensureIssued(store, n.tls(role), wanted, authority, now);
    if (SMTP_CLIENTS.includes(role)) peers.push({ fingerprint: publicKeyFingerprint(cert), role });
  }
  await ensurePassword(store, n.storePassword);
  const verdict = await ensurePublic(store, n.tlsPublic, spec, authority, now);
  if (store.written) await nudgePods(store, now);
  return { peers, verdict, operator: { ca: authority.cert, ...(await operatorCertificate(authority, now)) } };
}

function roles(spec: MailSystemResolved): TlsRole[] {
  const database = spec.database.external ? 'pooler' : 'postgres';
  return ['mx', 'submission', 'egress', 'forward', 'courier', 'proxy', 'store', 'redis', database];
}

async function operatorCertificate(authority: KeyedCertificate, now: Date): Promise<KeyedCertificate> {
  const wanted: CertificateRequest = { commonName: OPERATOR_COMMON_NAME, dnsNames: ['posthorn-operator'] };
  const current = operatorCertificates.get(authority.cert);
  if (current !== undefined && issueDue(current, wanted, authority, now) === undefined) return current;
  const issued = await issueCertificate(authority, wanted, now);
  operatorCertificates.set(authority.cert, issued);
  return issued;
}

async function ensureAuthority(
  store: Store,
  name: string,
  identity: SystemIdentity,
  now: Date,
): Promise<KeyedCertificate> {
  const current = await read(store, name);
  const due = authorityDue(current, now);
  if (current !== undefined && due === undefined) return current;
  // A CA that merely ages goes on until somebody replaces it: new certificates under a new CA need a planned change.
  if (current !== undefined && due === 'it is to be renewed') return current;
  if (current !== undefined)
    throw new Error(
      `Secret ${identity.namespace}/${name} holds no usable CA (${due}): restore it, or delete it to start with a new one`,
    );
  const made = await createAuthority(`${identity.namespace}/${identity.name} internal CA`, now);
  await write(store, name, made, made.cert);
  return made;
}

async function ensureIssued(
  store: Store,
  name: string,
  wanted: CertificateRequest,
  authority: KeyedCertificate,
  now: Date,
): Promise<KeyedCertificate> {
  const current = await read(store, name);
  if (current !== undefined && issueDue(current, wanted, authority, now) === undefined) return current;
  const issued = await issueCertificate(authority, wanted, now, reusableKey(current?.key));
  await write(store, name, issued, authority.cert);
  return issued;
}

/**
 * The certificate that pods serve. A given one is copied only when it is valid: a mistake in its Secret is told by the
 * condition and never reaches a daemon; until the first valid one there is, the system's own CA stands in.
 */
async function ensurePublic(
  store: Store,
  name: string,
  spec: MailSystemResolved,
  authority: KeyedCertificate,
  now: Date,
): Promise<ConditionUpdate> {
  const type = 'CertificatesReady';
  const given = spec.tls.secretRef?.name;
  const own: CertificateRequest = { commonName: spec.hostname.slice(0, 64), dnsNames: [spec.hostname] };
  if (given === undefined) {
    await ensureIssued(store, name, own, authority, now);
    const message = "The public certificate is the system's own CA's; set spec.tls.secretRef to one that others trust.";
    return { type, status: 'True', reason: 'Generated', message };
  }
  const secret = await read(store, given);
  const problem = givenProblem(store, given, secret, spec, now);
  const served = await read(store, name);
  if (problem !== undefined) {
    if (served === undefined) await ensureIssued(store, name, own, authority, now);
    return { type, status: 'False', ...problem };
  }
  if (secret !== undefined && (served?.cert !== secret.cert || served.key !== secret.key))
    await write(store, name, secret, authority.cert);
  return { type, status: 'True', reason: 'Valid', message: `The certificate in Secret ${given} is valid and served.` };
}

function givenProblem(
  { namespace }: Store,
  given: string,
  secret: KeyedCertificate | undefined,
  spec: MailSystemResolved,
  now: Date,
): { reason: string; message: string } | undefined {
  if (secret === undefined) {
    const message = `There is no Secret ${namespace}/${given} with tls.crt and tls.key: create it, or correct spec.tls.secretRef.`;
    return { reason: 'SecretNotFound', message };
  }
  const problem = certificateProblem(secret, [spec.hostname], now);
  if (problem === undefined) return undefined;
  return {
    reason: problem.reason,
    message: `Secret ${namespace}/${given}: ${problem.message} What was served before still is.`,
  };
}

async function ensurePassword(store: Store, name: string): Promise<void> {
  if ((await store.client.find(builtin.secret, { namespace: store.namespace, name })) !== undefined) return;
  await create(store, name, 'Opaque', { password: randomBytes(32).toString('base64url') });
}

interface Store {
  client: Client;
  namespace: string;
  system: string;
  /** Whether a certificate was written. */
  written: boolean;
}

/** Changes nothing in a pod, but makes its kubelet look at it, and at its Secrets, now instead of within a minute or two. */
async function nudgePods({ client, namespace, system }: Store, now: Date): Promise<void> {
  const labelSelector = `app.kubernetes.io/name=posthorn,app.kubernetes.io/instance=${system}`;
  const { items } = await client.list(builtin.pod, { namespace, labelSelector, metadataOnly: true });
  const patch = { metadata: { annotations: { 'posthorn.dev/certificates': now.toISOString() } } };
  for (const pod of items) {
    await client.patchMerge(builtin.pod, refOf(pod), patch, { fieldManager: FIELD_MANAGER }).catch(() => undefined);
  }
}

async function read({ client, namespace }: Store, name: string): Promise<KeyedCertificate | undefined> {
  const secret = await client.find<Secret>(builtin.secret, { namespace, name });
  const [cert, key] = [secret?.data?.['tls.crt'], secret?.data?.['tls.key']].map((value) =>
    value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8'),
  );
  return cert === undefined || key === undefined ? undefined : { cert, key };
}

async function write(store: Store, name: string, { cert, key }: KeyedCertificate, ca: string): Promise<void> {
  store.written = true;
  const present = await store.client.find<Secret>(builtin.secret, { namespace: store.namespace, name });
  const data = { 'tls.crt': cert, 'tls.key': key, 'ca.crt': ca };
  if (present === undefined) return create(store, name, 'kubernetes.io/tls', data);
  await store.client.patchMerge(
    builtin.secret,
    { namespace: store.namespace, name },
    { data: encoded(data) },
    { fieldManager: FIELD_MANAGER },
  );
}

function create(store: Store, name: string, type: string, data: Record<string, string>): Promise<void> {
  return createSecret(store, name, type, encoded(data));
}

function encoded(data: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data).map(([field, value]) => [field, Buffer.from(value).toString('base64')]),
  );
}

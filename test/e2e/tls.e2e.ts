import { connect as tcpConnect } from 'node:net';
import { connect, type PeerCertificate, type TLSSocket } from 'node:tls';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { createAuthority, issueCertificate, type KeyedCertificate } from '../../operator/pki/ca.js';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { mailSystemType } from '../../operator/types.js';
import { hostname, namespace, systemName } from './lib/environment.js';
import { apply, kube, podsAndRestarts, waitFor, waitForCondition } from './lib/kube.js';
import { dialogue, type Target } from './lib/smtp.js';

const { smtp, submissions, imap } = inject('environment');
const given = 'given-certificate';

/** What the server shows on a port with TLS from the start. */
async function served({ host, port }: Target): Promise<PeerCertificate> {
  const socket = connect({ host, port, servername: hostname, rejectUnauthorized: false });
  return certificateOf(socket);
}

/** What the mx shows after STARTTLS. */
async function servedByMx(): Promise<PeerCertificate> {
  const raw = tcpConnect(smtp);
  const lines = (pattern: RegExp) =>
    new Promise<void>((resolve, reject) => {
      let text = '';
      const read = (chunk: Buffer) => {
        text += chunk.toString();
        if (!pattern.test(text)) return;
        raw.off('data', read);
        resolve();
      };
      raw.on('data', read).once('error', reject).once('close', reject);
    });
  await lines(/^220 .*\r\n/);
  raw.write('EHLO client.outside.example\r\n');
  await lines(/^250 .*\r\n/m);
  raw.write('STARTTLS\r\n');
  await lines(/^220 .*\r\n/);
  return certificateOf(connect({ socket: raw, servername: hostname, rejectUnauthorized: false }));
}

async function certificateOf(socket: TLSSocket): Promise<PeerCertificate> {
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const certificate = socket.getPeerCertificate();
  socket.destroy();
  return certificate;
}

function secret({ cert, key }: KeyedCertificate): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: given, namespace },
    type: 'kubernetes.io/tls',
    stringData: { 'tls.crt': cert, 'tls.key': key },
  } as KubeObject;
}

function setReference(name: string | null): Promise<unknown> {
  const patch = { spec: { tls: name === null ? null : { secretRef: { name } } } };
  return kube().patchMerge(mailSystemType, { namespace, name: systemName }, patch, { fieldManager: 'e2e' });
}

/** Every public port shows a certificate of this issuer. */
async function everywhere(issuer: string): Promise<void> {
  await waitFor(
    `${issuer} on ports 25, 465 and 993`,
    async () => {
      const all = [await served(submissions), await served(imap), await servedByMx()];
      return all.every((certificate) => certificate.issuer.CN === issuer) ? true : undefined;
    },
    150_000,
  );
}

afterAll(async () => {
  await setReference(null);
  await kube().delete(builtin.secret, { namespace, name: given });
  await waitForCondition(mailSystemType, { namespace, name: systemName }, {}, 120_000);
  await everywhere(`${namespace}/${systemName} internal CA`);
});

describe('the public certificate', () => {
  it('[R10] is the given one, and a renewed one is served without a restart and without cutting sessions', async () => {
    const before = await podsAndRestarts(namespace);
    const names = { commonName: hostname, dnsNames: [hostname] };
    const first = await createAuthority('First CA', new Date());
    await apply(secret(await issueCertificate(first, names, new Date())));
    await setReference(given);
    await waitForCondition(
      mailSystemType,
      { namespace, name: systemName },
      { type: 'CertificatesReady', reason: 'Valid' },
    );
    await everywhere('First CA');
    const session = await dialogue(submissions, { tls: true });
    const second = await createAuthority('Second CA', new Date());
    await apply(secret(await issueCertificate(second, names, new Date())));
    const replies: string[] = [];
    const talking = setInterval(
      () => void session.command('NOOP').then((reply) => replies.push(reply.slice(0, 3))),
      5_000,
    );
    await everywhere('Second CA');
    clearInterval(talking);
    expect(await session.command('NOOP')).toMatch(/^250/);
    expect(new Set(replies)).toEqual(new Set(['250']));
    session.close();
    expect(await podsAndRestarts(namespace)).toEqual(before);
  });

  it('[R10] that is broken is told by a condition, and the one before goes on being served', async () => {
    const now = new Date();
    const other = await createAuthority('Third CA', now);
    const [wrongName, right] = await Promise.all(
      ['other.example', hostname].map((name) => issueCertificate(other, { commonName: name, dnsNames: [name] }, now)),
    );
    const failing = async (reason: string, broken: KeyedCertificate) => {
      await apply(secret(broken));
      const status = { type: 'CertificatesReady', status: 'False', reason };
      await waitForCondition(mailSystemType, { namespace, name: systemName }, status, 60_000);
    };
    await failing('CertificateNameMismatch', wrongName as KeyedCertificate);
    await failing('KeyMismatch', { cert: (right as KeyedCertificate).cert, key: (wrongName as KeyedCertificate).key });
    await everywhere('Second CA');
  });
});

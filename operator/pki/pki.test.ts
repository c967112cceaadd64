import { execFile } from 'node:child_process';
import { generateKeyPairSync, type KeyLike, sign, X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority, issueCertificate, type KeyedCertificate } from './ca.js';
import {
  authorityDue,
  certificateProblem,
  expiry,
  issueDue,
  publicKeyFingerprint,
  reusableKey,
} from './certificate.js';
import { roleCertificate } from './roles.js';

const run = promisify(execFile);
const NOW = new Date();
const later = (days: number) => new Date(NOW.getTime() + days * 86_400_000);
const SYSTEM = { name: 'mail', namespace: 'mail', clusterDomain: 'cluster.local' };
const MX = roleCertificate('mx', SYSTEM, ['a']);

let folder: string;
let ca: KeyedCertificate;
let mx: KeyedCertificate;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'posthorn-pki-'));
  ca = await createAuthority('Posthorn CA of mail/mail', NOW);
  mx = await issueCertificate(ca, MX, NOW);
  await file('ca.crt', ca.cert);
  await file('mx.crt', mx.cert);
  await file('mx.key', mx.key);
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

async function openssl(...args: string[]): Promise<string> {
  return (await run('openssl', args, { cwd: folder })).stdout;
}

describe('what the CA issues', () => {
  it.each(['sslserver', 'sslclient'])('openssl verifies strictly as %s', async (purpose) => {
    const strict = ['-x509_strict', '-purpose', purpose, '-CAfile', 'ca.crt', 'mx.crt'];
    expect(await openssl('verify', ...strict)).toBe('mx.crt: OK\n');
  });

  it('openssl refuses it under another CA, for another name, and as a CA', async () => {
    const other = await createAuthority('other', NOW);
    await file('other.crt', other.cert);
    await expect(openssl('verify', '-CAfile', 'other.crt', 'mx.crt')).rejects.toThrow(
      /unable to get local issuer|verif/,
    );
    await expect(openssl('verify', '-CAfile', 'ca.crt', '-verify_hostname', 'evil.org', 'mx.crt')).rejects.toThrow(
      /ostname/,
    );
    const forged = await issueCertificate(mx, { commonName: 'posthorn', dnsNames: ['localhost'] }, NOW);
    await file('forged.crt', forged.cert);
    await expect(openssl('verify', '-CAfile', 'ca.crt', '-untrusted', 'mx.crt', 'forged.crt')).rejects.toThrow();
  });

  it('has the subject, the names and the dates that the contract says', async () => {
    const cert = new X509Certificate(mx.cert);
    expect(cert.subject).toBe('CN=posthorn_mx');
    for (const name of [
      'mail-mx.mail.svc',
      'mail-mx-internal.mail.svc.cluster.local',
      'mail-mx-0.mail-mx-internal.mail.svc.cluster.local',
      'localhost',
    ]) {
      expect(await openssl('verify', '-CAfile', 'ca.crt', '-verify_hostname', name, 'mx.crt')).toContain('OK');
    }
    expect(Math.round((expiry(mx.cert).getTime() - NOW.getTime()) / 86_400_000)).toBe(365);
    expect(Math.round((expiry(ca.cert).getTime() - NOW.getTime()) / 86_400_000)).toBe(3650);
    expect(roleCertificate('store', SYSTEM, ['a', 'b']).dnsNames).toContain('*.mail-store-b.mail.svc.cluster.local');
  });

  it('is never valid longer than the CA', async () => {
    const cert = await issueCertificate(ca, MX, later(3600));
    expect(expiry(cert.cert)).toEqual(expiry(ca.cert));
  });

  it('keeps the key, and with it the fingerprint, when it is issued again; RSA keys too', async () => {
    const again = await issueCertificate(ca, MX, later(250), mx.key);
    expect(again.cert).not.toBe(mx.cert);
    expect(publicKeyFingerprint(again.cert)).toBe(publicKeyFingerprint(mx.cert));
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    const withRsa = await issueCertificate(ca, MX, NOW, rsa.toString());
    expect(certificateProblem(withRsa, [], NOW)).toBeUndefined();
    expect(new X509Certificate(withRsa.cert).verify(new X509Certificate(ca.cert).publicKey)).toBe(true);
  });

  it('stays valid under a CA that was renewed with its key', async () => {
    const renewed = await createAuthority('Posthorn CA of mail/mail', later(100), ca.key);
    await file('renewed.crt', renewed.cert);
    expect(
      await openssl('verify', '-CAfile', 'renewed.crt', '-attime', String((later(101).getTime() / 1000) | 0), 'mx.crt'),
    ).toContain('OK');
    expect(issueDue(mx, MX, renewed, NOW)).toBeUndefined();
  });

  it('takes no part of a name for syntax', async () => {
    const cert = await issueCertificate(ca, { commonName: 'a, O=b+CN=posthorn', dnsNames: ['localhost'] }, NOW);
    await file('odd.crt', cert.cert);
    expect(await openssl('x509', '-in', 'odd.crt', '-noout', '-subject', '-nameopt', 'multiline')).toMatch(
      /^subject=\s+commonName\s+= a, O=b\+CN=posthorn\s*$/,
    );
    await expect(issueCertificate(ca, { commonName: '', dnsNames: [] }, NOW)).rejects.toThrow(/common name/);
  });
});

describe('mutual TLS', () => {
  /** Common name that the server saw, or what went wrong on the client's side. */
  async function handshake(client: Partial<KeyedCertificate>, trusted: string, servername: string): Promise<string> {
    const seen: string[] = [];
    const server = createServer(
      { cert: mx.cert, key: mx.key, ca: ca.cert, requestCert: true, rejectUnauthorized: true },
      (socket: TLSSocket) => {
        seen.push(String(socket.getPeerCertificate().subject.CN));
        socket.end('hello');
      },
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      await new Promise<void>((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port, ca: trusted, servername, ...client });
        socket
          .on('error', reject)
          .on('close', () => resolve())
          .resume();
      });
      return seen[0] ?? 'not accepted';
    } catch (error) {
      return (error as Error).message;
    } finally {
      server.close();
    }
  }

  it('works between roles, and with nobody else', async () => {
    const submission = await issueCertificate(ca, roleCertificate('submission', SYSTEM, []), NOW);
    const name = 'mail-mx-internal.mail.svc.cluster.local';
    expect(await handshake(submission, ca.cert, name)).toBe('posthorn_submission');
    expect(await handshake({}, ca.cert, name)).toMatch(/certificate required|not accepted|ECONNRESET/);
    const foreign = await createAuthority('foreign', NOW);
    const stranger = await issueCertificate(foreign, roleCertificate('submission', SYSTEM, []), NOW);
    expect(await handshake(stranger, ca.cert, name)).toMatch(/unknown ca|not accepted|ECONNRESET/i);
    expect(await handshake(submission, foreign.cert, name)).toMatch(/unable to|self.signed|verif/);
    expect(await handshake(submission, ca.cert, 'mail-egress.mail.svc.cluster.local')).toMatch(/altnames/);
  });
});

describe('certificateProblem', () => {
  const host = ['mail-mx.mail.svc'];

  it('finds nothing wrong with a good one, chain included', () => {
    expect(certificateProblem(mx, host, NOW)).toBeUndefined();
    expect(certificateProblem({ ...mx, cert: `${mx.cert}\n${ca.cert}` }, host, NOW)).toBeUndefined();
  });

  it.each([
    ['CertificateUnreadable', () => ({ cert: '', key: mx.key }), NOW, /tls.crt/],
    ['CertificateUnreadable', () => ({ cert: mx.key, key: mx.key }), NOW, /tls.crt/],
    ['KeyUnreadable', () => ({ cert: mx.cert, key: mx.cert }), NOW, /tls.key/],
    ['KeyMismatch', () => ({ cert: mx.cert, key: ca.key }), NOW, /not the key/],
    ['KeyMismatch', () => ({ cert: `${ca.cert}\n${mx.cert}`, key: mx.key }), NOW, /first certificate/],
    ['CertificateNotYetValid', () => mx, later(-2), /only from 20/],
    ['CertificateExpired', () => mx, later(366), /expired at 20/],
  ] as const)('%s', (reason, given, now, message) => {
    expect(certificateProblem(given(), host, now)).toMatchObject({ reason, message: expect.stringMatching(message) });
  });

  it('names the hostname that is missing, and what there is', () => {
    expect(certificateProblem(mx, ['mail.example.org', ...host], NOW)).toEqual({
      reason: 'CertificateNameMismatch',
      message: expect.stringMatching(
        /^The certificate does not cover mail\.example\.org: it is for mail-mx\.mail\.svc, /,
      ),
    });
  });

  it('a wildcard covers one label', async () => {
    const wild = await issueCertificate(ca, { commonName: 'w', dnsNames: ['*.example.org'] }, NOW);
    expect(certificateProblem(wild, ['mail.example.org'], NOW)).toBeUndefined();
    expect(certificateProblem(wild, ['a.mail.example.org'], NOW)?.reason).toBe('CertificateNameMismatch');
    expect(certificateProblem(wild, ['w'], NOW)?.reason).toBe('CertificateNameMismatch');
  });
});

describe('issueDue', () => {
  it('renews at two thirds of the life', () => {
    expect(issueDue(mx, MX, ca, later(240))).toBeUndefined();
    expect(issueDue(mx, MX, ca, later(245))).toMatch(/renewed/);
    expect(authorityDue(ca, later(2400))).toBeUndefined();
    expect(authorityDue(ca, later(2440))).toMatch(/renewed/);
  });

  it('says why otherwise', async () => {
    const other = await createAuthority('Posthorn CA of mail/mail', NOW);
    expect(issueDue(undefined, MX, ca, NOW)).toMatch(/none/);
    expect(issueDue({ ...mx, key: ca.key }, MX, ca, NOW)).toMatch(/none/);
    expect(issueDue(mx, MX, other, NOW)).toMatch(/issuer/);
    expect(issueDue(mx, { ...MX, commonName: 'posthorn_egress' }, ca, NOW)).toMatch(/subject/);
    expect(issueDue(mx, { ...MX, dnsNames: [...MX.dnsNames, 'x.org'] }, ca, NOW)).toMatch(/names/);
    expect(issueDue(mx, { ...MX, dnsNames: [...MX.dnsNames].reverse() }, ca, NOW)).toBeUndefined();
    expect(authorityDue(mx, NOW)).toMatch(/no CA/);
    expect(authorityDue(undefined, NOW)).toMatch(/none/);
  });

  it('reuses only keys that can be certified', () => {
    const pem = (key: KeyLike) =>
      (key as ReturnType<typeof generateKeyPairSync>['privateKey']).export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(reusableKey(mx.key)).toBe(mx.key);
    expect(reusableKey('garbage')).toBeUndefined();
    expect(reusableKey(undefined)).toBeUndefined();
    expect(reusableKey(pem(generateKeyPairSync('ed25519').privateKey))).toBeUndefined();
    expect(sign(null, Buffer.from('x'), mx.key).length).toBeGreaterThan(0);
  });
});

it('publicKeyFingerprint is the SHA-256 of the public key that openssl extracts', async () => {
  const { stdout } = await run(
    '/bin/sh',
    ['-c', 'openssl x509 -in mx.crt -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -c'],
    { cwd: folder },
  );
  expect(publicKeyFingerprint(mx.cert)).toBe(stdout.trim().replace(/^.*= /, '').toUpperCase());
  expect(publicKeyFingerprint(mx.cert)).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
});

/** A private certification authority for one MailSystem's internal connections. */
import 'reflect-metadata';
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** A certificate and its private key (PKCS 8), both PEM. */
export interface KeyedCertificate {
  readonly cert: string;
  readonly key: string;
}

/** What a certificate of ours says. */
export interface CertificateRequest {
  /** Subject, at most 64 characters (X.520). For clients of the directory: their database role. */
  readonly commonName: string;
  /** DNS names, wildcards allowed. */
  readonly dnsNames: readonly string[];
}

const DAY = 86_400_000;
const AUTHORITY_DAYS = 3650;
const CERTIFICATE_DAYS = 365;
const COMMON_NAME_MAX = 64;

/** Certificates start a little in the past: clocks of nodes differ. */
const BACKDATE = 3_600_000;

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/**
 * A CA: ECDSA P-256, ten years, for end certificates only. `commonName` is cut to 64 characters.
 *
 * @param key PEM of a former CA's key: with the same name, what it has issued stays valid. Default: a new key
 */
export async function createAuthority(
  commonName: string,
  now: Date,
  key: string = newPrivateKey(),
): Promise<KeyedCertificate> {
  const keys = await importKeys(key);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: subject(commonName.slice(0, COMMON_NAME_MAX)),
    ...validity(now, AUTHORITY_DAYS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: pem(cert), key };
}

/**
 * A certificate for servers and clients alike, valid one year and never longer than its CA.
 *
 * @param key PEM of the private key to certify again, so that its fingerprint stays; default: a new P-256 key
 * @throws Error if the CA's key or `key` cannot be read
 */
export async function issueCertificate(
  authority: KeyedCertificate,
  request: CertificateRequest,
  now: Date,
  key: string = newPrivateKey(),
): Promise<KeyedCertificate> {
  const ca = new x509.X509Certificate(authority.cert);
  const caKeys = await importKeys(authority.key);
  const publicKey = new x509.PublicKey(publicDer(key));
  const { notBefore, notAfter } = validity(now, CERTIFICATE_DAYS);
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: subject(request.commonName),
    issuer: ca.subjectName,
    notBefore,
    notAfter: new Date(Math.min(notAfter.getTime(), ca.notAfter.getTime())),
    publicKey,
    signingKey: caKeys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension(request.dnsNames.map((value) => ({ type: 'dns', value }))),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(caKeys.publicKey),
    ],
  });
  return { cert: pem(cert), key };
}

/** As text files are: the last line ends too, so that files can be joined. */
function pem(cert: x509.X509Certificate): string {
  return `${cert.toString('pem').trimEnd()}\n`;
}

function validity(now: Date, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now.getTime() - BACKDATE), notAfter: new Date(now.getTime() + days * DAY) };
}

/** As JSON, so that nothing in the name is taken for the syntax of a distinguished name. */
function subject(commonName: string): x509.Name {
  if (commonName === '' || commonName.length > COMMON_NAME_MAX) {
    throw new Error(`a common name has 1 to ${COMMON_NAME_MAX} characters: ${JSON.stringify(commonName)}`);
  }
  return new x509.Name([{ CN: [{ utf8String: commonName }] }]);
}

/** 127 random bits, positive (RFC 5280, 4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function newPrivateKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function publicDer(key: string): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' });
}

async function importKeys(pem: string): Promise<webcrypto.CryptoKeyPair> {
  const pkcs8 = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  const [privateKey, publicKey] = await Promise.all([
    webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']),
    webcrypto.subtle.importKey('spki', publicDer(pem), ALGORITHM, true, ['verify']),
  ]);
  return { privateKey, publicKey };
}

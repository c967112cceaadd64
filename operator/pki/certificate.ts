/** What certificates say, and what is wrong with them. Pure; the clock is the caller's. */
import { createHash, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import type { CertificateRequest, KeyedCertificate } from './ca.js';

/** Constant reasons for conditions. */
export type CertificateReason =
  | 'CertificateUnreadable'
  | 'KeyUnreadable'
  | 'KeyMismatch'
  | 'CertificateNotYetValid'
  | 'CertificateExpired'
  | 'CertificateNameMismatch';

/** Something that keeps a certificate from being used. */
export interface CertificateProblem {
  readonly reason: CertificateReason;
  /** For people: what is wrong, and what to do. */
  readonly message: string;
}

/**
 * What is wrong with a certificate that somebody gave us (PEM; the first certificate counts, others are its chain).
 *
 * @param hostnames every one must be covered, wildcards as in RFC 6125
 */
export function certificateProblem(
  given: KeyedCertificate,
  hostnames: readonly string[],
  now: Date,
): CertificateProblem | undefined {
  const cert = readCertificate(given.cert);
  if (cert === undefined) {
    return problem(
      'CertificateUnreadable',
      'tls.crt holds no certificate in PEM form. Put the certificate first, then its chain.',
    );
  }
  const key = readKey(given.key);
  if (key === undefined) {
    return problem('KeyUnreadable', 'tls.key holds no private key in PEM form without a passphrase.');
  }
  if (!cert.checkPrivateKey(key)) {
    return problem('KeyMismatch', 'tls.key is not the key of the first certificate in tls.crt.');
  }
  return validityProblem(cert, now) ?? nameProblem(cert, hostnames);
}

function validityProblem(cert: X509Certificate, now: Date): CertificateProblem | undefined {
  if (now < notBefore(cert)) {
    return problem('CertificateNotYetValid', `The certificate is valid only from ${notBefore(cert).toISOString()} on.`);
  }
  if (now >= notAfter(cert)) {
    return problem('CertificateExpired', `The certificate has expired at ${notAfter(cert).toISOString()}: renew it.`);
  }
  return undefined;
}

function nameProblem(cert: X509Certificate, hostnames: readonly string[]): CertificateProblem | undefined {
  const missing = hostnames.filter((name) => cert.checkHost(name, { subject: 'never' }) === undefined);
  if (missing.length === 0) return undefined;
  const has = dnsNames(cert).join(', ') || 'no DNS name';
  return problem('CertificateNameMismatch', `The certificate does not cover ${missing.join(', ')}: it is for ${has}.`);
}

/**
 * Why one of our own certificates has to be issued (again); undefined: it is fine. Due when a third of its life is
 * left, when its subject, names or key differ from what is wanted, or when it is another CA's.
 */
export function issueDue(
  current: KeyedCertificate | undefined,
  wanted: CertificateRequest,
  authority: Pick<KeyedCertificate, 'cert'>,
  now: Date,
): string | undefined {
  const ca = readCertificate(authority.cert);
  if (ca === undefined) throw new Error('the certificate of the CA cannot be read');
  const cert = readPair(current);
  if (cert === undefined) return 'there is none that can be read and has its key';
  if (!cert.checkIssued(ca) || !cert.verify(ca.publicKey)) return 'its issuer is another one';
  if (commonName(cert) !== wanted.commonName) return 'its subject differs';
  if (!sameNames(dnsNames(cert), wanted.dnsNames)) return 'its names differ';
  return renewalDue(cert, now) ? 'it is to be renewed' : undefined;
}

/** Why a CA has to be made (again); undefined: it is fine. Due when a third of its life is left. */
export function authorityDue(current: KeyedCertificate | undefined, now: Date): string | undefined {
  const cert = readPair(current);
  if (cert === undefined) return 'there is none that can be read and has its key';
  if (!cert.ca) return 'it is no CA';
  return renewalDue(cert, now) ? 'it is to be renewed' : undefined;
}

/** A private key in PEM that can be certified again; undefined if it can't be read or isn't ECDSA or RSA. */
export function reusableKey(pem: string | undefined): string | undefined {
  const key = pem === undefined ? undefined : readKey(pem);
  const type = key?.asymmetricKeyType;
  return type === 'ec' || type === 'rsa' ? pem : undefined;
}

/** When a certificate (PEM) ends. @throws Error if it cannot be read */
export function expiry(cert: string): Date {
  return notAfter(new X509Certificate(cert));
}

/**
 * SHA-256 of the public key (DER SubjectPublicKeyInfo) as Postfix writes it, `AA:BB:…`, with
 * `smtpd_tls_fingerprint_digest = sha256` (postconf(5), TLS_README).
 *
 * @throws Error if the certificate (PEM) cannot be read
 */
export function publicKeyFingerprint(cert: string): string {
  const der = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
  const hex = createHash('sha256').update(der).digest('hex').toUpperCase();
  return (hex.match(/../g) ?? []).join(':');
}

function renewalDue(cert: X509Certificate, now: Date): boolean {
  const [from, to] = [notBefore(cert).getTime(), notAfter(cert).getTime()];
  return now.getTime() >= from + ((to - from) * 2) / 3;
}

function readCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function readPair(pair: KeyedCertificate | undefined): X509Certificate | undefined {
  const cert = pair && readCertificate(pair.cert);
  const key = pair && readKey(pair.key);
  return cert !== undefined && key !== undefined && cert.checkPrivateKey(key) ? cert : undefined;
}

function readKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    return undefined;
  }
}

function notBefore(cert: X509Certificate): Date {
  return new Date(cert.validFrom);
}

function notAfter(cert: X509Certificate): Date {
  return new Date(cert.validTo);
}

function commonName(cert: X509Certificate): string | undefined {
  return /^CN=(.*)$/m.exec(cert.subject)?.[1];
}

function dnsNames(cert: X509Certificate): string[] {
  return [...(cert.subjectAltName ?? '').matchAll(/DNS:([^, ]+)/g)].flatMap(([, name]) => name ?? []);
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  const [left, right] = [new Set(a), new Set(b)];
  return left.size === right.size && [...left].every((name) => right.has(name));
}

function problem(reason: CertificateReason, message: string): CertificateProblem {
  return { reason, message };
}

/** A throw-away CA and certificates for test servers. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

export interface Issued {
  cert: string;
  /** PKCS 8. */
  key: string;
}

export interface Authority {
  /** The CA's certificate, PEM. */
  cert: string;
  issue(options: { cn: string; o?: string; names?: string[]; addresses?: string[] }): Promise<Issued>;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const day = 86_400_000;

/** A new P-256 key as PEM, for signing service account tokens and the like. */
export async function newKey(): Promise<{ privateKey: string; publicKey: string }> {
  const keys = await generate();
  const publicKey = await webcrypto.subtle.exportKey('spki', keys.publicKey);
  return { privateKey: await privatePem(keys), publicKey: x509.PemConverter.encode(publicKey, 'PUBLIC KEY') };
}

export async function createAuthority(): Promise<Authority> {
  const keys = await generate();
  const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + 30 * day) };
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity,
    name: 'CN=posthorn-test-ca',
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return {
    cert: ca.toString('pem'),
    issue: async ({ cn, o, names = [], addresses = [] }) => {
      const leaf = await generate();
      const subject = o === undefined ? `CN=${cn}` : `CN=${cn}, O=${o}`;
      const alternatives = [
        ...names.map((value) => ({ type: 'dns' as const, value })),
        ...addresses.map((value) => ({ type: 'ip' as const, value })),
      ];
      const cert = await x509.X509CertificateGenerator.create({
        ...validity,
        subject,
        issuer: ca.subject,
        publicKey: leaf.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
          ...(alternatives.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(alternatives)]),
        ],
      });
      return { cert: cert.toString('pem'), key: await privatePem(leaf) };
    },
  };
}

async function generate(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

async function privatePem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
}

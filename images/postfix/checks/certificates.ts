import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A folder as the Secret of a role is mounted: `tls.crt`, `tls.key`, `ca.crt`. */
export interface Identity {
  readonly folder: string;
  /** SHA-256 of the public key, as Postfix prints it. */
  readonly fingerprint: string;
}

const openssl = (...args: string[]): void => {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

/** Makes a certificate authority below `root`; the result issues certificates with a common name and host names. */
export function authority(root: string): (name: string, commonName: string, hosts: readonly string[]) => Identity {
  mkdirSync(root, { recursive: true });
  const ca = { key: join(root, 'ca.key'), crt: join(root, 'ca.crt') };
  newKey(ca.key);
  openssl('req', '-x509', '-new', '-key', ca.key, '-out', ca.crt, '-days', '2', '-subj', '/CN=checks');
  return (name, commonName, hosts) => {
    const folder = join(root, name);
    mkdirSync(folder, { recursive: true });
    const [key, csr, crt, ext] = ['tls.key', 'csr', 'tls.crt', 'ext'].map((file) => join(folder, file)) as [
      string,
      string,
      string,
      string,
    ];
    newKey(key);
    openssl('req', '-new', '-key', key, '-out', csr, '-subj', `/CN=${commonName}`);
    const names = ['localhost', ...hosts].map((host) => `DNS:${host}`).join(',');
    writeFileSync(ext, `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`);
    const issue = ['x509', '-req', '-in', csr, '-CA', ca.crt, '-CAkey', ca.key, '-CAcreateserial', '-days', '2'];
    openssl(...issue, '-extfile', ext, '-out', crt);
    writeFileSync(join(folder, 'ca.crt'), readFileSync(ca.crt));
    return { folder, fingerprint: fingerprintOf(readFileSync(crt)) };
  };
}

function newKey(path: string): void {
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', path);
}

function fingerprintOf(certificate: Buffer): string {
  const der = createPublicKey(certificate).export({ type: 'spki', format: 'der' });
  const hex = createHash('sha256').update(der).digest('hex').toUpperCase();
  return hex.match(/../g)?.join(':') ?? '';
}

/** A real slapd for tests, on a free port of the loopback interface, with StartTLS; gone with the test. */
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createAuthority } from '../../../../operator/runtime/testing/certificates.js';
import { freeze } from '../freeze.js';
import { freePort } from '../redis.js';

const run = promisify(execFile);

export interface TestLdap {
  /** `ldap://localhost:PORT`. */
  readonly url: string;
  /** PEM. */
  readonly ca: string;
  /** SIGSTOP and SIGCONT: it is there, and says nothing. */
  freeze(): Promise<void>;
  thaw(): void;
  /** Change an entry of people.ldif: attributes to replace. */
  modify(uid: string, attributes: Readonly<Record<string, string>>): Promise<void>;
  /** How many binds it has seen as a person, right or wrong. */
  binds(): Promise<number>;
  stop(): Promise<void>;
}

/** `carol`: what her userPassword is. */
export async function startLdap(carol: string): Promise<TestLdap> {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-slapd-'));
  const port = await freePort();
  const authority = await createAuthority();
  await prepare(folder, authority, carol);
  // 256: connections, operations and their results.
  const child = spawn(
    '/usr/sbin/slapd',
    ['-h', `ldap://127.0.0.1:${port}`, '-f', join(folder, 'slapd.conf'), '-d', '256'],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const exited = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve());
    child.once('error', reject);
  });
  const ended = exited.then(() => Promise.reject(new Error(`slapd ended:\n${log.slice(-2000)}`)));
  await Promise.race([untilListens(port), ended]);
  ended.catch(() => undefined);
  return {
    url: `ldap://localhost:${port}`,
    ca: authority.cert,
    freeze: () => freeze(child.pid),
    thaw: () => void child.kill('SIGCONT'),
    modify: (uid, attributes) => modify(port, folder, uid, attributes),
    binds: async () => {
      // Its log comes a moment after its answers.
      await new Promise((resolve) => setTimeout(resolve, 100));
      return log.match(/BIND dn="uid=\w+,ou=users,dc=example,dc=org" method=128/g)?.length ?? 0;
    },
    stop: async () => {
      child.kill('SIGCONT');
      child.kill('SIGKILL');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const ADMIN = { dn: 'cn=admin,dc=example,dc=org', password: 'admin' };

async function prepare(
  folder: string,
  authority: Awaited<ReturnType<typeof createAuthority>>,
  carol: string,
): Promise<void> {
  const { cert, key } = await authority.issue({ cn: 'localhost', names: ['localhost'] });
  await mkdir(join(folder, 'db'));
  await Promise.all([
    writeFile(join(folder, 'ca.crt'), authority.cert),
    writeFile(join(folder, 'tls.crt'), cert),
    writeFile(join(folder, 'tls.key'), key, { mode: 0o600 }),
    writeFile(join(folder, 'slapd.conf'), configuration(folder)),
  ]);
  const people = await readFile(join(import.meta.dirname, 'people.ldif'), 'utf8');
  await writeFile(join(folder, 'people.ldif'), people.replace('@CAROL@', carol));
  await run('/usr/sbin/slapadd', ['-q', '-f', join(folder, 'slapd.conf'), '-l', join(folder, 'people.ldif')]);
}

const configuration = (folder: string): string => `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include ${join(import.meta.dirname, 'userdir.schema')}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile ${folder}/slapd.pid
TLSCACertificateFile ${folder}/ca.crt
TLSCertificateFile ${folder}/tls.crt
TLSCertificateKeyFile ${folder}/tls.key
# No password is taken in the clear.
security simple_bind=128
database mdb
suffix dc=example,dc=org
rootdn cn=admin,dc=example,dc=org
rootpw admin
directory ${folder}/db
maxsize 10485760
access to attrs=userPassword
    by dn.exact=cn=mail,dc=example,dc=org read
    by anonymous auth
    by * none
access to *
    by dn.exact=cn=mail,dc=example,dc=org read
    by * none
`;

async function modify(
  port: number,
  folder: string,
  uid: string,
  attributes: Readonly<Record<string, string>>,
): Promise<void> {
  const { Client, Change, Attribute } = await import('ldapts');
  const ca = await readFile(join(folder, 'ca.crt'), 'utf8');
  const client = new Client({ url: `ldap://localhost:${port}` });
  await client.startTLS({ ca, servername: 'localhost' });
  await client.bind(ADMIN.dn, ADMIN.password);
  const changes = Object.entries(attributes).map(
    ([type, value]) =>
      new Change({ operation: 'replace', modification: new Attribute({ type, values: value === '' ? [] : [value] }) }),
  );
  await client.modify(`uid=${uid},ou=users,dc=example,dc=org`, changes);
  await client.unbind();
}

async function untilListens(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const ok = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

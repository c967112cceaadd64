import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority, issueCertificate, type KeyedCertificate } from '../pki/ca.js';
import { OPERATOR_COMMON_NAME, roleCertificate } from '../pki/roles.js';
import { type Database, type DirectoryConnection, openDatabase } from './connection.js';
import { migrate } from './migrate.js';
import { startPostgres, type TestPostgres } from './testing/postgres.js';

const SYSTEM = { name: 'mail', namespace: 'mail', clusterDomain: 'cluster.local' };
const NOW = new Date();

let ca: KeyedCertificate;
let server: TestPostgres;
const open: Database[] = [];

beforeAll(async () => {
  ca = await createAuthority('test', NOW);
  const postgres = await issueCertificate(ca, roleCertificate('postgres', SYSTEM, []), NOW);
  server = await startPostgres({
    settings: ['ssl = on', "ssl_cert_file = 'tls.crt'", "ssl_key_file = 'tls.key'", "ssl_ca_file = 'ca.crt'"],
    files: { 'tls.crt': postgres.cert, 'tls.key': postgres.key, 'ca.crt': ca.cert },
    hba: ['hostssl all all 127.0.0.1/32 cert', 'host posthorn posthorn 127.0.0.1/32 reject'],
  });
}, 60_000);

afterAll(async () => {
  await Promise.all(open.map((database) => database.close()));
  await server?.stop();
});

function connect(connection: Partial<DirectoryConnection>): Database {
  const database = openDatabase({ host: 'localhost', port: server.port, ...connection });
  open.push(database);
  return database;
}

const whoAmI = (database: Database) =>
  database.transaction('ask who I am', async (client) => {
    const { rows } = await client.query('SELECT current_user AS me, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    return rows[0];
  });

async function tls(authority: KeyedCertificate, commonName: string) {
  return { ca: ca.cert, ...(await issueCertificate(authority, { commonName, dnsNames: [] }, NOW)) };
}

describe('with client certificates', () => {
  it('is let in as the role that the certificate names', async () => {
    const database = connect({ tls: await tls(ca, OPERATOR_COMMON_NAME) });
    expect(await whoAmI(database)).toEqual({ me: 'posthorn', ssl: true });
    await migrate(database);
    const mx = connect({ user: 'posthorn_mx', tls: await tls(ca, 'posthorn_mx') });
    expect(await whoAmI(mx)).toEqual({ me: 'posthorn_mx', ssl: true });
  });

  it('is not let in as another role, with a foreign certificate, or without any', async () => {
    const foreign = await createAuthority('foreign', NOW);
    const wrong = [
      connect({ tls: await tls(ca, 'posthorn_mx') }),
      connect({ tls: await tls(foreign, OPERATOR_COMMON_NAME) }),
      connect({ tls: { ca: ca.cert } }),
      connect({}),
    ];
    for (const database of wrong) {
      await expect(whoAmI(database)).rejects.toMatchObject({ name: 'DirectoryUnavailable' });
    }
  });

  it('does not talk to a server of another CA, or of another name', async () => {
    const foreign = await createAuthority('foreign', NOW);
    const mine = await tls(ca, OPERATOR_COMMON_NAME);
    await expect(whoAmI(connect({ tls: { ...mine, ca: foreign.cert } }))).rejects.toThrow(
      /ask who I am.*(self-signed|unable to)/,
    );
    await expect(whoAmI(connect({ host: '127.0.0.1', tls: mine }))).rejects.toThrow(/altnames/);
  });
});

describe('outages', () => {
  it.each([
    ['nobody listens', undefined],
    ['nobody answers', () => undefined],
  ])('%s: unavailable within seconds', async (_, onConnection) => {
    const silent = createServer(onConnection);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const address = silent.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    if (onConnection === undefined) silent.close();
    const start = performance.now();
    await expect(whoAmI(connect({ host: '127.0.0.1', port }))).rejects.toMatchObject({ name: 'DirectoryUnavailable' });
    expect(performance.now() - start).toBeLessThan(5_000);
    silent.close();
  });

  it('a statement that takes too long is cancelled on the server', async () => {
    const database = connect({ timeoutMs: 300, tls: await tls(ca, OPERATOR_COMMON_NAME) });
    const slow = database.transaction('wait', (client) => client.query('SELECT pg_sleep(20)'));
    await expect(slow).rejects.toMatchObject({
      name: 'DirectoryUnavailable',
      message: expect.stringContaining('statement timeout'),
    });
    expect(await whoAmI(database)).toMatchObject({ me: 'posthorn' });
  });
});
